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
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/internal/testkit"
)

const requestToken = "s3cr3t-request-token"

// jobServer is a service for the tokens of jobs, on loopback and with TLS.
type jobServer struct {
	*httptest.Server
	requests []*http.Request
	handler  http.HandlerFunc
}

// newJobServer starts a service whose responses are the JSON form of those of respond.
func newJobServer(t testing.TB, respond func() map[string]any) *jobServer {
	t.Helper()
	j := &jobServer{handler: func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(respond())
	}}
	j.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		j.requests = append(j.requests, r)
		j.handler(w, r)
	}))
	j.Config.ErrorLog = log.New(io.Discard, "", 0)
	j.StartTLS()
	t.Cleanup(j.Close)
	return j
}

// github is GitHub's token service.
type github struct{ *jobServer }

func newGitHub(t testing.TB, p *idp) *github {
	t.Helper()
	g := &github{newJobServer(t, func() map[string]any {
		return map[string]any{"count": 1, "value": p.token(t, 5*time.Minute)}
	})}
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", g.URL+"/idtoken/42?api-version=2.0")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", requestToken)
	return g
}

func (g *github) credential(t testing.TB, audience string) entra.Credential {
	t.Helper()
	c, err := credentials.GitHubActions(&credentials.GitHubActionsOptions{Audience: audience, HTTPClient: g.Client()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// One request, in the form that GitHub documents, returns the token of the job.
func TestGitHubActionsRequest(t *testing.T) {
	p := newFakeEntra().trust(t)
	g := newGitHub(t, p)
	c := g.credential(t, "")
	if len(g.requests) != 0 {
		t.Error("GitHubActions sent a request")
	}
	p.mustUse(t, c)
	p.mustUse(t, c)
	if len(g.requests) != 1 {
		t.Fatalf("%d requests", len(g.requests))
	}
	r := g.requests[0]
	if r.Method != http.MethodGet || r.URL.Path != "/idtoken/42" || r.Header.Get("Authorization") != "Bearer "+
		requestToken {
		t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
	}
	if q := r.URL.Query(); q.Get("api-version") != "2.0" || q.Get("audience") != "api://AzureADTokenExchange" ||
		len(q) != 2 {
		t.Errorf("got the query %v", q)
	}
	if err := newFakeEntra().use(g.credential(t, "api://another")); err == nil ||
		g.requests[1].URL.Query().Get("audience") != "api://another" {
		t.Errorf("got %v", err)
	}
}

// Errors of GitHub are reported without the token of the request.
func TestGitHubActionsErrors(t *testing.T) {
	p := newFakeEntra().trust(t)
	g := newGitHub(t, p)
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect to %s was followed with %v", r.URL, r.Header)
	}))
	defer elsewhere.Close()
	host := strings.TrimPrefix(g.URL, "https://")
	for name, test := range map[string]struct {
		handler   http.HandlerFunc
		code      string
		status    int
		want      string
		temporary bool
	}{
		"forbidden": {func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, r.Header.Get("Authorization"), http.StatusForbidden)
		}, "invalid_client", 0, "HOST rejected the request for the job's token with HTTP status 403; " +
			"the job needs the permission \"id-token: write\" and must still be running", false},
		"unavailable": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) },
			"invalid_response", 503, "HOST returned HTTP status 503 instead of the job's token", true},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		}, "invalid_client", 0, "HOST returned HTTP status 307 instead of the job's token", false},
		"HTML": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>s3cr3t") },
			"invalid_client", 0, "HOST returned a response without the job's token", false},
		"no token": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "{}") },
			"invalid_client", 0, "HOST returned a response without the job's token", false},
		"too large": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"value":"%s"}`, strings.Repeat("a", 1<<20))
		}, "invalid_client", 0, "HOST returned a response without the job's token", false},
		"no JWT": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"value":"s3cr3t"}`) },
			"invalid_client", 0, "GitHub Actions token: the assertion is not a JWT", false},
		"broken": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			fmt.Fprint(w, "{")
		}, "request_failed", 0, "request to HOST failed: the connection or a proxy failed", true},
	} {
		t.Run(name, func(t *testing.T) {
			g.handler = test.handler
			err := p.use(g.credential(t, ""))
			want := "failed to load the credential: " + strings.ReplaceAll(test.want, "HOST", host)
			e, ok := err.(*entra.Error)
			if !ok || e.Code != test.code || e.StatusCode != test.status || e.Description != want ||
				e.Temporary() != test.temporary {
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
	if e, ok := err.(*entra.Error); !ok || e.Code != "request_failed" ||
		e.Description != "failed to load the credential: request to "+host+" failed: dial "+host+": connection refused" {
		t.Errorf("got %v", err)
	}
}

// latency is the time that failingGitHub takes, so that concurrent callers share a request.
const latency = 10 * time.Millisecond

// failingGitHub returns a credential for a token service whose first n responses come from fail, and the number of
// requests to it.
func failingGitHub(t testing.TB, p *idp, n int64, fail func(*http.Request) (*http.Response, error),
) (entra.Credential, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	c, err := credentials.GitHubActions(&credentials.GitHubActionsOptions{HTTPClient: &http.Client{
		Transport: testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			time.Sleep(latency)
			if requests.Add(1) <= n {
				return fail(r)
			}
			body, _ := json.Marshal(map[string]any{"value": p.token(t, 5*time.Minute)})
			return testkit.Response(r, http.StatusOK, "application/json", string(body)), nil
		}),
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c, &requests
}

// A failure of GitHub that passes within a second is not the caller's. Callers share the retries.
func TestTransientFailureOfGitHubIsRetried(t *testing.T) {
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example/idtoken/42")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", requestToken)
	respond := func(status int, header ...string) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, status, "text/plain", "", header...), nil
		}
	}
	for _, tt := range []struct {
		name     string
		failures int64
		fail     func(*http.Request) (*http.Response, error)
		requests int64
		ok       bool
		longest  time.Duration
	}{
		{"one 503", 1, respond(503), 2, true, time.Second},
		{"one broken connection", 1, func(*http.Request) (*http.Response, error) {
			return nil, syscall.ECONNRESET
		}, 2, true, time.Second},
		{"a silent connection", 1, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}, 2, true, 11 * time.Second},
		{"two 500", 2, respond(500), 3, true, 2 * time.Second},
		{"three 502", 3, respond(502), 3, false, 2 * time.Second},
		{"429 with Retry-After: 1", 1, respond(429, "Retry-After", "1"), 2, true, 2 * time.Second},
		{"429 with Retry-After: 30", 1, respond(429, "Retry-After", "30"), 1, false, 0},
		{"403", 1, respond(403), 1, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newFakeEntra().trust(t)
				c, requests := failingGitHub(t, p, tt.failures, tt.fail)
				start := time.Now()
				var wg sync.WaitGroup
				for range 20 { // clients with a cache of their own
					wg.Go(func() {
						if err := p.use(c); (err == nil) != tt.ok {
							t.Errorf("got %v, want success %t", err, tt.ok)
						}
					})
				}
				wg.Wait()
				if took := time.Since(start); took > tt.longest+3*latency || tt.longest > 0 && took < 100*time.Millisecond {
					t.Errorf("took %v, want 100ms to %v", took, tt.longest)
				}
				if got := requests.Load(); got != tt.requests {
					t.Errorf("got %d requests for 20 callers, want %d", got, tt.requests)
				}
			})
		})
	}
}

// Retries do not multiply the requests to a service that always fails: ten are free, and then there is one for every
// ten requests. Time restores the ten within an hour.
func TestRetriesToGitHubStayWithinTheBudget(t *testing.T) {
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example/idtoken/42")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", requestToken)
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		c, requests := failingGitHub(t, p, 1<<62, func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, http.StatusServiceUnavailable, "text/plain", ""), nil
		})
		for range 500 {
			if err := p.use(c); err == nil {
				t.Fatal("got a token")
			}
		}
		if got := requests.Load(); got < 555 || got > 561 {
			t.Errorf("got %d requests for 500 calls, want 560", got)
		}
	})
}

// A refresh in the background is not retried at once.
func TestBackgroundRequestToGitHubIsNotRetried(t *testing.T) {
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://actions.example/idtoken/42")
	t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", requestToken)
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		var failing atomic.Bool
		c, requests := failingGitHub(t, p, 1<<62, func(r *http.Request) (*http.Response, error) {
			if failing.Load() {
				return nil, syscall.ECONNRESET
			}
			body, _ := json.Marshal(map[string]any{"value": p.token(t, 5*time.Minute)})
			return testkit.Response(r, http.StatusOK, "application/json", string(body)), nil
		})
		p.mustUse(t, c)
		failing.Store(true)
		time.Sleep(4*time.Minute + time.Second) // four fifths of the lifetime
		p.mustUse(t, c)
		time.Sleep(20 * time.Second)
		if got := requests.Load(); got != 2 {
			t.Errorf("got %d requests, want 2", got)
		}
	})
}

// The request token is not sent to a service with an untrusted certificate.
func TestGitHubActionsChecksTheCertificate(t *testing.T) {
	p := newFakeEntra().trust(t)
	g := newGitHub(t, p)
	c, err := credentials.GitHubActions(nil)
	if err != nil {
		t.Fatal(err)
	}
	err = p.use(c)
	var unknown x509.UnknownAuthorityError
	if e, ok := err.(*entra.Error); !ok || e.Code != "invalid_client" || e.Temporary() || len(g.requests) != 0 ||
		!errors.As(err, &unknown) ||
		!strings.HasSuffix(e.Description, "failed: x509: certificate signed by unknown authority; "+
			"if a proxy or a private cloud uses its own certificate authority, trust it in the HTTPClient that sends the request") {
		t.Errorf("got %v", err)
	}
}

func TestGitHubActionsEnvironment(t *testing.T) {
	const missing = "ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set; GitHub sets both in " +
		"jobs with the permission \"id-token: write\""
	const address = "ACTIONS_ID_TOKEN_REQUEST_URL is not an https URL; the request token is not sent elsewhere"
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
		_, err := credentials.GitHubActions(nil)
		wantInvalid(t, err, "", test.want)
	}
}
