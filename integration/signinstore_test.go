package integration_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/signin"
)

// Every store for scs implements signin.Store.
var _ signin.Store = scs.Store(nil)

// Two processes share sessions in a store of scs. The store contains neither cookies nor names in the clear.
func TestProcessesShareSessionsInSCSStore(t *testing.T) {
	f := newFake(t)
	store := memstore.NewWithCleanupInterval(0)
	process := func() http.Handler {
		client := must[*entra.Client](t)(entra.New(entra.Config{
			TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(f.host),
			HTTPClient: f.client,
		}))
		flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{
			RedirectURL: "https://webapp.contoso.example/callback"}))
		site := must[*signin.Site](t)(signin.New(flow, signin.Config{
			Store: store, Keys: []signin.Key{signin.NewKey([]byte("0123456789abcdef0123456789abcdef"))},
		}))
		return site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			account, _ := signin.AccountFromContext(r.Context())
			fmt.Fprint(w, account.Name)
		})))
	}
	first, second := process(), process()
	b := cookies{}
	const page = "https://webapp.contoso.example/page"
	begun := b.send(first, http.MethodGet, page)
	callback, err := f.SignIn(t.Context(), begun.Header().Get("Location"), alice)
	if err != nil {
		t.Fatal(err)
	}
	// begun in one, ended in the other
	if back := b.send(second, http.MethodGet, callback.String()); back.Header().Get("Location") != "/page" {
		t.Fatalf("got status %d to %q, want a redirect to /page", back.Code, back.Header().Get("Location"))
	}
	for _, app := range []http.Handler{first, second} {
		if w := b.send(app, http.MethodGet, page); w.Body.String() != aliceName {
			t.Errorf("got page %q, want %q", w.Body, aliceName)
		}
	}
	entries := must[map[string][]byte](t)(store.All())
	for token, entry := range entries {
		for _, c := range b {
			if strings.Contains(token, c.Value) || bytes.Contains(entry, []byte("Alice")) {
				t.Error("got a session in the clear in the store")
			}
		}
	}
	if len(entries) == 0 {
		t.Error("got an empty store")
	}
	if w := b.send(first, http.MethodPost, "https://webapp.contoso.example/logout"); w.Code != http.StatusSeeOther {
		t.Fatalf("got status %d, want 303", w.Code)
	}
	if w := b.send(second, http.MethodGet, page); w.Code != http.StatusSeeOther {
		t.Errorf("after the sign-out: got status %d, %q; want a redirect", w.Code, w.Body)
	}
}

// The sessions of an app itself are cleared when another user signs in and at a sign-out. ownSessions is the code in
// docs/webapps.md.
func TestAppSessionsEndWithTheUser(t *testing.T) {
	f := newFake(t)
	client := must[*entra.Client](t)(entra.New(entra.Config{
		TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(f.host),
		HTTPClient: f.client,
	}))
	flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{
		RedirectURL: "https://webapp.contoso.example/callback"}))
	site := must[*signin.Site](t)(signin.New(flow, signin.Config{}))
	sessions := scs.New()
	visits := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := sessions.GetInt(r.Context(), "visits") + 1
		sessions.Put(r.Context(), "visits", n)
		account, _ := signin.AccountFromContext(r.Context())
		fmt.Fprintf(w, "%s %d", account.Name, n)
	})
	app := sessions.LoadAndSave(site.Handler(ownSessions(sessions, visits)))

	b := cookies{}
	const page = "https://webapp.contoso.example/page"
	want := func(text string) {
		t.Helper()
		if got := b.send(app, http.MethodGet, page).Body.String(); got != text {
			t.Errorf("got page %q, want %q", got, text)
		}
	}
	signIn := func(user string) {
		t.Helper()
		before := b[sessions.Cookie.Name].Value
		begun := b.send(app, http.MethodGet, "https://webapp.contoso.example/login?return_to=/page")
		callback, err := f.SignIn(t.Context(), begun.Header().Get("Location"), user)
		if err != nil {
			t.Fatal(err)
		}
		if back := b.send(app, http.MethodGet, callback.String()); back.Code != http.StatusSeeOther {
			t.Fatalf("got status %d: %s, want a redirect", back.Code, back.Body)
		}
		b.send(app, http.MethodGet, page)
		if b[sessions.Cookie.Name].Value == before {
			t.Error("got the session cookie from before the sign-in, want a new one")
		}
	}
	want(" 1")
	want(" 2")
	signIn(alice)
	want(aliceName + " 2")
	want(aliceName + " 3")
	signIn(bob) // in the same browser, without a sign-out
	want("Bob Brown 2")
	if w := b.send(app, http.MethodPost, "https://webapp.contoso.example/logout"); w.Code != http.StatusSeeOther {
		t.Fatalf("got status %d, want 303", w.Code)
	}
	want(" 1")
}

func ownSessions(sessions *scs.SessionManager, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, user := r.Context(), ""
		if a, ok := signin.AccountFromContext(ctx); ok {
			user = a.TenantID + " " + a.ObjectID + " " + a.Session
		}
		if sessions.GetString(ctx, "user") != user { // the user signed in or out
			err := sessions.Clear(ctx)
			if err == nil {
				err = sessions.RenewToken(ctx)
			}
			if err != nil {
				http.Error(w, "Please try again in a moment.", http.StatusServiceUnavailable)
				return
			}
			sessions.Put(ctx, "user", user)
		}
		next.ServeHTTP(w, r)
	})
}

// cookies of one host in a browser, by name.
type cookies map[string]*http.Cookie

// send sends a request for a page to an app and stores the cookies of the response.
func (b cookies) send(app http.Handler, method, target string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Accept", "text/html")
	for _, c := range b {
		r.AddCookie(c)
	}
	w := httptest.NewRecorder()
	app.ServeHTTP(w, r)
	for _, c := range w.Result().Cookies() {
		if b[c.Name] = c; c.MaxAge < 0 {
			delete(b, c.Name)
		}
	}
	return w
}
