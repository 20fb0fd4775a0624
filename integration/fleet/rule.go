package fleet

import (
	"fmt"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// A Rule is what a process does about its token.
type Rule struct {
	Name string
	// Schedule decides about a token that lives for life: after how long a call starts a refresh,
	// and for how long the token is served. If the two are the same, callers wait for the refresh;
	// between them it runs in the background. spread says that callers waited for the token, or that a
	// request for it failed. draw is a random number in [0, 1).
	Schedule func(life time.Duration, spread bool, draw float64) (refreshAfter, usableFor time.Duration)
	// Retry decides how long after the failures-th failure in a row nothing more is asked. left is
	// for how long the old token is still served, not above 0 if there is none. draw is a random
	// number in [0, 1). nil: every call that finds no usable token asks again.
	Retry func(failures int, retryAfter, left time.Duration, draw float64) time.Duration
	// Alone says that calls that wait at the same time each make a request of their own. Otherwise
	// they share one, or take turns if there is no Retry.
	Alone bool
}

// Of is the rule of package cache with the policy p: its refresh points are drawn from a wider range
// for tokens that others are likely to have got at the same time, and its retries are spread over the
// time for which there is a token to serve. Its name is the range of the others.
func Of(p refresh.Policy) Rule {
	return Rule{
		Name: percents(p),
		Schedule: func(life time.Duration, spread bool, draw float64) (time.Duration, time.Duration) {
			return p.Schedule(life, 0, 0, spread, draw)
		},
		Retry: p.RetryIn,
	}
}

// Plain is the rule of package cache without what keeps processes apart: one range for all tokens,
// and the back-off of callers who wait whether there is a token to serve or not.
func Plain(p refresh.Policy) Rule {
	r := Patient(p)
	r.Name = percents(p) + ", plain"
	r.Retry = hasty(p)
	return r
}

// Spread is Plain with the wider range.
func Spread(p refresh.Policy) Rule {
	r := Of(p)
	r.Name += ", spread"
	r.Retry = hasty(p)
	return r
}

// Patient is Plain with the spread retries.
func Patient(p refresh.Policy) Rule {
	r := Of(p)
	r.Name += ", patient"
	r.Schedule = func(life time.Duration, _ bool, draw float64) (time.Duration, time.Duration) {
		return p.Schedule(life, 0, 0, false, draw)
	}
	return r
}

func hasty(p refresh.Policy) func(int, time.Duration, time.Duration, float64) time.Duration {
	return func(failures int, retryAfter, _ time.Duration, draw float64) time.Duration {
		return max(retryAfter, p.RetryIn(failures, 0, 0, draw))
	}
}

func percents(p refresh.Policy) string {
	from, _ := p.Schedule(100*time.Hour, 0, 0, false, 0)
	to, _ := p.Schedule(100*time.Hour, 0, 0, false, 1)
	if from == to {
		return fmt.Sprintf("%.0f %%", from.Hours())
	}
	return fmt.Sprintf("%.0f-%.0f %%", from.Hours(), to.Hours())
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

// HalfLife refreshes in the background at half of a token's life, and retries with a back-off.
func HalfLife() Rule {
	r := Plain(refresh.Policy{EarlyFrom: 0.5, EarlyTo: 0.5})
	r.Name = "half-life"
	return r
}
