package fleet

import (
	"fmt"
	"time"

	"github.com/entratoken/entra/cache"
)

// A Rule is what a process does about its token.
type Rule struct {
	Name string
	// Schedule decides about a token that lives for life: after how long a call starts a refresh,
	// and for how long the token is served. If the two are the same, callers wait for the refresh;
	// between them it runs in the background. first says that the process had no token before, or
	// that a request for this one failed. draw is a random number in [0, 1).
	Schedule func(life time.Duration, first bool, draw float64) (refreshAfter, usableFor time.Duration)
	// Retry decides how long after the failures-th failure in a row nothing more is asked. left is
	// for how long the old token is still served, not above 0 if there is none. draw is a random
	// number in [0, 1). nil: every call that finds no usable token asks again.
	Retry func(failures int, retryAfter, left time.Duration, draw float64) time.Duration
	// Alone says that calls that wait at the same time each make a request of their own. Otherwise
	// they share one, or take turns if there is no Retry.
	Alone bool
}

// Of is the rule of package cache with the policy p. Its name is what p does.
func Of(p cache.Policy) Rule {
	from, _ := p.Schedule(100*time.Hour, 0, 0, 0)
	to, _ := p.Schedule(100*time.Hour, 0, 0, 1)
	name := fmt.Sprintf("%.0f-%.0f %%", from.Hours(), to.Hours())
	if from == to {
		name = fmt.Sprintf("%.0f %%", from.Hours())
	}
	return Rule{
		Name: name,
		Schedule: func(life time.Duration, _ bool, draw float64) (time.Duration, time.Duration) {
			return p.Schedule(life, 0, 0, draw)
		},
		Retry: func(failures int, retryAfter, _ time.Duration, draw float64) time.Duration {
			return p.RetryIn(failures, retryAfter, draw)
		},
	}
}

// Apart makes a rule of package cache draw the refresh point of a first token, and of one that came
// after a failure, from a wider range than p's, one that begins at from. Processes that got their
// tokens together, whatever made them, get the next ones apart.
func Apart(from float64, p cache.Policy) Rule {
	wide := p
	wide.EarlyFrom = from
	r := Of(p)
	later := r.Schedule
	r.Name = fmt.Sprintf("%s, first %.0f-%.0f %%", r.Name, 100*from, 100*p.EarlyTo)
	r.Schedule = func(life time.Duration, first bool, draw float64) (time.Duration, time.Duration) {
		if first {
			return wide.Schedule(life, 0, 0, draw)
		}
		return later(life, first, draw)
	}
	return r
}

// Patient makes a rule of package cache spread its retries over the time for which the old token is
// still served: nobody waits for them. The wait begins after Retry-After, and what is left at its
// end is at least a tenth, so that there is always another chance. With no token to serve, callers
// wait for the retry, and the policy's back-off counts from Retry-After.
func Patient(r Rule) Rule {
	backOff := r.Retry
	r.Name += ", patient"
	r.Retry = func(failures int, retryAfter, left time.Duration, draw float64) time.Duration {
		if left <= 0 {
			return retryAfter + backOff(failures, 0, left, draw)
		}
		spread := cache.Policy{RetryMax: max(time.Second, min(left*9/10-retryAfter, 30*time.Minute))}
		const grown = 20 // failures after which only RetryMax bounds the wait
		return retryAfter + spread.RetryIn(grown, 0, draw)
	}
	return r
}

// Proposed is the rule that the figures speak for.
func Proposed() Rule {
	r := Patient(Apart(0.1, cache.Policy{EarlyFrom: 0.6, EarlyTo: 0.7}))
	r.Name = "proposed: 60-70 %"
	return r
}

// XOAuth2 is the rule of golang.org/x/oauth2, ReuseTokenSource: ten seconds before its expiry a
// token is no longer valid; callers wait in line for a mutex.
func XOAuth2() Rule { return foreground("x/oauth2: 10 s before expiry", 10*time.Second, false) }

// FiveMinutes is the rule of MSAL Go for a token without refresh_in: five minutes before its expiry
// a token is no longer valid, and every caller asks for itself (AccessToken.Validate in
// apps/internal/base/storage/items.go).
func FiveMinutes() Rule { return foreground("MSAL Go: 5 min before expiry", 5*time.Minute, true) }

func foreground(name string, margin time.Duration, alone bool) Rule {
	return Rule{
		Name: name,
		Schedule: func(life time.Duration, _ bool, _ float64) (time.Duration, time.Duration) {
			return life - margin, life - margin
		},
		Alone: alone,
	}
}

// HalfLife refreshes in the background at half of a token's life, and otherwise does what package
// cache does.
func HalfLife() Rule {
	r := Of(cache.Policy{EarlyFrom: 0.5, EarlyTo: 0.5})
	r.Name = "half-life"
	return r
}
