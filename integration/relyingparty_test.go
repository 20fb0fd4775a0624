package integration_test

import (
	"encoding/json"
	"html/template"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/zitadel/oidc/v3/pkg/client/rp"
	httphelper "github.com/zitadel/oidc/v3/pkg/http"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/net/html"
)

// relyingParty is a web app that signs users in with zitadel/oidc. The library does discovery, PKCE, the exchange, the
// validation of the ID token and the cookies.
type relyingParty struct {
	url string
}

// signedIn is the result of a sign-in, as the page of the web app shows it.
type signedIn struct {
	Claims      *oidc.IDTokenClaims
	IDToken     string
	AccessToken string
	Refreshable bool // has a refresh token
}

// pages of the web app. The page after a sign-in contains the details for the tests.
var pages = template.Must(template.New("").Parse(`
{{define "home"}}<!doctype html><html lang="en"><title>Web app</title>
<h1>Web app</h1><p id="state">signed out</p><a id="login" href="/login">Sign in</a></html>{{end}}
{{define "welcome"}}<!doctype html><html lang="en"><title>Welcome</title>
<h1>Welcome</h1><p id="state">signed in</p><pre id="details">{{.Details}}</pre>
<a id="logout" href="{{.Logout}}">Sign out</a></html>{{end}}
{{define "failed"}}<!doctype html><html lang="en"><title>Failed</title>
<h1>Sign-in failed</h1><p id="state">failed</p><p id="error">{{.}}</p></html>{{end}}
`))

func show(w http.ResponseWriter, page string, data any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := pages.ExecuteTemplate(w, page, data); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// newRelyingParty serves a web app on loopback until the test ends.
func (f *fake) newRelyingParty(t *testing.T, scopes ...string) *relyingParty {
	t.Helper()
	listener, origin := listen(t)
	cookies := httphelper.NewCookieHandler([]byte(strings.Repeat("h", 32)), []byte(strings.Repeat("e", 32)),
		httphelper.WithUnsecure())
	party, err := rp.NewRelyingPartyOIDC(t.Context(), f.issuer(), webappID, webappSecret, origin+"/callback", scopes,
		rp.WithHTTPClient(f.client), rp.WithPKCE(cookies), rp.WithCookieHandler(cookies),
		rp.WithErrorHandler(func(w http.ResponseWriter, _ *http.Request, code, description, _ string) {
			show(w, "failed", code+": "+description)
		}))
	if err != nil {
		t.Fatal(err)
	}

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { show(w, "home", nil) })
	mux.HandleFunc("GET /login", func(w http.ResponseWriter, r *http.Request) {
		var options []rp.URLParamOpt
		for name, values := range r.URL.Query() { // prompt, login_hint ...
			options = append(options, rp.WithURLParam(name, values[0]))
		}
		rp.AuthURLHandler(func() string { return "a-state" }, party, options...)(w, r)
	})
	mux.Handle("GET /callback", rp.CodeExchangeHandler(
		func(w http.ResponseWriter, _ *http.Request, tokens *oidc.Tokens[*oidc.IDTokenClaims], _ string, _ rp.RelyingParty) {
			details, err := json.Marshal(signedIn{tokens.IDTokenClaims, tokens.IDToken, tokens.AccessToken,
				tokens.RefreshToken != ""})
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			logout := party.GetEndSessionEndpoint() + "?" + url.Values{"post_logout_redirect_uri": {origin + "/"}}.Encode()
			show(w, "welcome", map[string]string{"Details": string(details), "Logout": logout})
		}, party))

	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: mux}}
	server.Start()
	t.Cleanup(server.Close)
	return &relyingParty{url: origin}
}

// details returns the details on the page after a sign-in.
func details(t *testing.T, page string) signedIn {
	t.Helper()
	root, err := html.Parse(strings.NewReader(page))
	if err != nil {
		t.Fatal(err)
	}
	pre := find(root, func(n *html.Node) bool { return attribute(n, "id") == "details" })
	if pre == nil {
		t.Fatalf("got a page without details:\n%s", page)
	}
	var s signedIn
	if err := json.Unmarshal([]byte(pre.FirstChild.Data), &s); err != nil {
		t.Fatal(err)
	}
	return s
}
