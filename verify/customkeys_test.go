package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// customKeys returns a fake Entra whose api-b has a custom signing key in each tenant.
func customKeys() *entratest.Server {
	cfg := entratest.Sample()
	for i := range cfg.Apps {
		cfg.Apps[i].CustomSigningKey = cfg.Apps[i].Name == "api-b"
	}
	return entratest.NewServer(cfg)
}

// keyRequests returns the addresses of the requests for keys.
func keyRequests(s *entratest.Server) (paths []string) {
	for _, r := range s.Requests() {
		if r.Endpoint == entratest.EndpointKeys {
			paths = append(paths, r.Tenant+"?"+r.Form.Encode())
		}
	}
	return paths
}

// Only keys?appid= has the keys of an application with a custom signing key, and each tenant has
// its own (Widen/cloudfront-auth#85, VirtoCommerce/vc-platform#2142).
func TestCustomSigningKeysAreFetchedPerTenant(t *testing.T) {
	api := customKeys().App("api-b").ClientID
	in := func(tenant string) entratest.MintOptions {
		return entratest.MintOptions{Resource: "api-b", Client: "daemon", Tenant: tenant}
	}
	for _, test := range []struct {
		name     string
		tenants  []string
		keysFor  string
		contoso  verify.Reason
		fabrikam verify.Reason
		requests []string
	}{
		{"one tenant", []string{contoso}, api, "", verify.ReasonUnknownKey,
			[]string{contoso + "?appid=" + api, contoso + "?appid=" + api}},
		{"two tenants", []string{contoso, fabrikam}, api, "", "",
			[]string{contoso + "?appid=" + api, fabrikam + "?appid=" + api}},
		{"any tenant", []string{verify.AnyTenant}, api, "", "",
			[]string{contoso + "?appid=" + api, fabrikam + "?appid=" + api}},
		{"any organization", []string{verify.AnyOrganization}, api, "", "",
			[]string{contoso + "?appid=" + api, fabrikam + "?appid=" + api}},
		{"without KeysFor", []string{contoso, fabrikam}, "", verify.ReasonUnknownKey, verify.ReasonUnknownKey,
			[]string{"common?", "common?"}},
		{"for another app", []string{contoso, fabrikam}, apiID, verify.ReasonUnknownKey, verify.ReasonUnknownKey,
			[]string{contoso + "?appid=" + apiID, fabrikam + "?appid=" + apiID,
				contoso + "?appid=" + apiID, fabrikam + "?appid=" + apiID}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := customKeys()
			cfg := sampleConfig(s)
			cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{api}, test.tenants, test.keysFor
			v := mustNew(t, cfg)
			for range 2 { // the second time from the cache
				_, err := v.Verify(t.Context(), s.Mint(in(contoso)))
				if got := reason(t, err); got != test.contoso {
					t.Errorf("Contoso: got %q (%v), want %q", got, err, test.contoso)
				}
				_, err = v.Verify(t.Context(), s.Mint(in(fabrikam)))
				if got := reason(t, err); got != test.fabrikam {
					t.Errorf("Fabrikam: got %q (%v), want %q", got, err, test.fabrikam)
				}
			}
			if got := keyRequests(s); !slices.Equal(got, test.requests) {
				t.Errorf("got requests %q, want %q", got, test.requests)
			}
		})
	}
	hint := (&verify.Error{Reason: verify.ReasonUnknownKey}).Error()
	if !strings.Contains(hint, "custom signing key") || !strings.Contains(hint, "Config.KeysFor") {
		t.Errorf("got %q, want the setting for a custom signing key", hint)
	}
}

// perTenant serves keys by the tenant in the address.
func (a *authority) perTenant(keys map[string][]object) {
	a.do(func(r *http.Request) (*http.Response, error) {
		tenant, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		status, body := http.StatusBadRequest, `{"error":"invalid_tenant"}`
		if set, ok := keys[tenant]; ok {
			status, body = http.StatusOK, object{"keys": set}.text()
		}
		return &http.Response{StatusCode: status, Header: http.Header{},
			Body: io.NopCloser(bytes.NewReader([]byte(body)))}, nil
	})
}

// The administrators of a tenant choose its custom signing key. It must not sign for another tenant,
// even if the key document does not name an issuer.
func TestCustomSigningKeySignsForItsTenantOnly(t *testing.T) {
	inB := func(key int) string {
		claims := userV2().with("tid", tenantB).with("iss", "https://"+host+"/"+tenantB+"/v2.0")
		return sign(key, headerOf(key), claims)
	}
	inA := func(key int) string { return sign(key, headerOf(key), userV2()) }
	for _, tenants := range [][]string{{tenantA, tenantB}, {verify.AnyTenant}} {
		a := newAuthority()
		a.perTenant(map[string][]object{
			tenantA: {jwk(0).without("issuer")}, tenantB: {jwk(1).without("issuer")}, "common": {jwk(2)},
		})
		cfg := a.config()
		cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, tenants, apiID
		v := mustNew(t, cfg)
		accept(t, v, inA(0))
		accept(t, v, inB(1))
		for name, raw := range map[string]string{
			"B's key for A": inA(1), "A's key for B": inB(0), "the shared key for A": inA(2),
		} {
			if _, err := v.Verify(t.Context(), raw); reason(t, err) != verify.ReasonUnknownKey {
				t.Errorf("%s: got %v, want %s", name, err, verify.ReasonUnknownKey)
			}
		}
	}
	// A tenant that is not allowed is named as such if the authority signed its token.
	a := newAuthority()
	a.perTenant(map[string][]object{"common": {jwk(2)}})
	cfg := a.config()
	cfg.Tenants, cfg.KeysFor = []string{tenantA, otherID}, apiID
	if _, err := mustNew(t, cfg).Verify(t.Context(), inB(2)); reason(t, err) != verify.ReasonTenantNotAllowed {
		t.Errorf("got %v, want %s", err, verify.ReasonTenantNotAllowed)
	}
}

// A cached token is rejected when its tenant withdraws the key, and the other tenant is not affected.
func TestWithdrawnCustomSigningKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.perTenant(map[string][]object{tenantA: {jwk(0)}, tenantB: {jwk(1)}})
		cfg := a.config()
		cfg.Tenants, cfg.KeysFor = []string{tenantA, tenantB}, apiID
		v := mustNew(t, cfg)
		inA := longLived(0)
		inB := sign(1, headerOf(1), userV2().with("tid", tenantB).with("iss", "https://"+host+"/"+tenantB+"/v2.0").
			with("exp", time.Now().Unix()+28*3600))
		accept(t, v, inA)
		accept(t, v, inB)
		a.perTenant(map[string][]object{tenantA: {jwk(2)}, tenantB: {jwk(1)}})
		advance(time.Hour)
		accept(t, v, inA) // starts the refresh
		accept(t, v, inB)
		synctest.Wait()
		if _, err := v.Verify(t.Context(), inA); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("got %v, want %s", err, verify.ReasonUnknownKey)
		}
		accept(t, v, inB)
	})
}

// Anyone can make tokens that name any tenant. They cause a bounded number of fetches, and the
// tokens of tenants that were verified before are accepted in the meantime, however long it lasts.
func TestMadeUpTenantsCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.perTenant(map[string][]object{tenantA: {jwk(0)}})
		cfg := a.config()
		cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, []string{verify.AnyTenant}, apiID
		v := mustNew(t, cfg)
		good := longLived(0)
		accept(t, v, good)
		template := strings.Split(good, ".")
		flood := func(from, n int) {
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() {
					tid := fmt.Sprintf("00000000-0000-4000-8000-%012x", from+i)
					claims := userV2().with("tid", tid).with("iss", "https://"+host+"/"+tid+"/v2.0")
					_, err := v.Verify(t.Context(), template[0]+"."+part(claims.text())+"."+template[2])
					if !errors.Is(err, &verify.Error{Reason: verify.ReasonKeysUnavailable}) {
						t.Errorf("got %v, want %s", err, verify.ReasonKeysUnavailable)
					}
				})
			}
			wg.Wait()
		}
		flood(0, 500)
		if got := a.fetches.Load(); got != 100 { // with that of tenant A
			t.Errorf("got %d fetches for 500 tenants, want 100", got)
		}
		accept(t, v, good)
		advance(time.Second)
		flood(500, 500)
		if got := a.fetches.Load(); got != 110 {
			t.Errorf("got %d fetches a second later, want 110", got)
		}
		accept(t, v, good)
		for from := range 110 { // fetches for more tenants than are cached
			advance(time.Second)
			flood(1000+20*from, 20)
		}
		before := a.fetches.Load()
		accept(t, v, sign(0, headerOf(0), userV2().with("uti", "another token")))
		if got := a.fetches.Load(); got != before {
			t.Errorf("got %d fetches for a tenant in use, want 0", got-before)
		}
	})
}

// tenantNumber returns the ID of a tenant.
func tenantNumber(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", i) }

// ofTenant returns the claims of a token of a tenant.
func ofTenant(id string) object {
	return userV2().with("tid", id).with("iss", "https://"+host+"/"+id+"/v2.0")
}

// forgedToken returns a token without a valid signature.
func forgedToken(tenant, kid string) string {
	return part(headerOf(0).with("kid", kid).text()) + "." + part(ofTenant(tenant).text()) + "." + part("signature")
}

// verifierWithKeysOf returns a Verifier that fetches the keys of each tenant. It also returns a function that
// verifies tokens concurrently and counts the reasons.
func verifierWithKeysOf(t *testing.T, a *authority, tenants ...string) (
	*verify.Verifier, func(...string) map[verify.Reason]int,
) {
	cfg := a.config()
	cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, tenants, apiID
	v := mustNew(t, cfg)
	return v, func(tokens ...string) map[verify.Reason]int {
		var mu sync.Mutex
		var wg sync.WaitGroup
		reasons := map[verify.Reason]int{}
		for _, raw := range tokens {
			wg.Go(func() {
				_, err := v.Verify(t.Context(), raw)
				mu.Lock()
				defer mu.Unlock()
				reasons[reason(t, err)]++
			})
		}
		wg.Wait()
		return reasons
	}
}

// Tenant IDs are public, so anyone can name a thousand tenants that have keys. Made-up key IDs for them
// cause no more fetches than made-up tenants do.
func TestUnknownKeysOfNewTenantsCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v, verifyAll := verifierWithKeysOf(t, a, verify.AnyTenant)
		flood := make([]string, 1000)
		for i := range flood {
			tenant := tenantNumber(i)
			if _, err := v.Verify(t.Context(), forgedToken(tenant, kid(0))); reason(t, err) != verify.ReasonBadSignature {
				t.Fatalf("got %v, want %s", err, verify.ReasonBadSignature)
			}
			advance(100 * time.Millisecond)
			flood[i] = forgedToken(tenant, "made-up")
		}
		if got := a.fetches.Load(); got != 1000 {
			t.Fatalf("got %d fetches for 1,000 tenants, want 1000", got)
		}
		want := int64(1000 + 100)
		for second := range 30 {
			got := verifyAll(flood...)
			if second == 0 && (got[verify.ReasonUnknownKey] != 100 || got[verify.ReasonKeysUnavailable] != 900) {
				t.Errorf("got %v, want 100 unknown keys and 900 without a fetch", got)
			}
			if got := a.fetches.Load(); got != want {
				t.Fatalf("got %d fetches after %d seconds, want %d", got, second, want)
			}
			advance(time.Second)
			want += 10
		}
	})
}

// The fetches for tenants that do not exist fail. Tokens that name the same tenants again are also bounded.
func TestRepeatedMadeUpTenantsCauseFewFetches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority()
		a.perTenant(nil)
		v, verifyAll := verifierWithKeysOf(t, a, verify.AnyTenant)
		flood := make([]string, 100)
		for i := range flood {
			flood[i] = forgedToken(tenantNumber(i), kid(0))
		}
		for second := range 11 {
			if second == 1 { // the limit allows ten retries; the other tokens do not get the response of the second before
				count := map[string]int{}
				for _, raw := range flood {
					_, err := v.Verify(t.Context(), raw)
					count[err.Error()]++
				}
				const prefix = "verify: failed to fetch the signing keys of the authority: "
				if failed, waiting := count[prefix+host+" responded with HTTP status 400"],
					count[prefix+"tokens of too many new tenants arrive at once"]; failed != 10 || waiting != 90 {
					t.Errorf("got %v, want 10 failed fetches and 90 tokens that wait", count)
				}
			}
			if got := verifyAll(flood...); got[verify.ReasonKeysUnavailable] != 100 {
				t.Errorf("got %v, want 100 %s", got, verify.ReasonKeysUnavailable)
			}
			if got, want := a.fetches.Load(), int64(100+10*second); got != want {
				t.Fatalf("got %d fetches after %d seconds, want %d", got, second, want)
			}
			advance(time.Second)
		}
	})
}

// Anyone can also name a thousand tenants whose keys are due for a refresh. Until a refresh is allowed, the
// current keys remain in use.
func TestRefreshesForNewTenantsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		_, verifyAll := verifierWithKeysOf(t, a, verify.AnyTenant)
		flood := make([]string, 200)
		for i := range flood {
			flood[i] = forgedToken(tenantNumber(i), kid(0))
			verifyAll(flood[i])
			advance(100 * time.Millisecond)
		}
		advance(time.Hour)
		for _, want := range []int64{300, 310, 320} {
			if got := verifyAll(flood...); got[verify.ReasonBadSignature] != 200 {
				t.Errorf("got %v, want 200 %s", got, verify.ReasonBadSignature)
			}
			synctest.Wait()
			if got := a.fetches.Load(); got != want {
				t.Errorf("got %d fetches, want %d", got, want)
			}
			advance(time.Second)
		}
	})
}

// While made-up key IDs use all fetches for new tenants, a tenant in use notices its new key in ten seconds,
// and the token of another tenant is accepted as soon as one fetch is allowed again.
func TestRealTenantsDuringAFloodOfUnknownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v, verifyAll := verifierWithKeysOf(t, a, verify.AnyTenant)
		// An attacker has named tenant A before its first token.
		if got := verifyAll(forgedToken(tenantA, kid(0))); got[verify.ReasonBadSignature] != 1 {
			t.Fatalf("got %v, want %s", got, verify.ReasonBadSignature)
		}
		accept(t, v, longLived(0))
		var flood []string
		for i := range 200 {
			flood = append(flood, forgedToken(tenantNumber(i), "made-up"))
		}
		verifyAll(flood...)
		before := a.fetches.Load()
		if got := verifyAll(forgedToken(tenantA, "made-up")); got[verify.ReasonUnknownKey] != 1 {
			t.Errorf("tenant A: got %v, want %s", got, verify.ReasonUnknownKey)
		}
		if got := a.fetches.Load() - before; got != 1 {
			t.Errorf("got %d fetches for an unknown key of tenant A, want 1", got)
		}
		a.publish(jwk(0), jwk(1))
		newKey := sign(1, headerOf(1), userV2())
		for second := range 10 {
			if got := verifyAll(newKey); got[verify.ReasonUnknownKey] != 1 {
				t.Errorf("after %d seconds: got %v, want %s", second, got, verify.ReasonUnknownKey)
			}
			advance(time.Second)
			verifyAll(flood...)
		}
		accept(t, v, newKey)

		inB := sign(0, headerOf(0), ofTenant(tenantB))
		if got := verifyAll(inB); got[verify.ReasonKeysUnavailable] != 1 {
			t.Errorf("tenant B: got %v, want %s", got, verify.ReasonKeysUnavailable)
		}
		advance(100 * time.Millisecond)
		accept(t, v, inB)
		verifyAll(flood...)
		accept(t, v, sign(0, headerOf(0), ofTenant(tenantB).with("uti", "another token")))

		// Forged tokens arrive between those of another tenant, 20 per second. A fetch is allowed at multiples
		// of 100 ms, and the first token after that gets it.
		inC := sign(0, headerOf(0), ofTenant(otherID))
		before = a.fetches.Load()
		var got []verify.Reason
		for ms := 0; ms <= 210; ms += 10 {
			if ms%50 == 30 {
				verifyAll(forgedToken(tenantNumber(1000+ms), kid(0)))
			}
			if ms%70 == 0 {
				_, err := v.Verify(t.Context(), inC)
				got = append(got, reason(t, err))
			}
			advance(10 * time.Millisecond)
		}
		if want := []verify.Reason{verify.ReasonKeysUnavailable, verify.ReasonKeysUnavailable,
			verify.ReasonKeysUnavailable, ""}; !slices.Equal(got, want) {
			t.Errorf("tenant C: got %q, want %q", got, want)
		}
		if got := a.fetches.Load() - before; got != 2 {
			t.Errorf("got %d fetches in 210 ms, want 2", got)
		}
	})
}

// A cached token keeps its tenant in use, whose next token is then accepted without a fetch.
func TestCachedTokensKeepTheKeysOfTheirTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		v, verifyAll := verifierWithKeysOf(t, a, verify.AnyTenant)
		cached, idle := longLived(0), sign(0, headerOf(0), ofTenant(tenantB))
		accept(t, v, cached)
		accept(t, v, idle)
		for i := range 999 { // they evict tenant B
			accept(t, v, cached)
			accept(t, v, sign(0, headerOf(0), ofTenant(tenantNumber(i))))
			advance(100 * time.Millisecond)
		}
		before := a.fetches.Load()
		accept(t, v, sign(0, headerOf(0), userV2().with("uti", "another token")))
		if got := a.fetches.Load() - before; got != 0 {
			t.Errorf("got %d fetches for a tenant in use, want 0", got)
		}
		if got := verifyAll(sign(0, headerOf(0), ofTenant(tenantB).with("uti", "another token"))); got[""] != 1 ||
			a.fetches.Load()-before != 1 {
			t.Errorf("got %v and %d fetches for an evicted tenant, want success and 1", got, a.fetches.Load()-before)
		}
	})
}

// Operators see why new tenants wait, at most once a minute.
func TestFloodsOfNewTenantsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		var out bytes.Buffer
		cfg := a.config()
		cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, []string{verify.AnyTenant}, apiID
		cfg.Logger = slog.New(slog.NewTextHandler(&out, nil))
		v := mustNew(t, cfg)
		number := 0
		flood := func(n int) {
			for range n {
				_, _ = v.Verify(t.Context(), forgedToken(tenantNumber(number), kid(0)))
				number++
			}
		}
		const warning = "level=WARN msg=\"verify: too many new tenants; some wait for their keys\""
		for _, step := range []struct {
			tokens int
			want   int // warnings so far
		}{{100, 0}, {100, 1}, {0, 1}} {
			flood(step.tokens)
			if got := strings.Count(out.String(), warning); got != step.want {
				t.Errorf("after %d tokens: got %d warnings, want %d:\n%s", number, got, step.want, &out)
			}
		}
		advance(time.Minute - time.Nanosecond)
		flood(200)
		if got := strings.Count(out.String(), warning); got != 1 {
			t.Errorf("within a minute: got %d warnings, want 1", got)
		}
		advance(time.Nanosecond)
		flood(1)
		if got := strings.Count(out.String(), warning); got != 2 || strings.Count(out.String(), "\n") != 2 {
			t.Errorf("after a minute: got %d warnings, want 2 and no other lines:\n%s", got, &out)
		}
	})
}

// An attacker cannot add to the tenants that the program lists. All of them may need their keys at once, as after a
// restart.
func TestListedTenantsAreFetchedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		var tenants, tokens, unknownKeys []string
		for i := range 200 {
			tenants = append(tenants, tenantNumber(i))
			tokens = append(tokens, forgedToken(tenants[i], kid(0)))
			unknownKeys = append(unknownKeys, forgedToken(tenants[i], "made-up"))
		}
		_, verifyAll := verifierWithKeysOf(t, a, tenants...)
		if got := verifyAll(tokens...); got[verify.ReasonBadSignature] != 200 || a.fetches.Load() != 200 {
			t.Errorf("got %v and %d fetches, want 200 %s and 200", got, a.fetches.Load(), verify.ReasonBadSignature)
		}
		for range 3 { // one fetch for unknown keys of each
			verifyAll(unknownKeys...)
			advance(3 * time.Second)
		}
		if got := a.fetches.Load(); got != 400 {
			t.Errorf("got %d fetches, want 400", got)
		}
	})
}
