package verify_test

import (
	"context"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

const (
	externalHost = "contoso.ciamlogin.com"
	externalA    = "https://" + tenantA + ".ciamlogin.com/" + tenantA + "/v2.0"
	externalB    = "https://" + tenantB + ".ciamlogin.com/" + tenantB + "/v2.0"
)

// The issuer of an external tenant has a host with the tenant's ID, and its keys are at the
// configured host.
func TestExternalID(t *testing.T) {
	key := func(issuer string) object { return jwk(0).with("issuer", issuer) }
	own := key(externalA)
	for _, test := range []struct {
		name   string
		key    object
		claims object
		want   verify.Reason
	}{
		{"its own", own, userV2().with("iss", externalA), ""},
		{"a key that names no issuer", jwk(0).without("issuer"), userV2().with("iss", externalA), ""},
		{"a key for all external tenants", key("https://{tenantid}.ciamlogin.com/{tenantid}/v2.0"),
			userV2().with("iss", externalA), ""},
		{"the public cloud's key", jwk(0), userV2().with("iss", externalA), verify.ReasonKeyIssuer},
		{"another external tenant's key", key(externalB), userV2().with("iss", externalA), verify.ReasonKeyIssuer},
		{"a key of the host's name", key("https://" + externalHost + "/" + tenantA + "/v2.0"),
			userV2().with("iss", externalA), verify.ReasonKeyIssuer},
		{"another external tenant", own, userV2().with("iss", externalB).with("tid", tenantB),
			verify.ReasonUnsupportedIssuer},
		{"another tenant in tid", own, userV2().with("iss", externalA).with("tid", tenantB), verify.ReasonTenantMismatch},
		{"another tenant below the host", own,
			userV2().with("iss", "https://"+tenantA+".ciamlogin.com/"+tenantB+"/v2.0").with("tid", tenantB),
			verify.ReasonTenantNotAllowed},
		{"the host's name", own, userV2().with("iss", "https://"+externalHost+"/"+tenantA+"/v2.0"),
			verify.ReasonUnsupportedIssuer},
		{"a look-alike", own, userV2().with("iss", "https://"+tenantA+".ciamlogin.com.evil.example/"+tenantA+"/v2.0"),
			verify.ReasonBadIssuer},
		{"the public cloud", own, userV2(), verify.ReasonBadIssuer},
		{"a bare GUID", own, userV1().with("iss", tenantA), verify.ReasonBadIssuer},
		{"v1.0", own, userV1(), verify.ReasonBadIssuer},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(test.key)
			cfg := a.config()
			cfg.Cloud = externalHost
			_, err := mustNew(t, cfg).Verify(context.Background(), sign(0, headerOf(0), test.claims))
			if got := reason(t, err); got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
			if u := a.lastURL.Load(); u != nil && *u != "https://"+externalHost+"/"+tenantA+"/discovery/v2.0/keys" {
				t.Errorf("got keys from %s", *u)
			}
		})
	}
	// v1.0 tokens are accepted if their issuer is configured.
	v1 := newAuthority(own)
	cfg := v1.config()
	cfg.Cloud, cfg.V1Issuer = externalHost, "https://sts.windows.net/{tenantid}/"
	accept(t, mustNew(t, cfg), sign(0, headerOf(0), userV1()))

	// A Verifier of the public cloud rejects them.
	a := newAuthority(own)
	if _, err := mustNew(t, a.config()).Verify(context.Background(),
		sign(0, headerOf(0), userV2().with("iss", externalA))); reason(t, err) != verify.ReasonUnsupportedIssuer {
		t.Errorf("in the public cloud: got %v, want %s", err, verify.ReasonUnsupportedIssuer)
	}
}

func TestExternalIDConfig(t *testing.T) {
	a := newAuthority(jwk(0))
	for _, test := range []struct {
		cloud   entra.Cloud
		tenants []string
		text    string
	}{
		{externalHost, []string{tenantA}, ""},
		{externalHost + ":8443", []string{tenantA}, ""},
		{externalHost, []string{tenantA, tenantB}, "Config.Tenants must have one entry"},
		{externalHost, []string{verify.AnyTenant}, "Config.Tenants must have one entry"},
		{externalHost, []string{verify.AnyOrganization}, "Config.Tenants must have one entry"},
		{"a.b.ciamlogin.com", []string{tenantA}, "not NAME.ciamlogin.com"},
		{"contoso.ciamlogin.com.", []string{tenantA}, "not NAME.ciamlogin.com"},
		{"contoso.b2clogin.com.:443", []string{tenantA}, "Azure AD B2C"},
		{"contoso.b2clogin.com", []string{tenantA}, "Azure AD B2C"},
	} {
		cfg := a.config()
		cfg.Cloud, cfg.Tenants = test.cloud, test.tenants
		_, err := verify.New(cfg)
		if test.text == "" && err != nil || test.text != "" && (err == nil || !strings.Contains(err.Error(), test.text)) {
			t.Errorf("%s %v: got %v, want %q", test.cloud, test.tenants, err, test.text)
		}
	}
}

// The external tenant of entratest is accepted under all of its hosts.
func TestExternalIDOfTheFakeEntra(t *testing.T) {
	sample := entratest.Sample()
	sample.Tenants[0].CustomURLDomain = "login.contoso.com"
	s := entratest.NewServer(sample)
	for _, host := range []string{externalHost, contoso + ".ciamlogin.com", "login.contoso.com"} {
		cfg := sampleConfig(s)
		cfg.Cloud = entra.ExternalIDCloud(host)
		v := mustNew(t, cfg)
		for _, o := range []entratest.MintOptions{{Client: "daemon"}, {Client: "api-a", User: alice}} {
			o.Resource, o.Host = "api-b", host
			if _, err := v.Verify(context.Background(), s.Mint(o)); err != nil {
				t.Errorf("%s: %v", host, err)
			}
			o.Tenant, o.User, o.Client = fabrikam, "", "daemon"
			if _, err := v.Verify(context.Background(), s.Mint(o)); reason(t, err) != verify.ReasonUnsupportedIssuer {
				t.Errorf("%s: token of another tenant: got %v, want %s", host, err, verify.ReasonUnsupportedIssuer)
			}
		}
	}
}

// Every name of a cloud behaves as its main host, which Entra's tokens name.
func TestEveryNameOfACloudIsItsMainHost(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, host := range []string{
		"login.windows.net", "login.microsoft.com", "sts.windows.net", "login.usgovcloudapi.net", "login.chinacloudapi.cn",
	} {
		cfg := sampleConfig(s)
		cfg.Cloud = entra.Cloud(host)
		v := mustNew(t, cfg)
		for _, version := range []int{1, 2} {
			raw := s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Host: host, Version: version})
			if _, err := v.Verify(context.Background(), raw); err != nil {
				t.Errorf("%s, version %d: %v", host, version, err)
			}
		}
	}
}
