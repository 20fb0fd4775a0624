package signin

import (
	"net/http"
	"time"

	"github.com/entratoken/entra/internal/safecall"
)

// EventKind is the kind of an [Event], in words.
type EventKind string

// The kinds of events. A request of a user who is signed in is not an event.
const (
	EventStarted   EventKind = "started"    // the browser is sent to Entra
	EventSignedIn  EventKind = "signed in"  // a session has started
	EventSignedOut EventKind = "signed out" // a session has ended, because the user signed out here or elsewhere
	EventFailed    EventKind = "failed"     // a request was rejected; see Event.Problem
	EventCanceled  EventKind = "canceled"   // a request failed because the browser had left
)

// Event describes a sign-in, a sign-out or a failure. It contains no personal data and no secrets.
type Event struct {
	Kind    EventKind
	Problem Kind          // of EventFailed
	Took    time.Duration // of EventSignedIn: the response to the callback, with the token request
}

// notify calls Config.OnEvent.
func (s *Site) notify(e Event) { safecall.Notify(s.config.OnEvent, e) }

// notifyFailed reports that r was rejected with a problem of that kind.
func (s *Site) notifyFailed(r *http.Request, problem Kind) {
	if r.Context().Err() != nil { // its calls failed with it
		s.notify(Event{Kind: EventCanceled})
		return
	}
	s.notify(Event{Kind: EventFailed, Problem: problem})
}
