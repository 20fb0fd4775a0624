package signin_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

// OnSignIn sees each user before the session starts, and can reject one with a reason that the page shows.
func TestAppRejectsUserAfterSignIn(t *testing.T) {
	var seen []string
	var result error
	w := newWebApp(t, func(s *settings) {
		s.site.OnSignIn = func(ctx context.Context, in *authcode.SignIn) error {
			if _, ok := signin.AccountFromContext(ctx); ok && len(seen) == 0 {
				t.Error("got a session before the first sign-in, want none")
			}
			seen = append(seen, in.Account.Username)
			return result
		}
	})
	b := w.browser(t)
	result = &signin.RejectionError{Reason: "Your trial <ended>."}
	a := b.callback(b.signInAtEntra(b.get("/private/x"), alice))
	b.wantStatus(a, http.StatusForbidden, "")
	for _, want := range []string{"You cannot use this app", "Your trial &lt;ended&gt;.",
		`href="/login?prompt=select_account&amp;return_to=%2Fprivate%2Fx"`} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page lacks %q:\n%s", want, a.body)
		}
	}
	b.wantUser("")
	if n := w.tokens.Stats().Sessions; n != 0 || b.session() != "" {
		t.Errorf("got tokens of %d sessions and the session cookie %q, want none", n, b.session())
	}

	result = nil
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")
	// A database that does not respond is not the user's fault.
	result = errors.New("db: eyJhbGciOiJub25lIn0.e30.x is not a password")
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), bob)), http.StatusServiceUnavailable, "")
	b.wantUser("Alice Adams")
	if log := w.log.String(); strings.Contains(log, "eyJ") || !strings.Contains(log, "db: [redacted] is not a password") {
		t.Errorf("got log\n%s", log)
	}
	result = errors.New("db")
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), alice)), http.StatusServiceUnavailable, "")
	b.wantUser("Alice Adams")
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
	var none *signin.RejectionError // not equal to nil as an error
	result = none
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), alice)), http.StatusServiceUnavailable, "")
	if !strings.Contains(w.log.String(), "returned a nil *signin.RejectionError as its error") {
		t.Errorf("got log\n%s", w.log.String())
	}
	// The session of a rejected user ends.
	result = &signin.RejectionError{}
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), alice)), http.StatusForbidden, "")
	b.wantUser("")
	if n := w.tokens.Stats().Sessions; n != 0 {
		t.Errorf("got tokens of %d sessions in the cache, want 0", n)
	}
	if got, want := strings.Join(seen, " "), strings.Join([]string{alice, alice, bob, alice, alice, alice}, " "); got != want {
		t.Errorf("got calls for %s, want %s", got, want)
	}
	want := "not_admitted unavailable unavailable unavailable not_admitted"
	if got := strings.Join(w.log.rejections(t), " "); got != want {
		t.Errorf("got kinds %s, want %s", got, want)
	}
}

// An administrator disables a user and ends the user's sessions while OnSignIn, which has already found the user
// enabled, has not returned yet. The sign-in must not survive that.
func TestSessionsEndDuringOnSignIn(t *testing.T) {
	var during func()
	w := newWebApp(t, func(s *settings) {
		s.site.OnSignIn = func(context.Context, *authcode.SignIn) error {
			during()
			return nil
		}
	})
	b := w.browser(t)
	during = func() {
		if err := w.site.EndSessions(t.Context(), entratest.SampleTenant, aliceID); err != nil {
			t.Error(err)
		}
	}
	b.callback(b.signInAtEntra(b.get("/private/x"), alice))
	b.wantUser("")
	during = func() {}
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")
}

// With form_post, the callback lacks the session cookie. A failure of OnSignIn keeps the session all the same.
func TestFailureOfOnSignInKeepsSessionWithFormPost(t *testing.T) {
	var result error
	w := newWebApp(t, formPost, func(s *settings) {
		s.site.OnSignIn = func(context.Context, *authcode.SignIn) error { return result }
	})
	b := w.browser(t)
	b.signIn("/private/x", alice)
	b.wantUser("Alice Adams")
	result = errors.New("db")
	b.wantStatus(b.callback(b.signInAtEntra(b.get("/login"), alice)), http.StatusServiceUnavailable, "")
	b.wantUser("Alice Adams")
	if a := b.get("/call"); a.body != "token true" {
		t.Errorf("got body %q, want \"token true\"", a.body)
	}
}
