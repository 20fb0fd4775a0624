package cache

import "time"

// EventKind says what happened in the cache.
type EventKind int

// The kinds of events. A hit is none.
const (
	FetchStarted EventKind = iota + 1 // a request to the authority began
	FetchDone                         // it brought a token
	FetchFailed                       // it failed; Err says how
	Evicted                           // a session was pushed out by the bound
	Invalidated                       // a token was dropped because a resource refused it
)

var eventNames = [...]string{"unknown", "fetch started", "fetch done", "fetch failed", "evicted", "invalidated"}

// String returns the kind in words.
func (k EventKind) String() string {
	if k < 0 || int(k) >= len(eventNames) {
		k = 0
	}
	return eventNames[k]
}

// Event is something that happened in the cache. None of it is secret, and Key prints
// without its subject.
type Event struct {
	Kind       EventKind
	Key        Key
	Scopes     string        // the scope set, separated by spaces; "" for Evicted
	Background bool          // of a fetch: a token was being served meanwhile
	Took       time.Duration // of FetchDone and FetchFailed
	Err        error         // of FetchFailed
	RetryIn    time.Duration // of FetchFailed: no new request before this
}

// Stats counts what a cache has done since it was made. Hits+Misses is the number of
// calls for a token that have been answered.
type Stats struct {
	Hits          uint64 // calls answered at once with a held token, fresh or early
	Misses        uint64 // calls that waited, were refused a token, or left
	Fetches       uint64 // requests to the authority that have ended
	Failures      uint64 // those of them that brought no token
	Evictions     uint64 // sessions pushed out by the bound
	Invalidations uint64 // tokens dropped because a resource refused them
	Sessions      int    // sessions held now
}
