package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/entratoken/entra/internal/redact"
)

// EventKind is the kind of an [Event], in words.
type EventKind string

// The kinds of events. A hit is not an event.
const (
	EventFetchStarted EventKind = "fetch started"
	EventFetchDone    EventKind = "fetch done"   // the fetch returned a token
	EventFetchFailed  EventKind = "fetch failed" // it returned an error, or a response without a usable token
	EventThrottled    EventKind = "throttled"    // follows EventFetchFailed if the server sent Retry-After
	EventWaited       EventKind = "waited"       // a caller has waited for a fetch, or left before it ended
	EventEvicted      EventKind = "evicted"      // a session was evicted by a bound
	EventInvalidated  EventKind = "invalidated"  // a token was dropped because a resource rejected it
	EventStore        EventKind = "store"        // a call of the store, or a wait for another process; see Event.Op
)

// Event describes a change in the cache. It does not contain secrets, and Key prints without personal data.
type Event struct {
	Kind       EventKind
	Key        Key
	Scopes     string        // the scope set, separated by spaces; empty for EventEvicted and most of EventStore
	Op         string        // of EventStore: "load", "save", "notify" or "wait"
	Background bool          // of a fetch: callers are served a cached token and do not wait
	Took       time.Duration // of EventFetchDone, EventFetchFailed, EventWaited and EventStore
	Err        error         // of EventFetchFailed, EventThrottled, EventStore, and EventWaited if the caller got an error
	Lifetime   time.Duration // of EventFetchDone: that of the token
	RetryIn    time.Duration // of EventFetchFailed, EventThrottled and a failed EventStore: no request before this
}

// Log returns an [Options].OnEvent that logs events to l. The level is Warn for throttling and for failed fetches
// that callers wait for, and for a store that fails or has an unreadable record. It is Info for failed background
// refreshes and for evictions, and Debug for the others.
func Log(l *slog.Logger) func(Event) {
	return func(e Event) {
		level := slog.LevelDebug
		switch {
		case e.Kind == EventThrottled, e.Kind == EventFetchFailed && !e.Background,
			e.Kind == EventStore && e.Err != nil && !errors.Is(e.Err, ErrConflict):
			level = slog.LevelWarn
		case e.Kind == EventFetchFailed, e.Kind == EventEvicted:
			level = slog.LevelInfo
		}
		if !l.Enabled(context.Background(), level) {
			return
		}
		var attrs []slog.Attr
		if e.Key != (Key{}) {
			attrs = append(attrs, slog.String("key", fmt.Sprint(e.Key)))
		}
		if e.Op != "" {
			attrs = append(attrs, slog.String("op", e.Op))
		}
		if e.Scopes != "" {
			attrs = append(attrs, slog.String("scopes", e.Scopes))
		}
		if e.Background {
			attrs = append(attrs, slog.Bool("background", true))
		}
		if e.Took > 0 {
			attrs = append(attrs, slog.Duration("took", e.Took))
		}
		if e.Lifetime > 0 {
			attrs = append(attrs, slog.Duration("lifetime", e.Lifetime))
		}
		if e.RetryIn > 0 {
			attrs = append(attrs, slog.Duration("retry_in", e.RetryIn))
		}
		if e.Err != nil {
			attrs = append(attrs, errorAttr(e.Err))
		}
		l.LogAttrs(context.Background(), level, "token cache: "+string(e.Kind), attrs...)
	}
}

// errorAttr returns the attribute for err. The text of an error from outside, such as one of a store or of a callback,
// may contain a token.
func errorAttr(err error) slog.Attr {
	if _, ok := err.(slog.LogValuer); ok {
		return slog.Any("error", err)
	}
	return slog.String("error", redact.Text(err.Error(), 1000))
}
