package fleet

import (
	"fmt"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// Rule determines when a process requests tokens.
type Rule struct {
	Name string
	// Schedule returns the age at which a call refreshes a token with a lifetime of life, and the age until which the
	// token is used. Between the two, the refresh runs in the background. If they are equal, callers wait for it.
	// spread is true if callers waited for the token or a request for it failed. draw is a random number in [0, 1).
	Schedule func(life time.Duration, spread bool, draw float64) (refreshAfter, usableFor time.Duration)
	// Retry returns the time without requests after a number of consecutive failures. left is the time for which the old
	// token is still usable, or at most 0 without one. draw is a random number in [0, 1). If nil, every call without a
	// usable token sends a request.
	Retry func(failures int, retryAfter, left time.Duration, draw float64) time.Duration
	// Alone lets each waiting call send a request of its own. If false, they share one, or send them one after the other
	// if Retry is nil.
	Alone bool
	// Repeat returns the time until a failed request is repeated while calls wait for it, or false. retries counts the
	// earlier ones. draw is a random number in [0, 1). The budget of the process limits it. If nil, no request is
	// repeated.
	Repeat func(retries int, retryAfter time.Duration, draw float64) (time.Duration, bool)
}

// Of returns the rule of package cache with the policy p. It spreads the refresh points of tokens that many processes
// may have acquired at the same time, and spreads retries over the remaining lifetime. Its name is the range of the
// refresh points of other tokens.
func Of(p refresh.Policy) Rule {
	return Rule{
		Name: percents(p),
		Schedule: func(life time.Duration, spread bool, draw float64) (time.Duration, time.Duration) {
			return p.Schedule(life, 0, 0, spread, draw)
		},
		Retry: p.RetryIn,
	}
}

// Repeating returns r with the retries of package entra, of requests for which calls wait.
func Repeating(r Rule) Rule {
	r.Repeat = refresh.WaitingRetryIn
	return r
}

// Plain returns the rule of package cache without spreading. It has one range for all tokens, and one back-off, with or
// without a usable token.
func Plain(p refresh.Policy) Rule {
	r := Patient(p)
	r.Name = percents(p) + ", plain"
	r.Retry = hasty(p)
	return r
}

// Spread returns Plain with the wider range.
func Spread(p refresh.Policy) Rule {
	r := Of(p)
	r.Name += ", spread"
	r.Retry = hasty(p)
	return r
}

// Patient returns Plain with spread retries.
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

// XOAuth2 returns the rule of ReuseTokenSource in golang.org/x/oauth2. A token is unusable ten seconds before its
// expiry, and callers wait for a mutex.
func XOAuth2() Rule { return foreground("x/oauth2: 10 s before expiry", 10*time.Second, false) }

// FiveMinutes returns the rule of MSAL Go for a token without refresh_in. A token is unusable five minutes before its
// expiry, and every caller sends a request (AccessToken.Validate in apps/internal/base/storage/items.go).
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

// HalfLife returns a rule that refreshes in the background at half of the lifetime and retries with a back-off.
func HalfLife() Rule {
	r := Plain(refresh.Policy{EarlyFrom: 0.5, EarlyTo: 0.5})
	r.Name = "half-life"
	return r
}
