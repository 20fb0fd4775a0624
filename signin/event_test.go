package signin_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// eventLog collects the events of a site.
type eventLog struct {
	mu     sync.Mutex
	events []signin.Event
}

func (l *eventLog) record(e signin.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) take() []signin.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	events := l.events
	l.events = nil
	return events
}

func TestEventsDescribeSignInsAndFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l eventLog
		admit := error(nil)
		w := newWebApp(t, func(s *settings) {
			s.site.OnEvent = l.record
			s.site.OnSignIn = func(context.Context, *authcode.SignIn) error { time.Sleep(time.Second); return admit }
		})
		b := w.browser(t)
		check := func(step string, want ...signin.Event) {
			t.Helper()
			if got := l.take(); !slices.Equal(got, want) {
				t.Errorf("%s: got %+v, want %+v", step, got, want)
			}
		}
		started := signin.Event{Kind: signin.EventStarted}
		failed := func(k signin.Kind) signin.Event { return signin.Event{Kind: signin.EventFailed, Problem: k} }
		callback := b.signInAtEntra(b.get("/private/x"), alice)
		check("a page that requires a sign-in", started)
		b.callback(callback)
		check("callback", signin.Event{Kind: signin.EventSignedIn, Took: time.Second})
		b.get("/private/x")
		check("a page of a signed-in user")
		b.get("/private/x", "Sec-Fetch-Dest", "iframe")
		b.post("/private/x", nil, "Sec-Fetch-Site", "cross-site")
		check("a request of another site", failed(signin.KindCrossOrigin))
		b.post("/logout", nil)
		check("sign-out", signin.Event{Kind: signin.EventSignedOut})
		b.post("/logout", nil)
		check("sign-out without a session")
		admit = &signin.RejectionError{Reason: "not yet"}
		b.callback(b.signInAtEntra(b.get("/private/x"), bob))
		check("rejected by the app", started, failed(signin.KindNotAdmitted))
		admit = nil
		other := w.browser(t)
		callback = other.signInAtEntra(other.get("/login"), alice)
		u, err := url.Parse(callback)
		if err != nil {
			t.Fatal(err)
		}
		other.callback(callback)
		check("another browser", started, signin.Event{Kind: signin.EventSignedIn, Took: time.Second})
		w.browser(t).get("/logout/frontchannel?sid=" + u.Query().Get("session_state"))
		check("sign-out at Entra", signin.Event{Kind: signin.EventSignedOut})
		callback = b.signInAtEntra(b.get("/login"), alice)
		l.take()
		w.Intercept(func(r *http.Request, _ url.Values) (*http.Response, error) {
			return testkit.Response(r, 503, "application/json", "{}"), nil
		})
		b.callback(callback)
		check("Entra is not available", failed(signin.KindUnavailable))
		w.Intercept(nil)
		callback = b.signInAtEntra(b.get("/login"), alice)
		l.take()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, callback, nil)
		for _, c := range b.cookies() {
			r.AddCookie(c)
		}
		w.app.ServeHTTP(httptest.NewRecorder(), r)
		check("the browser has left", signin.Event{Kind: signin.EventCanceled})
	})
}

// A failure of the front-channel logout, which no user sees, is an event.
func TestFailedFrontChannelLogoutIsAnEvent(t *testing.T) {
	var l eventLog
	store := newSharedStore()
	w := newWebApp(t, withStore(store), func(s *settings) { s.site.OnEvent = l.record })
	store.fail["Find"] = errStore
	w.browser(t).get("/logout/frontchannel?sid=x")
	want := []signin.Event{{Kind: signin.EventFailed, Problem: signin.KindUnavailable}}
	if got := l.take(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

// A panic of OnEvent does not reach the browser.
func TestPanicOfOnEventIsDiscarded(t *testing.T) {
	w := newWebApp(t, func(s *settings) { s.site.OnEvent = func(signin.Event) { panic("event") } })
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")
}
