package credentials_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
)

const requestToken = "s3cr3t-request-token"

// A github is GitHub's token service, on loopback and with TLS.
type github struct {
	*httptest.Server
	requests []*http.Request
	answer   http.HandlerFunc
}

func newGitHub(t testing.TB, p *idp) *github {
	t.Helper()
	g := &github{answer: func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"count": 1, "value": p.token(t, 5*time.Minute)})
	}}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.requests = append(g.requests, r)
		g.answer(w, r)
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.StartTLS()
	t.Cleanup(g.Close)
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", g.URL+"/idtoken/42?api-version=2.0")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", requestToken)
	return g
}

func (g *github) credential(t testing.TB, audience string) entra.Credential {
	t.Helper()
	c, err := credentials.GitHubActions(credentials.GitHubActionsConfig{Audience: audience, HTTPClient: g.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A job's token is asked for once, as GitHub's documentation says, and acts as the app.
func TestGitHubActions(t *testing.T) {
	p := newEstate().trust(t)
	g := newGitHub(t, p)
	c := g.credential(t, "")
	if len(g.requests) != 0 {
		t.Error("GitHub was asked before anything was wanted")
	}
	p.mustUse(t, c)
	p.mustUse(t, c)
	if len(g.requests) != 1 {
		t.Fatalf("%d requests", len(g.requests))
	}
	r := g.requests[0]
	if r.Method != http.MethodGet || r.URL.Path != "/idtoken/42" || r.Header.Get("Authorization") != "Bearer "+requestToken {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	if q := r.URL.Query(); q.Get("api-version") != "2.0" || q.Get("audience") != "api://AzureADTokenExchange" || len(q) != 2 {
		t.Errorf("asked with %v", q)
	}
	if err := newEstate().use(g.credential(t, "api://another")); err == nil || g.requests[1].URL.Query().Get("audience") != "api://another" {
		t.Errorf("got %v", err)
	}
}

// What goes wrong at GitHub is said without the token of the request.
func TestGitHubActionsFails(t *testing.T) {
	p := newEstate().trust(t)
	g := newGitHub(t, p)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the request went on to %s with %v", r.URL, r.Header)
	}))
	defer elsewhere.Close()
	host := strings.TrimPrefix(g.URL, "https://")
	for name, test := range map[string]struct {
		answer    http.HandlerFunc
		code      string
		status    int
		want      string
		temporary bool
	}{
		"forbidden": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden)
		}, "invalid_client", 0, "HOST refused a token for the job (HTTP status 403); it needs the permission \"id-token: write\" and must be running still", false},
		"unwell": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) },
			"invalid_response", 503, "HOST answered the request for a token with HTTP status 503", true},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "invalid_client", 0, "HOST answered the request for a token with HTTP status 307", false},
		"a page": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>s3cr3t") },
			"invalid_client", 0, "HOST answered the request for a token without one", false},
		"no token": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") },
			"invalid_client", 0, "HOST answered the request for a token without one", false},
		"too much": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"value":"%s"}`, strings.Repeat("a", 1<<20))
		}, "invalid_client", 0, "HOST answered the request for a token without one", false},
		"no JWT": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"value":"s3cr3t"}`) },
			"invalid_client", 0, "what was returned as a client assertion is no JWT", false},
		"broken": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "{")
		}, "request_failed", 0, "HOST could not be asked: the connection failed", true},
	} {
		t.Run(name, func(t *testing.T) {
			g.answer = test.answer
			err := p.use(g.credential(t, ""))
			want := "failed to load the credential: " + strings.ReplaceAll(test.want, "HOST", host)
			e, ok := err.(*entra.Error)
			if !ok || e.Code != test.code || e.StatusCode != test.status || e.Description != want || e.Temporary() != test.temporary {
				t.Errorf("got %#v\nwant %s", err, want)
			}
			for err := error(e); err != nil; err = errors.Unwrap(err) {
				if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, "s3cr3t") {
					t.Error(text)
				}
			}
		})
	}
	g.Close()
	err := p.use(g.credential(t, ""))
	if e, ok := err.(*entra.Error); !ok || e.Code != "request_failed" || e.Description != "failed to load the credential: "+host+" could not be asked: connection refused" {
		t.Errorf("got %v", err)
	}
}

// The certificate of the service is checked, and the token is not sent to another.
func TestGitHubActionsChecksTheCertificate(t *testing.T) {
	p := newEstate().trust(t)
	g := newGitHub(t, p)
	c, err := credentials.GitHubActions(credentials.GitHubActionsConfig{})
	if err != nil {
		t.Fatal(err)
	}
	err = p.use(c)
	var unknown x509.UnknownAuthorityError
	if e, ok := err.(*entra.Error); !ok || e.Code != "invalid_client" || e.Temporary() || len(g.requests) != 0 || !errors.As(err, &unknown) ||
		!strings.HasSuffix(e.Description, "could not be asked: x509: certificate signed by unknown authority") {
		t.Errorf("got %v", err)
	}
}

func TestGitHubActionsEnvironment(t *testing.T) {
	const missing = "the environment lacks ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN; GitHub sets both in jobs with the permission \"id-token: write\""
	const address = "ACTIONS_ID_TOKEN_REQUEST_URL is not an address with https; the request token is sent nowhere else"
	for _, test := range []struct{ url, token, want string }{
		{"", "", missing},
		{"https://actions.example/token", "", missing},
		{"", requestToken, missing},
		{"http://actions.example/token", requestToken, address},
		{"file:///etc/passwd", requestToken, address},
		{"https:///token", requestToken, address},
		{"https://user:s3cr3t@actions.example/token", requestToken, address},
		{"://", requestToken, address},
	} {
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", test.url)
		t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", test.token)
		_, err := credentials.GitHubActions(credentials.GitHubActionsConfig{})
		wantRefused(t, err, "", test.want)
	}
}
