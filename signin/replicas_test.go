package signin_test

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/signin"
)

// replicas are processes of one app. They share the sessions and the tokens. A load balancer passes them the requests
// in turn.
type replicas struct {
	*webApp // as browsers see it
	t       *testing.T
	all     []*webApp
	tokens  *storetest.Memory
	start   func() *webApp
	next    int
}

func newReplicas(t *testing.T, n int, changes ...func(*settings)) *replicas {
	t.Helper()
	r := &replicas{t: t, tokens: storetest.NewMemory()}
	sessions := newSharedStore()
	changes = append(changes, withStore(sessions), func(s *settings) {
		s.client.Capabilities = []string{entra.CapabilityCAE}
		s.client.Cache = cache.New(cache.Options{
			Store: r.tokens, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
		})
		if len(r.all) > 0 {
			s.server = r.all[0].Server
		}
	})
	r.start = func() *webApp {
		w := newWebApp(t, changes...)
		w.calls = func(out http.ResponseWriter, in *http.Request) { callAPI(t, w, out, in) }
		return w
	}
	for range n {
		r.all = append(r.all, r.start())
	}
	front := *r.all[0]
	front.app = http.HandlerFunc(func(out http.ResponseWriter, in *http.Request) {
		r.next = (r.next + 1) % len(r.all)
		r.all[r.next].app.ServeHTTP(out, in)
	})
	r.webApp = &front
	return r
}

// restart replaces all replicas, one after the other, by new processes.
func (r *replicas) restart() {
	for i := range r.all {
		r.all[i] = r.start()
	}
}

// rejections returns the kinds of problems that any of the current replicas has shown.
func (r *replicas) rejections(t *testing.T) (kinds []string) {
	for _, w := range r.all {
		kinds = append(kinds, w.log.rejections(t)...)
	}
	return kinds
}

// callAPI serves /call. The API that it calls requires an authentication context if the query contains step-up.
func callAPI(t *testing.T, w *webApp, out http.ResponseWriter, r *http.Request) {
	scopes := r.URL.Query()["scope"]
	api := roundTripper(func(in *http.Request) (*http.Response, error) {
		token := strings.TrimPrefix(in.Header.Get("Authorization"), "Bearer ")
		if !r.URL.Query().Has("step-up") || slices.Contains(acrs(t, token), "c1") {
			return testkit.Response(in, http.StatusOK, "text/plain", "token true"), nil
		}
		resp := testkit.Response(in, http.StatusUnauthorized, "text/plain", "")
		entra.SetClaimsChallenge(resp.Header, challenge)
		return resp, nil
	})
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "https://api.contoso.example/", nil)
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := (&http.Client{Transport: &entra.Transport{Source: w.site.TokenSource(r, scopes...), Base: api}}).Do(req)
	if err == nil {
		defer resp.Body.Close()
		err = signin.Challenge(resp)
	}
	switch {
	case w.site.Interact(out, r, err, scopes...):
	case err != nil:
		http.Error(out, err.Error(), http.StatusBadGateway)
	default:
		_, _ = io.Copy(out, resp.Body)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// acrs returns the authentication contexts that a token satisfies.
func acrs(t *testing.T, token string) (ids []string) {
	claimed, _ := testkit.Claims(t, token)["acrs"].([]any)
	for _, id := range claimed {
		ids = append(ids, fmt.Sprint(id))
	}
	return ids
}

// open loads a page as a browser does, follows redirects, and signs Alice in at Entra.
func (b *browser) open(page string) *response {
	b.t.Helper()
	a := b.get(page)
	for range 10 {
		to := a.Header.Get("Location")
		switch {
		case a.StatusCode != http.StatusSeeOther:
			return a
		case strings.HasPrefix(to, entraHost):
			time.Sleep(200 * time.Millisecond) // at Entra
			a = b.callback(b.signInAtEntra(a, alice))
		default:
			a = b.get(to)
		}
	}
	b.t.Fatalf("got ten redirects for %s", page)
	return nil
}

// seen are the requests of a script that Entra sees.
type seen struct{ Redirects, Codes, Refreshes int }

func (r *replicas) seen() seen {
	return seen{
		r.Count(entratest.Match{Endpoint: entratest.EndpointAuthorize}),
		r.Count(entratest.Match{GrantType: "authorization_code"}),
		r.Count(entratest.Match{GrantType: "refresh_token"}),
	}
}

// Replicas cost as many redirects and token requests as one process, and show no problem, although requests and
// callbacks reach them in turn and all of them restart.
func TestReplicasCostWhatOneProcessCosts(t *testing.T) {
	for _, mode := range []string{"query", authcode.ResponseModeFormPost} {
		synctest.Test(t, func(t *testing.T) {
			script := func(n int) (total seen) {
				r := newReplicas(t, n, func(s *settings) {
					s.flow.ResponseMode = mode
					s.entra.Lifetime = func() time.Duration { return time.Hour }
				})
				b := r.browser(t)
				visit := func(query string, pages int) {
					t.Helper()
					for range pages {
						if a := b.open("/call" + query); a.body != "token true" {
							t.Fatalf("%s, %d replicas: /call%s: got status %d and page\n%s", mode, n, query, a.StatusCode, a.body)
						}
					}
				}
				orders := "?scope=" + url.QueryEscape(scopeB)
				visit("", 10)
				visit(orders, 10)            // consent
				visit("?step-up", 10)        // step-up, after all replicas have had a token without it
				time.Sleep(45 * time.Minute) // refreshes
				visit("", 10)
				visit(orders, 10)
				time.Sleep(time.Second)
				before := r.seen()
				if n > 1 { // one process loses its memory, but has the store
					if kinds := r.rejections(t); len(kinds) != 0 {
						t.Errorf("%s: got rejections %v, want none", mode, kinds)
					}
					r.restart()
				}
				visit("?step-up", 2*n)
				visit(orders, 2*n)
				if after := r.seen(); after != before {
					t.Errorf("%s: the restart cost %v, want nothing: %v", mode, after, before)
				}
				b.wantStatus(b.post("/logout", nil), http.StatusSeeOther, "")
				for range n {
					b.wantUser("")
				}
				if kinds := r.rejections(t); len(kinds) != 0 {
					t.Errorf("%s: got rejections %v, want none", mode, kinds)
				}
				time.Sleep(5 * time.Second)
				return r.seen()
			}
			one, two, three := script(1), script(2), script(3)
			if want := (seen{Redirects: 3, Codes: 3, Refreshes: 4}); one != want || two != want || three != want {
				t.Errorf("%s: one replica costs %+v, two %+v, three %+v, want %+v", mode, one, two, three, want)
			}
		})
	}
}

// A session that ends at one replica ends at all of them, with its tokens, even for a request that is still in
// progress. After one second no replica returns a token of it.
func TestSessionEndsAtAllReplicas(t *testing.T) {
	for name, end := range map[string]func(r *replicas, b *browser, a authcode.Account, sid string) error{
		"sign-out": func(_ *replicas, b *browser, _ authcode.Account, _ string) error {
			b.wantEntra(b.post("/logout", nil))
			return nil
		},
		"sign-out at Entra": func(r *replicas, _ *browser, _ authcode.Account, sid string) error {
			other := r.browser(r.t)
			other.wantStatus(other.get("/logout/frontchannel?sid="+sid, "Sec-Fetch-Dest", "iframe"), http.StatusOK, "")
			return nil
		},
		"EndSession": func(r *replicas, b *browser, a authcode.Account, _ string) error {
			return r.all[0].site.EndSession(b.t.Context(), a)
		},
		"EndSessions": func(r *replicas, b *browser, a authcode.Account, _ string) error {
			return r.all[0].site.EndSessions(b.t.Context(), a.TenantID, a.ObjectID)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplicas(t, 3, func(s *settings) { s.site.KeepClaims = true })
				b := r.browser(t)
				b.open("/call")
				var sources []*entra.TokenSource
				var account authcode.Account
				var sid string
				for _, w := range r.all {
					w.calls = func(_ http.ResponseWriter, in *http.Request) {
						account, _ = signin.AccountFromContext(in.Context())
						claims, _ := signin.ClaimsFromContext(in.Context())
						sid = claims.SessionID
						sources = append(sources, w.site.TokenSource(in))
					}
				}
				for range r.all {
					b.get("/call")
				}
				for _, s := range sources {
					if _, err := s.Token(); err != nil {
						t.Fatal(err)
					}
				}
				before := r.seen()
				if err := end(r, b, account, sid); err != nil {
					t.Fatal(err)
				}
				for range r.all {
					b.wantUser("")
				}
				time.Sleep(time.Second)
				for i, s := range sources {
					_, err := s.Token()
					if e := testkit.Error(t, err); e.Code != "login_required" {
						t.Errorf("replica %d: got error %v, want login_required", i, err)
					}
				}
				if after := r.seen(); after != before {
					t.Errorf("got requests to Entra: %+v, want none after %+v", after, before)
				}
				if len(sources) != len(r.all) {
					t.Errorf("got %d sources, want one for each replica", len(sources))
				}
				time.Sleep(5 * time.Second)
			})
		})
	}
}
