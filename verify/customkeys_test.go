package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
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
