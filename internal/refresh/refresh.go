// Package refresh decides when a cached token is refreshed, how long to wait after a failed request, and
// whether a request is repeated at once. Randomness and the current time are arguments. Packages cache and
// entra follow it, and the simulations in integration/fleet justify its constants (docs/fleet.md).
package refresh

import (
	"math"
	"time"
)

// Policy holds the constants of [Policy.Schedule] and [Policy.RetryIn]. A field that is zero or out of
// range means its default. The cache uses the zero Policy; other values are for simulations.
//
// Entra gives access tokens a random lifetime of 60 to 90 minutes, so that demand does not spike every
// hour ("Token lifetime" in Microsoft's documentation of access tokens). Other lifetimes work as well:
// tenant policies allow ten minutes, and tokens with continuous access evaluation last up to 28 hours.
type Policy struct {
	// EarlyFrom and EarlyTo bound the refresh point of a token whose response lacks refresh_in, as
	// fractions of its lifetime. The point is drawn uniformly, once per token. They default to 0.6 and 0.7.
	EarlyFrom, EarlyTo float64
	// SpreadFrom replaces EarlyFrom for the first token after a failure. It also replaces it for an app's
	// own token if callers waited for the token, for example when a process starts. Other processes
	// probably acquired such a token at the same time. The wider range spreads their refreshes.
	// Defaults to 0.1.
	SpreadFrom float64
	// Margin is the time before its expiry in which a token is not served. For a lifetime of less than ten
	// times Margin, it is a tenth of the lifetime. Defaults to 60 seconds.
	Margin time.Duration
	// RetryMin and RetryMax bound the wait after a failure without a usable token. The n-th
	// failure in a row is followed by a wait drawn uniformly between RetryMin and RetryMin*2^n, at most
	// RetryMax. They default to 1 second and 60 seconds.
	RetryMin, RetryMax time.Duration
	// BackgroundMax bounds the wait after a failed refresh while the old token is served. The wait is
	// drawn uniformly between RetryMin and nine tenths of the time that the old token has left, at
	// most BackgroundMax, and added to Retry-After. Defaults to 30 minutes.
	BackgroundMax time.Duration
}

// MaxWait bounds the durations of a Policy and a server's Retry-After.
const MaxWait = 24 * time.Hour

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
	if p.RetryMin <= 0 || p.RetryMin > MaxWait {
		p.RetryMin = time.Second
	}
	if p.RetryMax < p.RetryMin || p.RetryMax > MaxWait {
		p.RetryMax = max(p.RetryMin, 60*time.Second)
	}
	if p.BackgroundMax < p.RetryMin || p.BackgroundMax > MaxWait {
		p.BackgroundMax = max(p.RetryMin, 30*time.Minute)
	}
	return p
}

// Schedule returns, counted from the arrival of a token, when it is due for an early refresh and for
// how long it is served. refreshIn is the server's refresh_in, or 0. left is the remaining time of the
// grant, such as an assertion, or 0 if the grant does not expire. spread selects SpreadFrom. draw is a random
// number in [0, 1).
//
// A token that ends with its grant is not refreshed early, since its successor would end at the same
// moment. Both results are then equal.
func (p Policy) Schedule(lifetime, refreshIn, left time.Duration, spread bool, draw float64) (refreshAfter,
	usableFor time.Duration) {
	p = p.withDefaults()
	usableFor = lifetime - min(p.Margin, lifetime/10)
	if left > 0 && left < usableFor {
		return left, left
	}
	if refreshIn <= 0 || refreshIn >= usableFor {
		from := p.EarlyFrom
		if spread {
			from = p.SpreadFrom
		}
		refreshIn = time.Duration((from + draw*(p.EarlyTo-from)) * float64(lifetime))
	}
	return min(refreshIn, usableFor), usableFor
}

// RetryIn returns how long to wait after a failure. failures counts the failures in a row. retryAfter
// is the server's Retry-After, or 0. The random wait is added to it, so that clients that were
// throttled together do not return together. left is for how long the old token is still served,
// or 0 without one. draw is a random number in [0, 1).
//
// With a usable token, retries are not urgent. The retries of all clients are spread over the time that
// their tokens have left, so that they do not all arrive when an outage ends. The wait leaves time for
// another attempt before the token expires.
func (p Policy) RetryIn(failures int, retryAfter, left time.Duration, draw float64) time.Duration {
	p = p.withDefaults()
	limit := min(float64(p.RetryMin)*math.Pow(2, float64(failures)), float64(p.RetryMax))
	if spare := left - left/10 - retryAfter; spare > 0 {
		limit = max(float64(p.RetryMin), float64(min(spare, p.BackgroundMax)))
	}
	return retryAfter + p.RetryMin + time.Duration(draw*(limit-float64(p.RetryMin)))
}
