package cache

import (
	"math"
	"time"
)

// Policy decides when tokens are refreshed and how failures are retried. Every zero
// field stands for its default, so the zero Policy is the one to use.
//
// Entra gives a token a random life of 60 to 90 minutes, so that demand does not
// spike every hour ("Token lifetime" in Microsoft's documentation of access tokens).
// Lives outside of that range are served just as well: down to ten minutes by tenant
// policy, up to 28 hours with continuous access evaluation.
type Policy struct {
	// EarlyFrom and EarlyTo bound the refresh point of a token for which the
	// authority names none (refresh_in), as parts of its life counted from receipt.
	// The point is drawn once per token, uniformly between them, which keeps
	// processes that started together from refreshing together. 0: 0.7 and 0.8.
	EarlyFrom, EarlyTo float64
	// Margin is how long before its expiry a token is no longer served. A life of
	// less than ten margins has a tenth of itself as its margin. 0: 60 seconds.
	Margin time.Duration
	// RetryMin and RetryMax bound the wait after a failure: the n-th failure in a
	// row is followed by a wait drawn uniformly between RetryMin and RetryMin*2^n,
	// at most RetryMax, or by the authority's Retry-After if that is longer.
	// 0: 1 second and 60 seconds.
	RetryMin, RetryMax time.Duration
	// Timeout ends a request to the authority that nobody's context ends. 0: 30 seconds.
	Timeout time.Duration
}

func (p Policy) withDefaults() Policy {
	if p.EarlyFrom <= 0 || p.EarlyFrom >= 1 {
		p.EarlyFrom = 0.7
	}
	if p.EarlyTo < p.EarlyFrom || p.EarlyTo >= 1 {
		p.EarlyTo = max(p.EarlyFrom, 0.8)
	}
	if p.Margin <= 0 {
		p.Margin = 60 * time.Second
	}
	if p.RetryMin <= 0 {
		p.RetryMin = time.Second
	}
	if p.RetryMax < p.RetryMin {
		p.RetryMax = max(p.RetryMin, 60*time.Second)
	}
	if p.Timeout <= 0 {
		p.Timeout = 30 * time.Second
	}
	return p
}

// schedule returns when a token that arrives now and lives for life becomes early and
// when it is no longer served. refreshIn is the authority's own refresh point, notAfter
// the end of what the token was granted for; both may be zero. draw is in [0, 1).
//
// A token that ends with its grant is never refreshed early, since its successor
// would end at the same moment.
func (p Policy) schedule(now time.Time, life, refreshIn time.Duration, notAfter time.Time, draw float64) (refreshAt, usableUntil time.Time) {
	margin := min(p.Margin, life/10)
	usableUntil = now.Add(life - margin)
	if !notAfter.IsZero() {
		if left := notAfter.Sub(now); left < life-margin {
			usableUntil = now.Add(left)
			return usableUntil, usableUntil
		}
	}
	if refreshIn <= 0 || refreshIn >= life-margin {
		part := p.EarlyFrom + draw*(p.EarlyTo-p.EarlyFrom)
		refreshIn = min(time.Duration(part*float64(life)), life-margin)
	}
	return now.Add(refreshIn), usableUntil
}

// retryIn returns how long to wait after the failures-th failure in a row. draw is in
// [0, 1).
func (p Policy) retryIn(failures int, retryAfter time.Duration, draw float64) time.Duration {
	limit := float64(p.RetryMin) * math.Pow(2, float64(failures))
	limit = min(limit, float64(p.RetryMax))
	wait := p.RetryMin + time.Duration(draw*(limit-float64(p.RetryMin)))
	return max(wait, retryAfter)
}

// before reports whether now is before t by both of the computer's clocks. The
// monotonic clock stands still while a machine is suspended, and the wall clock can be
// set back; a token is only good if neither says that its time is over.
func before(now, t time.Time) bool {
	return now.Before(t) && now.UnixNano() < t.UnixNano()
}
