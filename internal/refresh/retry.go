package refresh

import "time"

// Bounds of the retries of one request while callers wait for its token.
const (
	maxRetries         = 2
	retryJitterMin     = 100 * time.Millisecond
	retryJitterMax     = time.Second
	retryMaxRetryAfter = 2 * time.Second // after a longer one, all callers get the error
)

// WaitingRetryIn returns how long to wait before a request for which callers wait is repeated. ok is false if it is
// not. retries counts the earlier ones, retryAfter is the server's Retry-After, or 0, and draw is a random number in
// [0, 1). The random wait is added to Retry-After, so that clients that were throttled together do not return together.
func WaitingRetryIn(retries int, retryAfter time.Duration, draw float64) (wait time.Duration, ok bool) {
	if retries >= maxRetries || retryAfter > retryMaxRetryAfter {
		return 0, false
	}
	return retryAfter + retryJitterMin + time.Duration(draw*float64(retryJitterMax-retryJitterMin)), true
}

// A Budget bounds the retries of all requests of a client, so that they do not multiply the load of an authority
// that is failing already. Ten retries are allowed at first, and one more for every ten requests. A client with few
// requests regains its ten within an hour. It is not safe for concurrent use.
type Budget struct {
	balance float64 // in requests
	updated time.Time
}

const (
	retryCost    = 10              // requests that allow one retry
	budgetStart  = 10 * retryCost  // also what time alone can restore
	budgetMax    = 100 * retryCost // what requests can save
	budgetRefill = time.Hour       // from zero to budgetStart
)

// NewBudget returns the budget of a client that is made at now.
func NewBudget(now time.Time) *Budget { return &Budget{balance: budgetStart, updated: now} }

// Add counts a request.
func (b *Budget) Add(now time.Time) { b.add(now, 1) }

// Take reports whether a retry is allowed, and counts it.
func (b *Budget) Take(now time.Time) bool {
	b.refill(now)
	if b.balance < retryCost {
		return false
	}
	b.balance -= retryCost
	return true
}

// Return undoes a Take whose retry was not sent.
func (b *Budget) Return(now time.Time) { b.add(now, retryCost) }

func (b *Budget) add(now time.Time, n float64) {
	b.refill(now)
	b.balance = min(b.balance+n, budgetMax)
}

// refill adds what time has restored.
func (b *Budget) refill(now time.Time) {
	restored := budgetStart * now.Sub(b.updated).Seconds() / budgetRefill.Seconds()
	b.balance, b.updated = max(b.balance, min(b.balance+restored, budgetStart)), now
}
