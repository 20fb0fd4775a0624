package verify_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

func TestNewValidatesConfig(t *testing.T) {
	ok := verify.Config{Audiences: []string{apiID}, Tenants: []string{tenantA}}
	if _, err := verify.New(ok); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*verify.Config)) verify.Config { c := ok; f(&c); return c }
	for _, test := range []struct {
		cfg   verify.Config
		field string // the field in the error; empty if the Config is valid
	}{
		{verify.Config{}, "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = nil }), "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = []string{""} }), "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = []string{apiID + " "} }), "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = []string{apiID, "api://a/.default"} }),
			`Audiences has "api://a/.default", which is a scope; write "api://a" for v1.0 tokens, ` +
				"and the client ID for v2.0 tokens"},
		{change(func(c *verify.Config) { c.Audiences = []string{"api://a/default"} }), ""},
		{change(func(c *verify.Config) { c.Tenants = nil }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{""} }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{"common"} }), "AnyTenant"},
		{change(func(c *verify.Config) { c.Tenants = []string{"organizations"} }), "AnyOrganization"},
		{change(func(c *verify.Config) { c.Tenants = []string{"contoso.onmicrosoft.com"} }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{verify.AnyTenant, tenantA} }), "AnyTenant"},
		{change(func(c *verify.Config) { c.Tenants = []string{verify.AnyTenant} }), ""},
		{change(func(c *verify.Config) { c.Tenants = []string{strings.ToUpper(tenantA), tenantB} }), ""},
		{change(func(c *verify.Config) { c.Leeway = 11 * time.Minute }), "Leeway"},
		{change(func(c *verify.Config) { c.Leeway = 10 * time.Minute }), ""},
		{change(func(c *verify.Config) { c.Cloud = "https://login.microsoftonline.com" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = "login.microsoftonline.com/common" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = "user@host" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = "bad host" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = ":8443" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud, c.Tenants = "contoso.ciamlogin.com", []string{verify.AnyTenant} }),
			"External ID"},
		{change(func(c *verify.Config) { c.Cloud = "[::1]:8443" }), ""},
		{change(func(c *verify.Config) { c.V1Issuer = "https://sts.windows.net/" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.V1Issuer = "http://sts.windows.net/{tenantid}/" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.V1Issuer = "https://login.microsoftonline.com/{tenantid}/v2.0" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.KeysFor = "my app" }), "KeysFor"},
	} {
		v, err := verify.New(test.cfg)
		if (err == nil) != (test.field == "") || (v == nil) == (err == nil) {
			t.Errorf("%+v: got %v, want an error: %v", test.cfg, err, test.field != "")
			continue
		}
		var e *entra.Error
		if err != nil && (!errors.As(err, &e) || e.Code != "invalid_request" ||
			!strings.HasPrefix(e.Description, "Config.") || err.Error() != "verify: "+e.Description ||
			!strings.Contains(e.Description, test.field)) {
			t.Errorf("got %v, want an error about %s", err, test.field)
		}
	}
}

// The caller may modify its Config after New.
func TestNewCopiesConfig(t *testing.T) {
	a := newAuthority()
	a.perTenant(map[string][]object{tenantA: {jwk(0)}, tenantB: {jwk(0)}, "common": {}})
	cfg := a.config()
	cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, []string{tenantA, tenantB}, apiID
	client := a.client()
	cfg.HTTPClient = client
	v := mustNew(t, cfg)
	cfg.Audiences[0], cfg.Tenants[1] = otherID, tenantA
	client.Transport = newAuthority()
	for _, tenant := range []string{tenantA, tenantB} { // the keys of each are fetched
		raw := sign(0, headerOf(0), userV2().with("tid", tenant).with("iss", "https://"+host+"/"+tenant+"/v2.0"))
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Errorf("tenant %s: got %v, want nil", tenant, err)
		}
	}
	if got := a.fetches.Load(); got != 2 {
		t.Errorf("got %d requests with the first transport, want 2", got)
	}
}

// In another tenant, an App ID URI may belong to another application, whose administrators grant
// themselves its roles. Only a client ID is unique in all tenants.
func TestAnyTenantRequiresClientIDs(t *testing.T) {
	for _, tenant := range []string{verify.AnyTenant, verify.AnyOrganization} {
		for _, audience := range []string{apiURI, "api://" + apiID, "https://contoso.example/tasks", "tasks"} {
			_, err := verify.New(verify.Config{Audiences: []string{apiID, audience}, Tenants: []string{tenant}})
			const want = "verify: Config.Audiences has an App ID URI, which another application can have in another tenant, " +
				"but Config.Tenants accepts any tenant; use only the client ID, " +
				"and set requestedAccessTokenVersion to 2 in the app manifest"
			if err == nil || err.Error() != want {
				t.Errorf("%s, tenants %s: got %v, want %s", audience, tenant, err, want)
			}
		}
		cfg := verify.Config{Audiences: []string{apiID, strings.ToUpper(otherID)}, Tenants: []string{tenant}}
		if _, err := verify.New(cfg); err != nil {
			t.Errorf("client IDs, tenants %s: got %v, want no error", tenant, err)
		}
	}
	if _, err := verify.New(verify.Config{Audiences: []string{apiURI}, Tenants: []string{tenantA, tenantB}}); err != nil {
		t.Errorf("listed tenants: got %v, want no error", err)
	}
}

func TestTenantsLimitWhoIsAccepted(t *testing.T) {
	a := newAuthority(jwk(0))
	in := func(tenant string) string {
		return sign(0, headerOf(0), userV2().with("tid", tenant).with("iss", "https://"+host+"/"+tenant+"/v2.0"))
	}
	for _, test := range []struct {
		tenants []string
		want    [3]verify.Reason // for tenant A, tenant B and personal accounts
	}{
		{[]string{tenantA}, [3]verify.Reason{"", verify.ReasonTenantNotAllowed, verify.ReasonTenantNotAllowed}},
		{[]string{strings.ToUpper(tenantA), tenantB}, [3]verify.Reason{"", "", verify.ReasonTenantNotAllowed}},
		{[]string{verify.PersonalAccounts},
			[3]verify.Reason{verify.ReasonTenantNotAllowed, verify.ReasonTenantNotAllowed, ""}},
		{[]string{verify.AnyOrganization}, [3]verify.Reason{"", "", verify.ReasonTenantNotAllowed}},
		{[]string{verify.AnyTenant}, [3]verify.Reason{}},
	} {
		cfg := a.config()
		cfg.Audiences, cfg.Tenants = []string{apiID}, test.tenants
		v := mustNew(t, cfg)
		var got [3]verify.Reason
		for i, tenant := range []string{tenantA, tenantB, verify.PersonalAccounts} {
			_, err := v.Verify(context.Background(), in(tenant))
			got[i] = reason(t, err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: got %q, want %q", test.tenants, got, test.want)
		}
	}
	// Forged tokens do not reveal which tenants are allowed.
	v := mustNew(t, a.config())
	for _, tenant := range []string{tenantA, tenantB} {
		forged := sign(2, headerOf(0), userV2().with("tid", tenant).with("iss", "https://"+host+"/"+tenant+"/v2.0"))
		if _, err := v.Verify(context.Background(), forged); reason(t, err) != verify.ReasonBadSignature {
			t.Errorf("forged token of %s: got %v, want %s", tenant, err, verify.ReasonBadSignature)
		}
	}
}

func TestAllowsTenant(t *testing.T) {
	for _, test := range []struct {
		tenants []string
		tenant  string
		want    bool
	}{
		{[]string{tenantA}, tenantA, true},
		{[]string{tenantA}, tenantB, false},
		{[]string{tenantA}, strings.ToUpper(tenantA), false},
		{[]string{verify.AnyTenant}, tenantB, true},
		{[]string{verify.AnyTenant}, verify.PersonalAccounts, true},
		{[]string{verify.AnyTenant}, "contoso.onmicrosoft.com", false},
		{[]string{verify.AnyTenant}, "", false},
		{[]string{verify.AnyOrganization}, tenantB, true},
		{[]string{verify.AnyOrganization}, verify.PersonalAccounts, false},
	} {
		v := mustNew(t, verify.Config{Audiences: []string{apiID}, Tenants: test.tenants})
		if got := v.AllowsTenant(test.tenant); got != test.want {
			t.Errorf("%v: AllowsTenant(%q): got %v, want %v", test.tenants, test.tenant, got, test.want)
		}
	}
}
