package verify

import (
	"context"
	"errors"
	"time"

	"github.com/entratoken/entra/internal/safecall"
)

// EventKind is the kind of an [Event], in words.
type EventKind string

// The kinds of events.
const (
	EventVerified    EventKind = "verified"     // a token was accepted
	EventRejected    EventKind = "rejected"     // a token was rejected, or a request had none
	EventDenied      EventKind = "denied"       // a Require function or Check denied a request whose token is valid
	EventCanceled    EventKind = "canceled"     // the caller's context ended before the keys arrived
	EventKeysFetched EventKind = "keys fetched" // the authority's keys were fetched
	EventKeysFailed  EventKind = "keys failed"  // they could not be fetched
)

// Event describes the result of a verification or of a fetch of the keys. It contains no part of a token and no
// personal data.
type Event struct {
	Kind   EventKind
	Reason Reason        // of EventRejected, EventDenied and EventKeysFailed
	Cached bool          // of EventVerified: the token was verified before and its claims were cached
	Took   time.Duration // with the wait for keys; 0 for a cached token, a request without one, and EventDenied
	Err    error         // of EventKeysFailed
}

// result returns the event for a token whose verification began at start.
func result(err error, start time.Time) Event {
	event := Event{Kind: EventVerified, Took: time.Since(start)}
	if err == nil {
		return event
	}
	event.Kind = EventCanceled
	if e, ok := errors.AsType[*Error](err); ok {
		event.Kind, event.Reason = EventRejected, e.Reason
	}
	return event
}

// notify calls Config.OnEvent.
func (v *Verifier) notify(e Event) { safecall.Notify(v.onEvent, e) }

// startTrace calls Config.Trace.
func (v *Verifier) startTrace(ctx context.Context) (context.Context, func(Event)) {
	return safecall.Trace(ctx, v.trace)
}
