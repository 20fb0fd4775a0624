package verify_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

const graphURL = "https://graph.microsoft.com/v1.0/users/aaaaaaaa-1111-4000-8000-00000000a11c/checkMemberGroups"

// group returns the object ID of a group.
func group(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func groups(from, to int) (ids []string) {
	for n := from; n <= to; n++ {
		ids = append(ids, group(n))
	}
	return ids
}

// directory is a fake Entra in which Alice and Carol are in the groups 1 to 201, too many for a token of api-b. It
// records the requests to Microsoft Graph.
type directory struct {
	*entratest.Server
	cfg   verify.Config     // of api-b, for both tenants
	entra *testkit.Recorder // of the token requests of api-b

	mu       sync.Mutex // guards the fields below
	requests []string   // URL, tenant of the token, and body
	tokens   []string
	respond  func(*http.Request) (*http.Response, error) // replaces Graph
}

func newDirectory(t *testing.T) *directory {
	t.Helper()
	d := &directory{Server: testkit.Server(func(c *entratest.Config) {
		c.Users[0].Groups, c.Users[2].Groups = groups(1, 201), groups(1, 201)
		c.Apps[3].GroupClaims = true
		c.Apps[3].Permissions = append(c.Apps[3].Permissions, entratest.Permission{
			Resource: "https://graph.microsoft.com", Roles: []string{"User.ReadBasic.All", "GroupMember.Read.All"},
		})
	})}
	d.entra = testkit.NewRecorder(d.Server.Client().Transport)
	client := testkit.Client(t, testkit.ClientConfig(d.Server, "api-b", d.entra))
	d.cfg = sampleConfig(d.Server)
	d.cfg.Tenants = []string{contoso, fabrikam}
	d.cfg.HTTPClient = &http.Client{Transport: d}
	d.cfg.GraphTokens = func(tenantID string) (*entra.TokenSource, error) {
		c, err := client.WithTenant(tenantID)
		if err != nil {
			return nil, err
		}
		return clientcreds.TokenSource(c, "https://graph.microsoft.com/.default"), nil
	}
	return d
}

// RoundTrip sends a request of the Verifier.
func (d *directory) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return d.Server.Client().Transport.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	var claims struct{ Tid string }
	testkit.DecodeJWT(nopTB{}, token, 1, &claims)
	d.mu.Lock()
	d.requests = append(d.requests, r.URL.String()+" "+claims.Tid+" "+string(body))
	d.tokens = append(d.tokens, token)
	respond := d.respond
	d.mu.Unlock()
	if respond != nil {
		return respond(r)
	}
	r = r.Clone(r.Context())
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	return d.Server.Client().Transport.RoundTrip(r)
}

// nopTB is for helpers that are called outside of the goroutine of a test.
type nopTB struct{ testing.TB }

func (nopTB) Helper() {}

// take returns the requests to Graph since the last call.
func (d *directory) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	requests := d.requests
	d.requests = nil
	return requests
}

func (d *directory) respondWith(respond func(*http.Request) (*http.Response, error)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.respond = respond
}

// token returns a verified token for a user.
func (d *directory) token(
	ctx context.Context, t *testing.T, v *verify.Verifier, user string, claims ...string,
) *verify.Token {
	t.Helper()
	o := entratest.MintOptions{Resource: "api-b", User: user, Claims: map[string]any{}}
	if user == carol {
		o.Tenant = fabrikam
	}
	for i := 0; i < len(claims); i += 2 {
		var value any
		if err := json.Unmarshal([]byte(claims[i+1]), &value); err != nil {
			t.Fatal(err)
		}
		o.Claims[claims[i]] = value
	}
	tok, err := v.Verify(ctx, d.Mint(o))
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (d *directory) body(ids ...string) string {
	b, _ := json.Marshal(map[string][]string{"groupIds": ids})
	return string(b)
}

// values returns the response of Graph for a user in the groups.
func (d *directory) values(from, to int) string {
	b, _ := json.Marshal(map[string][]string{"value": groups(from, to)})
	return string(b)
}

// The groups in a token decide without a request.
func TestGroupsOfTheToken(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	token := func(claims object) *verify.Token {
		tok, err := v.Verify(t.Context(), sign(0, headerOf(0), claims))
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	user := token(userV2().with("groups", groups(1, 3)))
	overage := token(userV2().with("_claim_names", object{"groups": "src1"}))
	for _, test := range []struct {
		name   string
		rule   verify.Rule
		token  *verify.Token
		reason verify.Reason
		status int
	}{
		{"in the group", verify.Group(group(2)), user, "", 0},
		{"in one of the groups", verify.Group(group(9), group(3)), user, "", 0},
		{"in upper case", verify.Group("ABCDEF00-0000-4000-8000-000000000001"),
			token(userV2().with("groups", []string{"abcdef00-0000-4000-8000-000000000001"})), "", 0},
		{"in another group", verify.Group(group(4)), user, verify.ReasonMissingGroup, 403},
		{"without groups", verify.Group(group(1)), token(userV2()), verify.ReasonMissingGroup, 403},
		{"app", verify.Group(group(1)), token(appV2().with("groups", groups(1, 3))), verify.ReasonMissingGroup, 403},
		{"overage", verify.Group(group(1)), overage, verify.ReasonGroupsOverage, 403},
		{"not verified", verify.Group(group(1)), nil, verify.ReasonNotVerified, 500},
	} {
		err := test.rule(test.token)
		if test.reason == "" {
			if err != nil {
				t.Errorf("%s: got %v, want nil", test.name, err)
			}
			continue
		}
		if e, ok := errors.AsType[*verify.Error](err); !ok || e.Reason != test.reason || e.HTTPStatus() != test.status ||
			e.Temporary() {
			t.Errorf("%s: got %v, want %s and status %d", test.name, err, test.reason, test.status)
		}
	}
	w := request(v.Middleware(verify.RequireGroup(group(4))(welcome)), "Bearer "+user.Raw())
	if w.Code != 403 || strings.Contains(w.Body.String(), group(4)) || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got %d %q %v, want 403 without the group", w.Code, w.Body, w.Header())
	}
	for name, ids := range map[string][]string{"no group": nil, "a name": {"Finance"}, "empty": {""}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: Group did not panic", name)
				}
			}()
			verify.Group(ids...)
		}()
	}
}

// A user in too many groups for a token is looked up with a token of the API for the user's tenant. The address in the
// user's token is not used.
func TestGroupsAreLookedUp(t *testing.T) {
	d := newDirectory(t)
	v := mustNew(t, d.cfg)
	tokens := map[string]*verify.Token{
		"201 groups": d.token(t.Context(), t, v, alice),
		"hasgroups": d.token(t.Context(), t, v, alice,
			"_claim_names", "null", "_claim_sources", "null", "hasgroups", "true"),
		"attack": d.token(t.Context(), t, v, alice, "_claim_sources",
			`{"src1":{"endpoint":"https://attacker.example/users/me/getMemberObjects"}}`),
	}
	n := 100
	for name, tok := range tokens {
		n++ // so that no result is cached
		if err := verify.Group(group(900), group(n))(tok); err != nil {
			t.Errorf("%s: got %v, want nil", name, err)
		}
		want := graphURL + " " + contoso + " " + d.body(group(n), group(900))
		if got := d.take(); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got requests %q, want %q", name, got, want)
		}
	}
	err := verify.Group(group(900))(tokens["201 groups"])
	e, _ := errors.AsType[*verify.Error](err)
	if e == nil || e.Reason != verify.ReasonMissingGroup || !slices.Equal(e.Required, []string{group(900)}) {
		t.Errorf("in another group: got %v", err)
	}
	d.take()
	if err := verify.Group(group(1))(d.token(t.Context(), t, v, carol)); err != nil {
		t.Errorf("another tenant: got %v, want nil", err)
	}
	want := strings.Replace(graphURL, "aaaaaaaa-1111-4000-8000-00000000a11c", "bbbbbbbb-2222-4000-8000-00000000ca01", 1) +
		" " + fabrikam + " " + d.body(group(1))
	if got := d.take(); len(got) != 1 || got[0] != want {
		t.Errorf("another tenant: got requests %q, want %q", got, want)
	}
	for _, tok := range d.tokens {
		if c := testkit.Claims(t, tok); c["aud"] != "https://graph.microsoft.com" || c["idtyp"] != "app" {
			t.Errorf("got a token for %v of type %v, want the API's own for Graph", c["aud"], c["idtyp"])
		}
	}
}

// Graph accepts 20 groups in a request. A hit ends the lookup.
func TestManyGroupsAreLookedUpInParts(t *testing.T) {
	d := newDirectory(t)
	v := mustNew(t, d.cfg)
	tok := d.token(t.Context(), t, v, alice)
	for _, test := range []struct {
		ids  []string
		want []int // groups in each request
		ok   bool
	}{
		{groups(300, 319), []int{20}, false},
		{groups(300, 344), []int{20, 20, 5}, false},
		{groups(200, 244), []int{20}, true},
		{append(groups(300, 324), group(201)), []int{20}, true}, // sorted
	} {
		err := verify.Group(test.ids...)(tok)
		var got []int
		for _, r := range d.take() {
			got = append(got, strings.Count(r, "0000-4000-8000"))
		}
		if (err == nil) != test.ok || !slices.Equal(got, test.want) {
			t.Errorf("%d groups: got %v after requests with %v, want %v", len(test.ids), err, got, test.want)
		}
	}
}

// All callers with the same question share one request and its result for five minutes. Then a user who left the group
// is rejected.
func TestLookupsAreCachedForFiveMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		d.cfg.CacheSize = -1
		v := mustNew(t, d.cfg)
		rule := verify.Group(group(1), group(2))
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return testkit.Response(r, 200, "application/json", `{"value":["`+group(2)+`"]}`), nil
		})
		call := func() error { return rule(d.token(t.Context(), t, v, alice)) }
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				if err := call(); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, 200, "application/json", `{"value":[]}`), nil
		})
		time.Sleep(5*time.Minute - time.Millisecond)
		if err := call(); err != nil {
			t.Errorf("before five minutes: got %v, want nil", err)
		}
		if n := len(d.take()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
		time.Sleep(time.Millisecond)
		if got := reason(t, call()); got != verify.ReasonMissingGroup {
			t.Errorf("after five minutes: got %q, want %q", got, verify.ReasonMissingGroup)
		}
	})
}

// A failed lookup never admits the caller, and its error is not cached for long.
func TestFailedLookupsReject(t *testing.T) {
	respond := func(status int, body string, header ...string) func(*http.Request) (*http.Response, error) {
		return func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, status, "application/json", body, header...), nil
		}
	}
	member := `{"value":["` + group(1) + `"]}`
	for _, test := range []struct {
		name      string
		respond   func(*http.Request) (*http.Response, error)
		requests  int
		status    int // Error.StatusCode
		temporary bool
		text      string
	}{
		{"500", respond(500, member), 3, 500, true, "graph.microsoft.com responded with HTTP status 500"},
		{"429", respond(429, "", "Retry-After", "30"), 1, 429, true, "HTTP status 429"},
		{"403", respond(403, member), 1, 403, false, "HTTP status 403; grant the app the permissions"},
		{"404", respond(404, member), 1, 404, false, "the user does not exist; Config.GraphTokens must return"},
		{"401", respond(401, member), 1, 401, false, "HTTP status 401"},
		{"redirect", respond(307, "", "Location", "https://attacker.example"), 1, 307, false, "HTTP status 307"},
		{"other success", respond(204, ""), 1, 204, false, "HTTP status 204"},
		{"not JSON", respond(200, "<html>"), 1, 0, true, "unusable"},
		{"no value", respond(200, `{"value":null}`), 1, 0, true, "unusable"},
		{"too large", respond(200, member[:len(member)-1]+strings.Repeat(" ", 64<<10)+"}"), 1, 0, true, "unusable"},
		{"broken connection", func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, 3, 0, true,
			"request to graph.microsoft.com failed"},
		{"no response", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() },
			1, 0, true, "graph.microsoft.com"},
		{"panic", func(*http.Request) (*http.Response, error) { panic("secret") }, 1, 0, true, "panicked"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(t)
				var log testkit.Log
				d.cfg.Logger = log.Logger()
				v := mustNew(t, d.cfg)
				d.respondWith(test.respond)
				tok := d.token(t.Context(), t, v, alice)
				for range 2 { // the second time, the error is cached
					err := verify.Group(group(1))(tok)
					e, _ := errors.AsType[*verify.Error](err)
					if e == nil || e.Reason != verify.ReasonGroupsUnavailable || e.StatusCode != test.status ||
						e.Temporary() != test.temporary || !strings.Contains(e.Error(), test.text) || e.HTTPStatus() != 503 {
						t.Errorf("got %#v, %v", e, err)
					}
				}
				if n := len(d.take()); n != test.requests {
					t.Errorf("got %d requests, want %d", n, test.requests)
				}
				synctest.Wait()
				if lines := log.Lines(t); len(lines) != 1 || lines[0]["msg"] != "verify: failed to look up groups" {
					t.Errorf("got log %v, want one record", lines)
				}
				d.respondWith(nil)
				w := request(v.Middleware(verify.RequireGroup(group(1))(welcome)), "Bearer "+tok.Raw())
				if w.Code != 503 || w.Header().Get("Retry-After") != "1" {
					t.Errorf("got %d %v, want 503 with Retry-After", w.Code, w.Header())
				}
				time.Sleep(time.Minute)
				if err := verify.Group(group(1))(tok); err != nil {
					t.Errorf("a minute later: got %v, want nil", err)
				}
			})
		})
	}
}

// Retry-After applies to all users of the tenant, and to no other tenant.
func TestLookupsPauseAfterRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		v := mustNew(t, d.cfg)
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, 429, "application/json", "", "Retry-After", "30"), nil
		})
		own, other := d.token(t.Context(), t, v, alice), d.token(t.Context(), t, v, carol)
		call := func(tok *verify.Token, n int) (verify.Reason, int) {
			var r verify.Reason
			if err := verify.Group(group(n))(tok); err != nil {
				r = reason(t, err)
			}
			return r, len(d.take())
		}
		for _, step := range []struct {
			name     string
			token    *verify.Token
			group    int
			reason   verify.Reason
			requests int
			wait     time.Duration
		}{
			{"first", own, 1, verify.ReasonGroupsUnavailable, 1, 0},
			{"another group", own, 2, verify.ReasonGroupsUnavailable, 0, 0},
			{"another tenant", other, 1, "", 1, 30*time.Second - time.Millisecond},
			{"just before", own, 3, verify.ReasonGroupsUnavailable, 0, time.Millisecond},
			{"afterwards", own, 3, "", 1, 0},
		} {
			if r, n := call(step.token, step.group); r != step.reason || n != step.requests {
				t.Errorf("%s: got %q after %d requests, want %q after %d", step.name, r, n, step.reason, step.requests)
			}
			d.respondWith(nil)
			time.Sleep(step.wait)
		}
	})
}

// A token that Graph no longer accepts is replaced. If the token is not new, no user is rejected.
func TestGroupLookupsReplaceRevokedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		v := mustNew(t, d.cfg)
		revoke := func() { // the token of the next request
			var revoked string
			d.respondWith(func(r *http.Request) (*http.Response, error) {
				bearer := r.Header.Get("Authorization")
				if revoked = cmp.Or(revoked, bearer); bearer == revoked {
					return testkit.Response(r, 401, "application/json", `{"error":{"code":"InvalidAuthenticationToken"}}`), nil
				}
				return testkit.Response(r, 200, "application/json", `{"value":["`+group(1)+`"]}`), nil
			})
		}
		revoke()
		start := time.Now()
		err := verify.Group(group(1))(d.token(t.Context(), t, v, alice))
		for err != nil && time.Since(start) < 2*time.Hour {
			time.Sleep(30 * time.Second)
			err = verify.Group(group(1))(d.token(t.Context(), t, v, alice))
		}
		if took := time.Since(start); err != nil || took > 5*time.Minute {
			t.Errorf("new token: got %v after %s, want nil within five minutes", err, took)
		}
		time.Sleep(10 * time.Minute)
		revoke()
		if err := verify.Group(group(1))(d.token(t.Context(), t, v, alice)); err != nil {
			t.Errorf("token of ten minutes: got %v, want nil", err)
		}
	})
}

// All lookups that are in flight with a revoked token use the next one.
func TestConcurrentGroupLookupsReplaceRevokedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		v := mustNew(t, d.cfg)
		if err := verify.Group(group(1))(d.token(t.Context(), t, v, alice)); err != nil {
			t.Fatal(err)
		}
		revoked := "Bearer " + d.tokens[0]
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
			if r.Header.Get("Authorization") == revoked {
				return testkit.Response(r, 401, "application/json", ""), nil
			}
			return testkit.Response(r, 200, "application/json", d.values(1, 10)), nil
		})
		time.Sleep(10 * time.Minute)
		tok := d.token(t.Context(), t, v, alice)
		var wg sync.WaitGroup
		for n := range 10 {
			wg.Go(func() {
				if err := verify.Group(group(1 + n))(tok); err != nil {
					t.Errorf("group %d: got %v, want nil", 1+n, err)
				}
			})
		}
		wg.Wait()
		if n := len(d.entra.Posts()); n != 2 {
			t.Errorf("got %d token requests, want 2", n)
		}
	})
}

// A Graph that rejects every token does not cause a token request for every lookup.
func TestGroupLookupsRarelyReplaceRejectedTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		v := mustNew(t, d.cfg)
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, 401, "application/json", ""), nil
		})
		tok := d.token(t.Context(), t, v, alice)
		for start := time.Now(); time.Since(start) < time.Hour; time.Sleep(2 * time.Second) {
			if got := reason(t, verify.Group(group(1))(tok)); got != verify.ReasonGroupsUnavailable {
				t.Fatalf("got %q, want %q", got, verify.ReasonGroupsUnavailable)
			}
		}
		if n := len(d.entra.Posts()); n < 2 || n > 15 { // one every four minutes
			t.Errorf("got %d token requests in an hour, want 2 to 15", n)
		}
	})
}

// Lookups of a tenant whose Graph does not respond do not affect another tenant, even if they never return.
func TestGroupLookupsOfTenantsAreIndependent(t *testing.T) {
	for _, test := range []struct {
		name    string
		forever bool // Graph ignores the context of the lookup
	}{{"time-out", false}, {"never returns", true}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDirectory(t)
				v := mustNew(t, d.cfg)
				recovered := make(chan struct{})
				var inFlight, most atomic.Int64
				d.respondWith(func(r *http.Request) (*http.Response, error) {
					if strings.HasPrefix(r.URL.String(), graphURL) { // of Alice
						if n := inFlight.Add(1); n > most.Load() {
							most.Store(n)
						}
						defer inFlight.Add(-1)
						ended := r.Context().Done()
						if test.forever {
							ended = nil
						}
						select {
						case <-recovered:
						case <-ended:
							return nil, r.Context().Err()
						}
					}
					return testkit.Response(r, 200, "application/json", d.values(1, 20)), nil
				})
				own, other := d.token(t.Context(), t, v, alice), d.token(t.Context(), t, v, carol)
				admitted := func(name string, tok *verify.Token, n int) {
					t.Helper()
					start := time.Now()
					if err := verify.Group(group(n))(tok); err != nil || time.Since(start) > 0 {
						t.Errorf("%s: got %v after %s, want nil at once", name, err, time.Since(start))
					}
				}
				for round := range 5 {
					var wg sync.WaitGroup
					for n := range 300 { // 300 questions, as of 300 users
						wg.Go(func() {
							if got := reason(t, verify.Group(group(1000+300*round+n))(own)); got != verify.ReasonGroupsUnavailable {
								t.Errorf("got %q, want %q", got, verify.ReasonGroupsUnavailable)
							}
						})
					}
					synctest.Wait()
					admitted("other tenant", other, 1+round)
					wg.Wait()
					start := time.Now()
					if err := verify.Group(group(1))(own); err == nil || time.Since(start) > 0 {
						t.Errorf("after a time-out: got %v after %s, want an error at once", err, time.Since(start))
					}
					admitted("other tenant, after a time-out", other, 11+round)
					time.Sleep(time.Second)
				}
				if n := most.Load(); n > 64 {
					t.Errorf("got %d requests of a tenant in flight, want at most 64", n)
				}
				close(recovered)
				synctest.Wait()
				admitted("tenant that recovered", own, 1)
			})
		})
	}
}

// A caller stops waiting when the context of Verify ends. The lookup continues for others.
func TestLookupRespectsTheContextOfVerify(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDirectory(t)
		v := mustNew(t, d.cfg)
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			time.Sleep(5 * time.Second)
			return testkit.Response(r, 200, "application/json", `{"value":["`+group(1)+`"]}`), nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		raw := d.token(t.Context(), t, v, alice).Raw()
		tok, err := v.Verify(ctx, raw) // the claims are cached, but not the context
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		err = verify.Group(group(1))(tok)
		if e, _ := errors.AsType[*verify.Error](err); e == nil || e.Reason != verify.ReasonGroupsUnavailable ||
			!errors.Is(err, context.DeadlineExceeded) || !e.Temporary() || time.Since(start) != time.Second {
			t.Errorf("got %v after %v, want the error of the context after a second", err, time.Since(start))
		}
		err = verify.Group(group(1))(d.token(t.Context(), t, v, alice))
		if err != nil || time.Since(start) != 5*time.Second {
			t.Errorf("got %v after %v, want nil after five seconds", err, time.Since(start))
		}
		if n := len(d.take()); n != 1 {
			t.Errorf("got %d requests, want 1", n)
		}
	})
}

// Failures of Config.GraphTokens reject the caller.
func TestLookupWithoutToken(t *testing.T) {
	rejected := func(entraServer *entratest.Server) *entra.TokenSource {
		cfg := testkit.ClientConfig(entraServer, "api-b", entraServer.Client().Transport)
		cfg.Credential = entra.Secret("wrong")
		return clientcreds.TokenSource(testkit.Client(t, cfg), "https://graph.microsoft.com/.default")
	}
	d := newDirectory(t)
	for _, test := range []struct {
		name      string
		tokens    func(string) (*entra.TokenSource, error)
		temporary bool
		text      string
	}{
		{"error", func(string) (*entra.TokenSource, error) { return nil, errors.New("no client") }, true,
			"Config.GraphTokens: no client"},
		{"nil", func(string) (*entra.TokenSource, error) { return nil, nil }, true, "the TokenSource is nil"},
		{"panic", func(string) (*entra.TokenSource, error) { panic("hunter2") }, true, "panicked"},
		{"rejected credential", func(string) (*entra.TokenSource, error) { return rejected(d.Server), nil }, false,
			"AADSTS7000215"},
	} {
		d.cfg.GraphTokens = test.tokens
		v := mustNew(t, d.cfg)
		err := verify.Group(group(1))(d.token(t.Context(), t, v, alice))
		e, _ := errors.AsType[*verify.Error](err)
		if e == nil || e.Reason != verify.ReasonGroupsUnavailable || e.Temporary() != test.temporary ||
			!strings.Contains(err.Error(), test.text) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v", test.name, err)
		}
		if n := len(d.take()); n != 0 {
			t.Errorf("%s: got %d requests to Graph, want none", test.name, n)
		}
	}
}

// Tokens are sent to Graph of the configured cloud.
func TestGraphHost(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	tokens := func(string) (*entra.TokenSource, error) { return nil, nil }
	for _, test := range []struct {
		name   string
		change func(*verify.Config)
		want   string
	}{
		{"public", func(*verify.Config) {}, ""},
		{"US government", func(c *verify.Config) { c.Cloud = entra.CloudUSGovernment }, ""},
		{"China", func(c *verify.Config) { c.Cloud = entra.CloudChina }, ""},
		{"External ID", func(c *verify.Config) {
			c.Cloud, c.Tenants = "contoso.ciamlogin.com", []string{contoso}
		}, ""},
		{"private", func(c *verify.Config) { c.Cloud = "login.example" },
			"verify: Config.GraphHost is empty; set it to the host of Microsoft Graph in this cloud"},
		{"private with a host", func(c *verify.Config) { c.Cloud, c.GraphHost = "login.example", "graph.example:8443" }, ""},
		{"private without GraphTokens", func(c *verify.Config) { c.Cloud, c.GraphTokens = "login.example", nil }, ""},
		{"a URL", func(c *verify.Config) { c.GraphHost = "https://graph.microsoft.us" },
			"verify: Config.GraphHost is not a host, such as graph.microsoft.com"},
		{"a path", func(c *verify.Config) { c.GraphHost = "graph.microsoft.us/x" },
			"verify: Config.GraphHost is not a host, such as graph.microsoft.com"},
		{"a user", func(c *verify.Config) { c.GraphHost = "graph.microsoft.us@attacker.example" },
			"verify: Config.GraphHost is not a host, such as graph.microsoft.com"},
	} {
		cfg := sampleConfig(s)
		cfg.GraphTokens = tokens
		test.change(&cfg)
		var got string
		if _, err := verify.New(cfg); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: got error %q, want %q", test.name, got, test.want)
		}
	}
	for _, test := range []struct {
		cloud            entra.Cloud
		configured, want string
	}{
		{entra.CloudPublic, "", "graph.microsoft.com"},
		{entra.CloudUSGovernment, "", "graph.microsoft.us"},
		{entra.CloudUSGovernment, "dod-graph.microsoft.us", "dod-graph.microsoft.us"},
		{entra.CloudChina, "", "microsoftgraph.chinacloudapi.cn"},
	} {
		d := newDirectory(t)
		d.cfg.Cloud, d.cfg.GraphHost = test.cloud, test.configured
		d.respondWith(func(r *http.Request) (*http.Response, error) {
			return testkit.Response(r, 200, "application/json", `{"value":["`+group(1)+`"]}`), nil
		})
		raw := d.Mint(entratest.MintOptions{Host: test.cloud.Host(), Resource: "api-b", User: alice})
		tok, err := mustNew(t, d.cfg).Verify(t.Context(), raw)
		if err != nil {
			t.Fatal(err)
		}
		if err := verify.Group(group(1))(tok); err != nil {
			t.Errorf("%s: got %v, want nil", test.cloud, err)
		}
		want := strings.Replace(graphURL, "graph.microsoft.com", test.want, 1)
		if got := d.take(); len(got) != 1 || !strings.HasPrefix(got[0], want+" ") {
			t.Errorf("%s: got requests %q, want one to %s", test.cloud, got, want)
		}
	}
}
