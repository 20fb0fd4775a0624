// Package retry repeats a request that failed for a transient reason, while callers wait for its result. Package
// refresh has its constants.
package retry

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/refresh"
)

// A Failure describes a failed attempt. The zero Failure is not repeated.
type Failure struct {
	Transient  bool          // the next attempt may succeed
	Once       bool          // one retry is enough
	Stale      bool          // a connection that had worked broke, which says nothing about the server's health
	RetryAfter time.Duration // of the response, or 0
}

// FromError returns the Failure of a request to which err is the result, instead of a complete response.
func FromError(err error) Failure {
	if errors.Is(err, context.Canceled) || neterr.Certificate(err) {
		return Failure{}
	}
	e, ok := errors.AsType[*httpclient.Error](err)
	return Failure{Transient: true, Stale: ok && e.Stale}
}

// FromResponse returns the Failure of a request that got a response with that status, which is not a success.
func FromResponse(status int, h http.Header) Failure {
	after := httpclient.RetryAfter(h)
	return Failure{Transient: after > 0 || TransientStatus(status), RetryAfter: after}
}

// TransientStatus reports whether a server or a proxy that failed with that status may recover at once.
func TransientStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// In returns how long to wait before the next attempt. ok is false if none follows. retries counts the earlier
// retries, and draw is a random number in [0, 1).
func (f Failure) In(retries int, draw float64) (wait time.Duration, ok bool) {
	if !f.Transient || f.Once && retries > 0 {
		return 0, false
	}
	return refresh.WaitingRetryIn(retries, f.RetryAfter, draw)
}

// A Budget is a [refresh.Budget] for concurrent requests.
type Budget struct {
	mu     sync.Mutex // guards budget
	budget *refresh.Budget
}

// NewBudget returns the budget of a new client.
func NewBudget() *Budget { return &Budget{budget: refresh.NewBudget(time.Now())} }

// add counts a request.
func (b *Budget) add() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.budget.Add(time.Now())
}

// take reports whether a retry is allowed, and counts it.
func (b *Budget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.budget.Take(time.Now())
}

// giveBack undoes a take whose retry was not sent.
func (b *Budget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.budget.Return(time.Now())
}

// A Retrier decides about the retries of one request, which may take several attempts.
type Retrier struct {
	budget  *Budget
	wait    func(context.Context, time.Duration) bool
	retries int
}

// Start counts a new request and returns its Retrier. wait sleeps, and reports whether a retry is still of use, as
// [Sleep] does.
func (b *Budget) Start(wait func(context.Context, time.Duration) bool) *Retrier {
	b.add()
	return &Retrier{budget: b, wait: wait}
}

// Again waits if the request should be repeated after the failure f, and reports whether it should.
func (r *Retrier) Again(ctx context.Context, f Failure) bool {
	wait, ok := f.In(r.retries, rand.Float64())
	// All requests in flight on a connection fail when it breaks, however healthy the server is.
	return ok && r.Pause(ctx, wait, f.Stale)
}

// Retries returns the number of retries so far.
func (r *Retrier) Retries() int { return r.retries }

// Pause waits before a retry, and reports whether the request should be repeated. If free is set, the budget does not
// count the retry.
func (r *Retrier) Pause(ctx context.Context, wait time.Duration, free bool) bool {
	if !free && !r.budget.take() {
		return false
	}
	if !r.wait(ctx, wait) {
		if !free {
			r.budget.giveBack()
		}
		return false
	}
	r.retries++
	return true
}

// Sleep sleeps for d and reports whether ctx lasts longer.
func Sleep(ctx context.Context, d time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
		return false
	}
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
