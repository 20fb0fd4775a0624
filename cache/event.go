package cache

import (
	"context"
	"log/slog"
	"time"
)

// EventKind says what happened in the cache.
type EventKind int

// The kinds of events. A hit is none.
const (
	EventFetchStarted EventKind = iota + 1 // a request to the authority began
	EventFetchDone                         // it brought a token
	EventFetchFailed                       // it failed
	EventThrottled                         // the authority wants to be left alone (Retry-After); follows FetchFailed
	EventWaited                            // a caller waited for a request to end, or left before it did
	EventEvicted                           // a session was pushed out by the bound
	EventInvalidated                       // a token was dropped because a resource refused it
)

var eventNames = [...]string{
	"unknown", "fetch started", "fetch done", "fetch failed", "throttled", "waited", "evicted", "invalidated",
}

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
	Background bool          // of a fetch: a token is being served meanwhile, so that nobody waits
	Took       time.Duration // of FetchDone, FetchFailed and Waited
	Err        error         // of FetchFailed and Throttled; of Waited, what the caller got in place of a token
	Life       time.Duration // of FetchDone: how long the token lives
	RetryIn    time.Duration // of FetchFailed and Throttled: no new request before this
}

// Log returns an [Options].OnEvent that writes events to l: what callers notice or an
// operator must know (a request failed while nothing could be served, throttling) at
// level Warn, a failed background refresh and evictions at Info, the rest at Debug.
func Log(l *slog.Logger) func(Event) {
	return func(e Event) {
		level := slog.LevelDebug
		switch {
		case e.Kind == EventThrottled, e.Kind == EventFetchFailed && !e.Background:
			level = slog.LevelWarn
		case e.Kind == EventFetchFailed, e.Kind == EventEvicted:
			level = slog.LevelInfo
		}
		if !l.Enabled(context.Background(), level) {
			return
		}
		attrs := []slog.Attr{slog.String("key", e.Key.String())}
		if e.Scopes != "" {
			attrs = append(attrs, slog.String("scopes", e.Scopes))
		}
		if e.Background {
			attrs = append(attrs, slog.Bool("background", true))
		}
		if e.Took > 0 {
			attrs = append(attrs, slog.Duration("took", e.Took))
		}
		if e.Life > 0 {
			attrs = append(attrs, slog.Duration("life", e.Life))
		}
		if e.RetryIn > 0 {
			attrs = append(attrs, slog.Duration("retry_in", e.RetryIn))
		}
		if e.Err != nil {
			attrs = append(attrs, slog.Any("error", e.Err))
		}
		l.LogAttrs(context.Background(), level, "token cache: "+e.Kind.String(), attrs...)
	}
}

// Stats counts what a cache has done since it was made. Hits+Misses is the number of
// calls for a token that have been answered.
type Stats struct {
	Hits          uint64 // calls answered at once with a held token, fresh or early
	Misses        uint64 // calls that waited, were refused a token, or left
	Fetches       uint64 // Fetches that have ended: requests to the authority, and what was refused without one
	Failures      uint64 // those of them that brought no token
	Evictions     uint64 // sessions pushed out by the bound
	Invalidations uint64 // tokens dropped because a resource refused them
	Sessions      int    // sessions held now
}
