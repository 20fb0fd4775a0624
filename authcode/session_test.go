package authcode_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/testkit"
)

// Sessions of one account share no tokens and no refresh tokens, and sign out separately. An
// account without a Session signs out all of them.
func TestSessionsShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(lifetime(time.Hour))
		c := testkit.Client(t, e.clientConfig())
		f := newFlow(t, c)
		names := []string{"", "desk", "phone", "desk2"}
		accounts := map[string]authcode.Account{}
		tokens := map[string]string{}
		for _, name := range names {
			signIn := e.signIn(t, f, alice, authcode.Request{Session: name})
			if signIn.Account.Session != name {
				t.Fatalf("got session %q, want %q", signIn.Account.Session, name)
			}
			accounts[name], tokens[name] = signIn.Account, token(t, signIn.Source)
		}
		if n := c.Cache().Stats().Sessions; n != 4 {
			t.Fatalf("got %d sessions in the cache, want 4", n)
		}
		time.Sleep(2 * time.Hour) // each is refreshed with its own refresh token
		seen := map[string]bool{}
		for _, name := range names {
			raw := token(t, f.TokenSource(accounts[name]))
			if raw == tokens[name] || seen[raw] || seen[e.last(t).Get("refresh_token")] {
				t.Errorf("session %q shares a token with another", name)
			}
			seen[raw], seen[e.last(t).Get("refresh_token")] = true, true
			if testkit.Claims(t, raw)["oid"] != accounts[name].ObjectID {
				t.Errorf("session %q: got the token of another user", name)
			}
		}

		expect := func(signedOut ...string) {
			t.Helper()
			for _, name := range names {
				_, err := f.TokenSource(accounts[name]).TokenContext(t.Context())
				out := strings.Contains(" "+strings.Join(signedOut, " ")+" ", " "+name+" ") &&
					(name != "" || len(signedOut) == 4)
				if (err != nil) != out {
					t.Errorf("after sign-out of %q: session %q: got %v", signedOut, name, err)
				}
			}
		}
		if err := f.SignOut(context.Background(), accounts["desk"]); err != nil {
			t.Fatal(err)
		}
		expect("desk")
		whole := accounts["phone"]
		whole.Session = ""
		if err := f.SignOut(context.Background(), whole); err != nil { // all sessions of the account
			t.Fatal(err)
		}
		expect(names...)
	})
}

// The session name is limited, and the login and the account carry it.
func TestSessionName(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	for _, name := range []string{strings.Repeat("x", 65), "a b", "\n", "\x00", "\u00e9"} {
		if _, err := f.Begin(t.Context(), authcode.Request{Session: name}); testkit.Error(t,
			err).Code != "invalid_request" {
			t.Errorf("%q: got %v, want invalid_request", name, err)
		}
	}
	login := begin(t, f, authcode.Request{Session: strings.Repeat("x", 64)})
	b, err := json.Marshal(login)
	if err != nil {
		t.Fatal(err)
	}
	again := new(authcode.Login)
	if err := json.Unmarshal(b, again); err != nil {
		t.Fatal(err)
	}
	signIn, err := f.Exchange(t.Context(), again, e.callback(t, login, alice))
	if err != nil {
		t.Fatal(err)
	}
	if signIn.Account.Session != strings.Repeat("x", 64) {
		t.Errorf("got session %q, want 64 bytes", signIn.Account.Session)
	}
	// A grant without a subject cannot have a session.
	_, err = testkit.Client(t, e.clientConfig()).TokenSource(entra.Grant{
		Flow: "x", Session: "s", Scopes: []string{"y"},
		Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			t.Error("Fetch was called")
			return nil, nil
		},
	}).TokenContext(t.Context())
	if e := testkit.Error(t, err); e.Code != "invalid_request" || !strings.Contains(e.Description, "Session") {
		t.Errorf("got %v, want invalid_request about Session", err)
	}
}
