package authcode_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/testkit"
)

// Parameters without a code of Entra never sign in, never panic, and never cause an error that
// contains a secret or more than one line.
func FuzzExchange(f *testing.F) {
	f.Add("state=STATE&code=CODE")
	f.Add("state=STATE&error=access_denied&error_description=AADSTS65004:+no%0d%0aSet-Cookie:+x")
	f.Add("state=STATE&error=interaction_required&claims=%7B%22access_token%22%3A%7B%7D%7D&suberror=basic_action")
	f.Add("state=STATE&state=STATE&code=CODE")
	f.Add("state=&code=CODE&error=")
	f.Add("error=STATE&error_description=STATE+NONCE+VERIFIER&state=STATE")
	f.Add("code=%00&state=STATE&error_uri=javascript:alert(1)")
	e := newEstate()
	client := testkit.Client(f, e.clientConfig())
	flow := newFlow(f, client)
	f.Fuzz(func(t *testing.T, query string) {
		login := begin(t, flow, authcode.Request{})
		s := unmarshal(t, login)
		code := strings.Repeat("1.AXkA", 20) // unknown to Entra
		query = strings.NewReplacer("STATE", s.State, "NONCE", s.Nonce, "VERIFIER", s.Verifier, "CODE",
			code).Replace(query)
		params, _ := url.ParseQuery(query)
		signIn, err := flow.Exchange(t.Context(), login, params)
		if signIn != nil || err == nil {
			t.Fatalf("got a sign-in with %q", params)
		}
		b, _ := json.Marshal(err)
		hidden := []string{s.State, s.Nonce, s.Verifier, code, "webapp-secret"}
		expectNone(t, "the JSON", string(b), hidden)
		text := err.Error()
		expectNone(t, "the error", text, hidden)
		if len(text) > 2400 || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("got an error of %d bytes, want one line of at most 2400: %.200q", len(text), text)
		}
		if n := client.Cache().Stats().Sessions; n != 0 {
			t.Fatalf("got %d sessions in the cache, want 0", n)
		}
	})
}

// Every return path that Begin accepts stays on the site, also after http.Redirect.
func FuzzReturnTo(f *testing.F) {
	for _, s := range []string{"/", "/a/b?c=d#e", "//evil.example", `/\evil.example`, "/%2f%2fevil.example",
		"/..//evil.example", "/%09/evil.example", "/?//", "/#//", "/;//x"} {
		f.Add(s)
	}
	flow := newEstate().flow(f)
	site := must(url.Parse("https://app.example/callback"))
	f.Fuzz(func(t *testing.T, returnTo string) {
		testkit.CostsAtMost(t, "Begin", testkit.Cost{Fixed: 1 << 20, PerByte: 100}, returnTo, func(s string) {
			flow.Begin(t.Context(), authcode.Request{ReturnTo: s})
		})
		if _, err := flow.Begin(t.Context(), authcode.Request{ReturnTo: returnTo}); err != nil || returnTo == "" {
			return
		}
		w := httptest.NewRecorder()
		http.Redirect(w, httptest.NewRequest(http.MethodGet, site.String(), nil), returnTo, http.StatusSeeOther)
		for name, location := range map[string]string{
			"unchanged":           returnTo,
			"after http.Redirect": w.Header().Get("Location"),
			"unescaped":           must(url.PathUnescape(strings.SplitN(returnTo, "?", 2)[0])),
		} {
			location = strings.Map(func(c rune) rune { // like a browser
				switch c {
				case '\t', '\r', '\n':
					return -1
				case '\\':
					return '/'
				}
				return c
			}, location)
			if !strings.HasPrefix(location, "/") || strings.HasPrefix(location, "//") {
				t.Errorf("%q %s: got %q, want a path on the site", returnTo, name, location)
			}
			u, err := url.Parse(location)
			if name != "unescaped" && (err != nil || site.ResolveReference(u).Host != site.Host) {
				t.Errorf("%q %s: got %q, want a path on the site", returnTo, name, location)
			}
		}
	})
}

// Invalid JSON of a Login causes an error and never a sign-in or a panic.
func FuzzLoginJSON(f *testing.F) {
	f.Add([]byte(`{"state":"a","nonce":"b","verifier":"c","return_to":"/","expires":"2999-01-01T00:00:00Z"}`))
	f.Add([]byte(`null`))
	f.Add([]byte(`{"state":["a"]}`))
	f.Add([]byte(`{"expires":"x"}`))
	flow := newEstate().flow(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		testkit.CostsAtMost(t, "Login", testkit.Cost{Fixed: 64 << 10, PerByte: 100}, string(data), func(s string) {
			_ = json.Unmarshal([]byte(s), new(authcode.Login))
		})
		login := new(authcode.Login)
		_ = json.Unmarshal(data, login)
		signIn, err := flow.Exchange(t.Context(), login, url.Values{"state": {login.State()}})
		if signIn != nil || err == nil {
			t.Errorf("got a sign-in with %q", data)
		}
	})
}
