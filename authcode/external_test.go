package authcode_test

import (
	"net/url"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// A sign-in to an external tenant and its token requests use only the tenant's own host.
func TestExternalIDUsesItsOwnHost(t *testing.T) {
	for _, cloud := range []entra.Cloud{"contoso.ciamlogin.com", entra.ExternalIDCloud("login.contoso.com")} {
		t.Run(cloud.Host(), func(t *testing.T) { testExternalID(t, cloud) })
	}
}

func testExternalID(t *testing.T, cloud entra.Cloud) {
	e := newEstate(func(c *entratest.Config) { c.Tenants[0].CustomURLDomain = "login.contoso.com" })
	cfg := e.clientConfig()
	cfg.Cloud = cloud
	f := newFlow(t, testkit.Client(t, cfg))
	login := begin(t, f, authcode.Request{})
	if u, err := url.Parse(login.URL()); err != nil || u.Host != cloud.Host() {
		t.Fatalf("got URL %s, want host %s", login.URL(), cloud.Host())
	}
	params := e.callback(t, login, alice)
	params.Set("iss", "https://"+entratest.SampleTenant+".ciamlogin.com/"+entratest.SampleTenant+"/v2.0")
	signIn, err := f.Exchange(t.Context(), login, params)
	if err != nil {
		t.Fatal(err)
	}
	if user, ok := signIn.Claims.User(); !ok || user.TenantID != entratest.SampleTenant ||
		user.ObjectID != e.User(alice).ObjectID {
		t.Errorf("got user %v, want Alice", user)
	}
	first := token(t, signIn.Source)
	tok, err := signIn.Source.Token()
	if err != nil {
		t.Fatal(err)
	}
	signIn.Source.Invalidate(tok)
	if token(t, signIn.Source) == first {
		t.Error("got the same token after Invalidate")
	}
	for _, r := range e.Posts() {
		if u, err := url.Parse(r.URL); err != nil || u.Host != cloud.Host() {
			t.Errorf("got a token request to %s, want host %s", r.URL, cloud.Host())
		}
	}
}

// The iss parameter (RFC 9207) must name the external tenant itself, not a similar host.
func TestExternalIDIssuer(t *testing.T) {
	e := newEstate()
	cfg := e.clientConfig()
	cfg.Cloud = "contoso.ciamlogin.com"
	f := newFlow(t, testkit.Client(t, cfg))
	for _, iss := range []string{
		"https://contoso.ciamlogin.com/" + entratest.SampleTenant + "/v2.0",
		"https://" + entratest.SampleTenant + ".ciamlogin.com/" + entratest.SampleOtherTenant + "/v2.0",
		"https://" + entratest.SampleOtherTenant + ".ciamlogin.com/" + entratest.SampleOtherTenant + "/v2.0",
		"https://" + entratest.SampleTenant + ".ciamlogin.com.evil.example/" + entratest.SampleTenant + "/v2.0",
		"https://login.microsoftonline.com/" + entratest.SampleTenant + "/v2.0",
		"http://" + entratest.SampleTenant + ".ciamlogin.com/" + entratest.SampleTenant + "/v2.0",
		"https://.ciamlogin.com//v2.0",
	} {
		login := begin(t, f, authcode.Request{})
		params := e.callback(t, login, alice)
		params.Set("iss", iss)
		if _, err := f.Exchange(t.Context(), login, params); err != authcode.ErrParameters {
			t.Errorf("%s: got %v, want ErrParameters", iss, err)
		}
	}
}

// Codes and refresh tokens are redeemed at the global endpoint, for every region.
func TestUserTokensIgnoreRegion(t *testing.T) {
	e := newEstate()
	cfg := e.clientConfig()
	cfg.Region = "westeurope"
	signIn := e.signIn(t, newFlow(t, testkit.Client(t, cfg)), alice, authcode.Request{})
	tok, err := signIn.Source.Token()
	if err != nil {
		t.Fatal(err)
	}
	signIn.Source.Invalidate(tok)
	token(t, signIn.Source)
	all := e.Posts()
	if len(all) != 2 {
		t.Errorf("got %d token requests, want 2", len(all))
	}
	for _, r := range all {
		if u, err := url.Parse(r.URL); err != nil || u.Host != "login.microsoftonline.com" {
			t.Errorf("got a token request to %s, want host login.microsoftonline.com", r.URL)
		}
	}
}
