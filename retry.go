package entra

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// retryIn returns how long to wait before a request that failed with e is repeated. ok is false if it is not. retries
// counts the earlier ones, and draw is a random number in [0, 1).
//
// A failed request may have used up a single-use grant. It is then repeated only if it was certainly not sent, or if
// Entra rejected the client's credential. Entra examines the credential before the grant (RFC 6749, section 4.1.3).
func retryIn(e *Error, retries int, singleUse bool, draw float64) (wait time.Duration, ok bool) {
	switch {
	case e.spreading():
		ok = retries == 0
	case e.transient():
		ok = !singleUse || e.connection == connectionMissing
	}
	if !ok {
		return 0, false
	}
	return refresh.WaitingRetryIn(retries, e.RetryAfter, draw)
}

// transient reports whether a request that failed with e may succeed when it is repeated at once: there was no
// response, the connection broke, the server or a proxy failed, or the response has a short Retry-After.
func (e *Error) transient() bool {
	switch e.StatusCode {
	case http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return e.RetryAfter > 0 ||
		e.connection != connectionUnknown && e.Temporary() && !errors.Is(e.Err, context.Canceled)
}

// connectionState describes the connection of a request without a complete response.
type connectionState int

const (
	connectionUnknown connectionState = iota // no request failed
	connectionFailed
	connectionMissing // there was none, so the request was certainly not sent
	connectionStale   // it had worked before, so its failure says nothing about the authority
)

// A retryBudget is a [refresh.Budget] for concurrent requests. The clients made by WithTenant share theirs.
type retryBudget struct {
	mu     sync.Mutex // guards budget
	budget *refresh.Budget
}

func newRetryBudget() *retryBudget { return &retryBudget{budget: refresh.NewBudget(time.Now())} }

// add counts a request.
func (b *retryBudget) add() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.budget.Add(time.Now())
}

// take reports whether a retry is allowed, and counts it.
func (b *retryBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.budget.Take(time.Now())
}

// giveBack undoes a take whose retry was not sent.
func (b *retryBudget) giveBack() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.budget.Return(time.Now())
}

// A retrier decides about the retries of one request, which may take several attempts.
type retrier struct {
	budget  *retryBudget
	wait    func(context.Context, time.Duration) bool // sleeps, and reports whether a retry is still of use
	retries int
}

// retrier returns a retrier for a new request.
func (b *retryBudget) retrier(wait func(context.Context, time.Duration) bool) *retrier {
	b.add()
	return &retrier{budget: b, wait: wait}
}

// again waits if the request that failed with e should be repeated, and reports whether it should.
func (r *retrier) again(ctx context.Context, e *Error, singleUse bool) bool {
	wait, ok := retryIn(e, r.retries, singleUse, rand.Float64())
	// All requests in flight on a connection fail when it breaks, however healthy the authority is.
	return ok && r.pause(ctx, wait, e.connection == connectionStale)
}

// pause waits before a retry, and reports whether the request should be repeated. If free is set, the budget does not
// count the retry.
func (r *retrier) pause(ctx context.Context, wait time.Duration, free bool) bool {
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

// sleep sleeps for d and reports whether ctx lasts longer.
func sleep(ctx context.Context, d time.Duration) bool {
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
