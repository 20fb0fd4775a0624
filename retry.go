package entra

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// Bounds of the retries of one request.
const (
	maxRetries         = 2
	retryJitterMin     = 100 * time.Millisecond
	retryJitterMax     = time.Second
	retryMaxRetryAfter = 2 * time.Second // after a longer one, all callers get the error
)

// retryIn returns how long to wait before a request that failed with e is repeated. ok is false if it is not. retries
// counts the earlier ones, and draw is a random number in [0, 1). The random wait is added to Retry-After, so that
// clients that were throttled together do not return together.
//
// A single-use grant may have been used up by a request that failed, unless that was certainly not sent, or Entra
// rejected the client's credential, which it examines before the grant (RFC 6749, section 4.1.3).
func retryIn(e *Error, retries int, singleUse bool, draw float64) (wait time.Duration, ok bool) {
	switch {
	case retries >= maxRetries, e.RetryAfter > retryMaxRetryAfter:
		return 0, false
	case e.spreading():
		ok = retries == 0
	case e.transient():
		ok = !singleUse || e.connection == connectionMissing
	}
	return e.RetryAfter + retryJitterMin + time.Duration(draw*float64(retryJitterMax-retryJitterMin)), ok
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

// A retryBudget bounds the retries of all requests of a client, so that they do not multiply the load of an authority
// that is failing already. Ten retries are allowed at first, and one more for every ten requests. A client with few
// requests regains its ten within an hour. The clients made by WithTenant share their budget.
type retryBudget struct {
	mu      sync.Mutex // guards the fields below
	balance float64    // in requests
	updated time.Time
}

const (
	retryCost    = 10              // requests that allow one retry
	budgetStart  = 10 * retryCost  // also what time alone can restore
	budgetMax    = 100 * retryCost // what requests can save
	budgetRefill = time.Hour       // from zero to budgetStart
)

func newRetryBudget() *retryBudget { return &retryBudget{balance: budgetStart, updated: time.Now()} }

// add adds n requests.
func (b *retryBudget) add(n float64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	b.balance = min(b.balance+n, budgetMax)
}

// take reports whether a retry is allowed, and counts it.
func (b *retryBudget) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.refill()
	if b.balance < retryCost {
		return false
	}
	b.balance -= retryCost
	return true
}

// refill adds what time has restored. b.mu is held.
func (b *retryBudget) refill() {
	now := time.Now()
	restored := budgetStart * now.Sub(b.updated).Seconds() / budgetRefill.Seconds()
	b.balance, b.updated = max(b.balance, min(b.balance+restored, budgetStart)), now
}

// A retrier decides about the retries of one request, which may take several attempts.
type retrier struct {
	budget  *retryBudget
	wait    func(context.Context, time.Duration) bool // sleeps, and reports whether a retry is still of use
	retries int
}

// retrier returns a retrier for a new request.
func (b *retryBudget) retrier(wait func(context.Context, time.Duration) bool) *retrier {
	b.add(1)
	return &retrier{budget: b, wait: wait}
}

// again waits if the request that failed with e should be repeated, and reports whether it should.
func (r *retrier) again(ctx context.Context, e *Error, singleUse bool) bool {
	wait, ok := retryIn(e, r.retries, singleUse, rand.Float64())
	if !ok {
		return false
	}
	// All requests in flight on a connection fail when it breaks, however healthy the authority is.
	free := e.connection == connectionStale
	if !free && !r.budget.take() {
		return false
	}
	if !r.wait(ctx, wait) {
		if !free {
			r.budget.add(retryCost)
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
