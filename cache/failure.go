package cache

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// failures are the memory of requests that brought no token: of the last plain one, and
// of the last that was to satisfy a challenge. One says little about the other.
type failures struct{ plain, challenged *failure }

type failure struct {
	err       error
	inARow    int
	retryAt   time.Time // no new request of the kind before this
	throttled time.Time // nor any other before this: the authority said so
	challenge string
}

func (f *failures) of(challenge string) **failure {
	if challenge == "" {
		return &f.plain
	}
	return &f.challenged
}

// forbids returns the error that stands in place of a request: that of the last one of
// its kind, or of any one after which the authority wants to be left alone.
func (f *failures) forbids(challenge string, now time.Time) error {
	for _, last := range []*failure{f.plain, f.challenged} {
		if last != nil && (last.challenge == challenge && before(now, last.retryAt) || before(now, last.throttled)) {
			return last.err
		}
	}
	return nil
}

// fail remembers a flight's failure, unless it is outdated, which throttling never is, and has
// the token that is served meanwhile looked at again when the next request may be made. mu is
// held.
func (e *entry) fail(f *flight, err error) (retryIn time.Duration) {
	now, h := time.Now(), e.held.Load()
	served := h != nil && h == f.served
	var left, patience time.Duration // of the held token, and of those who ask for one
	if h != nil {
		left = max(0, until(now, h.token.UsableUntil()))
	}
	if served {
		patience = left
	}
	if asked := retryAfter(err); !f.outdated || asked > 0 {
		last, inARow := e.failures.of(f.challenge), 1
		if *last != nil {
			inARow += (*last).inARow
		}
		retryIn = refresh.Policy{}.RetryIn(inARow, asked, patience, rand.Float64())
		*last = &failure{err, inARow, now.Add(retryIn), now.Add(asked), f.challenge}
	}
	// A request that was to satisfy another challenge changes nothing before the token is due.
	if served || h != nil && !before(now, h.dueAt()) {
		e.hold(h.token, h.token.usableFor-max(0, left-retryIn))
	}
	return retryIn
}

func retryAfter(err error) time.Duration {
	var e interface{ RetryAfterDelay() time.Duration }
	if errors.As(err, &e) {
		return max(0, min(e.RetryAfterDelay(), refresh.MaxWait))
	}
	return 0
}
