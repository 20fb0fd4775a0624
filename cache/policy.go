package cache

import (
	"math"
	"time"
)

// Policy decides when tokens are refreshed and how failures are retried. Every field
// that is zero or makes no sense stands for its default, so the zero Policy is the one to
// use. The defaults are chosen from simulations of ten thousand processes over days, with
// outages and throttling (docs/fleet.md).
//
// Entra gives a token a random life of 60 to 90 minutes, so that demand does not
// spike every hour ("Token lifetime" in Microsoft's documentation of access tokens).
// Lives outside of that range are served just as well: down to ten minutes by tenant
// policy, up to 28 hours with continuous access evaluation.
type Policy struct {
	// EarlyFrom and EarlyTo bound the refresh point of a token for which the
	// authority names none (refresh_in), as parts of its life counted from receipt.
	// The point is drawn once per token, uniformly between them. 0: 0.6 and 0.7.
	EarlyFrom, EarlyTo float64
	// SpreadFrom stands for EarlyFrom for a token that was got when others were likely
	// to get theirs: after a failure, and an app's own token for which callers had to
	// wait, as at a start. It keeps processes that something brought together, a
	// deployment, an outage, from refreshing together for hours. 0: 0.1.
	SpreadFrom float64
	// Margin is how long before its expiry a token is no longer served. A life of
	// less than ten margins has a tenth of itself as its margin. 0: 60 seconds.
	Margin time.Duration
	// RetryMin and RetryMax bound the wait after a failure while there is no token to
	// serve: the n-th failure in a row is followed by a wait drawn uniformly between
	// RetryMin and RetryMin*2^n, at most RetryMax. 0: 1 second and 60 seconds.
	RetryMin, RetryMax time.Duration
	// BackgroundMax bounds the wait after a failed refresh while the old token is
	// served, when nobody waits: it is drawn uniformly between RetryMin and nine tenths of
	// what is left of the token, at most BackgroundMax, after Retry-After. 0: 30 minutes.
	BackgroundMax time.Duration
	// Timeout ends a request to the authority that nobody's context ends. 0: 30 seconds.
	Timeout time.Duration
}

// withDefaults puts defaults in place of what is zero or makes no sense.
func (p Policy) withDefaults() Policy {
	if !(p.EarlyFrom > 0 && p.EarlyFrom < 1) {
		p.EarlyFrom = 0.6
	}
	if !(p.EarlyTo >= p.EarlyFrom && p.EarlyTo < 1) {
		p.EarlyTo = max(p.EarlyFrom, 0.7)
	}
	if !(p.SpreadFrom > 0 && p.SpreadFrom <= p.EarlyFrom) {
		p.SpreadFrom = min(p.EarlyFrom, 0.1)
	}
	if p.Margin <= 0 {
		p.Margin = 60 * time.Second
	}
	if p.RetryMin <= 0 || p.RetryMin > maxWait {
		p.RetryMin = time.Second
	}
	if p.RetryMax < p.RetryMin || p.RetryMax > maxWait {
		p.RetryMax = max(p.RetryMin, 60*time.Second)
	}
	if p.BackgroundMax < p.RetryMin || p.BackgroundMax > maxWait {
		p.BackgroundMax = max(p.RetryMin, 30*time.Minute)
	}
	if p.Timeout <= 0 || p.Timeout > maxWait {
		p.Timeout = 30 * time.Second
	}
	return p
}

// maxWait bounds what a policy and an authority can ask for.
const maxWait = 24 * time.Hour

// Schedule decides about a token that lives for life, counted from its arrival: after
// how long it becomes early, and for how long it is served at all. refreshIn is the
// authority's own refresh point, 0 if it named none. left is how long what the token was
// granted for goes on, 0 for ever. spread says that the draw is to begin at SpreadFrom.
// draw is a random number in [0, 1).
//
// A token that ends with its grant is never refreshed early, since its successor would
// end at the same moment. Schedule is a pure function.
func (p Policy) Schedule(life, refreshIn, left time.Duration, spread bool, draw float64) (refreshAfter, usableFor time.Duration) {
	p = p.withDefaults()
	usableFor = life - min(p.Margin, life/10)
	if left > 0 && left < usableFor {
		return left, left
	}
	if refreshIn <= 0 || refreshIn >= usableFor {
		from := p.EarlyFrom
		if spread {
			from = p.SpreadFrom
		}
		refreshIn = time.Duration((from + draw*(p.EarlyTo-from)) * float64(life))
	}
	return min(refreshIn, usableFor), usableFor
}

// RetryIn decides how long to wait after the failures-th failure in a row. retryAfter is
// what the authority asked for, 0 if nothing; what is drawn comes on top of it, so that
// those who were told the same do not come back together. left is how long the old token
// is still served, 0 if there is none. draw is a random number in [0, 1).
//
// With a token to serve there is no hurry: the retries of all who failed are spread over
// the time they have, so that the end of an outage brings no herd, and there is always
// time for another one. RetryIn is a pure function.
func (p Policy) RetryIn(failures int, retryAfter, left time.Duration, draw float64) time.Duration {
	p = p.withDefaults()
	limit := min(float64(p.RetryMin)*math.Pow(2, float64(failures)), float64(p.RetryMax))
	if spare := left - left/10 - retryAfter; spare > 0 {
		limit = max(float64(p.RetryMin), float64(min(spare, p.BackgroundMax)))
	}
	return retryAfter + p.RetryMin + time.Duration(draw*(limit-float64(p.RetryMin)))
}
