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

// Whatever is a store for scs is one for package signin.
var _ signin.Store = scs.Store(nil)

// Two processes share the sessions in a store of scs's, which sees nothing of them.
func TestSignInWithStoreOfSCS(t *testing.T) {
	f := newFake(t)
	store := memstore.NewWithCleanupInterval(0)
	process := func() http.Handler {
		client := must[*entra.Client](t)(entra.New(entra.Config{
			TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(f.host), HTTPClient: f.client,
		}))
		flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: "https://webapp.contoso.example/callback"}))
		site := must[*signin.Site](t)(signin.New(flow, signin.Config{
			Store: store, Keys: []signin.Key{signin.NewKey([]byte("0123456789abcdef0123456789abcdef"))},
		}))
		return site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			account, _ := signin.AccountFromContext(r.Context())
			fmt.Fprint(w, account.Name)
		})))
	}
	first, second := process(), process()
	cookies := map[string]*http.Cookie{}
	send := func(app http.Handler, method, target string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, target, nil)
		r.Header.Set("Accept", "text/html")
		for _, c := range cookies {
			r.AddCookie(c)
		}
		w := httptest.NewRecorder()
		app.ServeHTTP(w, r)
		for _, c := range w.Result().Cookies() {
			if cookies[c.Name] = c; c.MaxAge < 0 {
				delete(cookies, c.Name)
			}
		}
		return w
	}
	const page = "https://webapp.contoso.example/page"
	begun := send(first, http.MethodGet, page)
	callback, err := f.SignIn(t.Context(), begun.Header().Get("Location"), alice)
	if err != nil {
		t.Fatal(err)
	}
	if back := send(second, http.MethodGet, callback.String()); back.Header().Get("Location") != "/page" { // begun in one, ended in the other
		t.Fatalf("status %d to %q", back.Code, back.Header().Get("Location"))
	}
	for _, app := range []http.Handler{first, second} {
		if w := send(app, http.MethodGet, page); w.Body.String() != aliceName {
			t.Errorf("the page says %q", w.Body)
		}
	}
	entries := must[map[string][]byte](t)(store.All())
	for token, b := range entries {
		for _, c := range cookies {
			if strings.Contains(token, c.Value) || bytes.Contains(b, []byte("Alice")) {
				t.Error("the store shows a session")
			}
		}
	}
	if len(entries) == 0 {
		t.Error("the store is empty")
	}
	if w := send(first, http.MethodPost, "https://webapp.contoso.example/logout"); w.Code != http.StatusSeeOther {
		t.Fatalf("status %d", w.Code)
	}
	if w := send(second, http.MethodGet, page); w.Code != http.StatusSeeOther {
		t.Errorf("after the sign-out: status %d, %q", w.Code, w.Body)
	}
}
