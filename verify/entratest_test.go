package verify_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

const (
	contoso  = entratest.SampleTenant
	fabrikam = entratest.SampleOtherTenant
	alice    = "alice@contoso.onmicrosoft.com"
	carol    = "carol@fabrikam.onmicrosoft.com"
)

// sampleConfig returns a Config that accepts tokens for api-b from Contoso.
func sampleConfig(s *entratest.Server) verify.Config {
	api := s.App("api-b")
	return verify.Config{Audiences: []string{api.ClientID, api.AppIDURI}, Tenants: []string{contoso},
		HTTPClient: s.Client()}
}

func TestTokensOfTheFakeEntra(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	omitting := entratest.Sample()
	for i := range omitting.Apps {
		omitting.Apps[i].OmitIDType = true
	}
	quiet := entratest.NewServer(omitting)
	estate := entratest.Sample()
	estate.Host = entra.CloudBleu.Host()
	bleu := entratest.NewServer(estate)
	one := func(*verify.Config) {}
	all := func(c *verify.Config) { c.Audiences, c.Tenants = c.Audiences[:1], []string{verify.AnyTenant} }
	both := func(c *verify.Config) { c.Tenants = []string{contoso, fabrikam} }
	in := func(cloud entra.Cloud) func(*verify.Config) { return func(c *verify.Config) { c.Cloud = cloud } }
	for _, test := range []struct {
		name    string
		server  *entratest.Server
		options entratest.MintOptions
		change  func(*verify.Config)
		want    verify.Reason
		appOnly bool
		version string
		scopes  []string
		roles   []string
	}{
		{"delegated v2", s, entratest.MintOptions{Client: "api-a", User: alice, Version: 2}, one, "", false, "2.0",
			[]string{"Orders.Read"}, nil},
		{"delegated v1", s, entratest.MintOptions{Client: "api-a", User: alice, Version: 1}, one, "", false, "1.0",
			[]string{"Orders.Read"}, nil},
		{"two scopes", s, entratest.MintOptions{Client: "api-a", User: alice,
			Scopes: []string{"Orders.Read", "Orders.Write"}}, one, "", false, "2.0", []string{"Orders.Read", "Orders.Write"},
			nil},
		{"app-only v2", s, entratest.MintOptions{Client: "daemon", Version: 2}, one, "", true, "2.0", nil,
			[]string{"Orders.Read.All"}},
		{"app-only v1", s, entratest.MintOptions{Client: "daemon", Version: 1}, one, "", true, "1.0", nil,
			[]string{"Orders.Read.All"}},
		{"app-only v2 without idtyp", quiet, entratest.MintOptions{Client: "daemon", Version: 2}, one, "", true, "2.0", nil,
			[]string{"Orders.Read.All"}},
		{"app-only v1 without idtyp", quiet, entratest.MintOptions{Client: "daemon", Version: 1}, one, "", true, "1.0", nil,
			[]string{"Orders.Read.All"}},
		{"another tenant, several listed", s, entratest.MintOptions{Client: "api-a", User: carol, Tenant: fabrikam}, both, "",
			false, "2.0", []string{"Orders.Read"}, nil},
		{"another tenant, any accepted", s, entratest.MintOptions{Client: "api-a", User: carol, Tenant: fabrikam, Version: 1,
			Claims: map[string]any{"aud": s.App("api-b").ClientID}}, all, "", false, "1.0", []string{"Orders.Read"}, nil},
		{"an app of another tenant, any accepted", s, entratest.MintOptions{Client: "daemon", Tenant: fabrikam}, all, "",
			true, "2.0", nil, []string{"Orders.Read.All"}},
		{"another tenant", s, entratest.MintOptions{Client: "api-a", User: carol, Tenant: fabrikam}, one,
			verify.ReasonTenantNotAllowed, false, "", nil, nil},
		{"US Government", s, entratest.MintOptions{Client: "api-a", User: alice, Host: entra.CloudUSGovernment.Host()},
			in(entra.CloudUSGovernment), "", false, "2.0", []string{"Orders.Read"}, nil},
		{"US Government v1", s, entratest.MintOptions{Client: "api-a", User: alice, Version: 1,
			Host: entra.CloudUSGovernment.Host()}, in(entra.CloudUSGovernment), "", false, "1.0", []string{"Orders.Read"}, nil},
		{"China", s, entratest.MintOptions{Client: "daemon", Host: entra.CloudChina.Host()}, in(entra.CloudChina), "", true,
			"2.0", nil, []string{"Orders.Read.All"}},
		{"Bleu", bleu, entratest.MintOptions{Client: "daemon"}, in(entra.CloudBleu), "", true, "2.0", nil,
			[]string{"Orders.Read.All"}},
		{"another cloud's", s, entratest.MintOptions{Client: "daemon", Host: entra.CloudChina.Host()}, one,
			verify.ReasonBadIssuer, false, "", nil, nil},
		{"for another app", s, entratest.MintOptions{Client: "webapp", User: alice, Resource: "api-a"}, one,
			verify.ReasonBadAudience, false, "", nil, nil},
		{"an ID token", s, entratest.MintOptions{User: alice, IDToken: true, Nonce: "n"}, one, verify.ReasonNotAccessToken,
			false, "", nil, nil},
		{"expired", s, entratest.MintOptions{Client: "daemon", Lifetime: -time.Hour}, one, verify.ReasonExpired, false, "",
			nil, nil},
		{"alg none", s, entratest.MintOptions{Client: "daemon", Header: map[string]any{"alg": "none"}}, one,
			verify.ReasonMalformed, false, "", nil, nil},
		{"HS256 with the public key", s, entratest.MintOptions{Client: "daemon", Header: map[string]any{"alg": "HS256"}}, one,
			verify.ReasonBadAlgorithm, false, "", nil, nil},
		{"an unpublished key", s, entratest.MintOptions{Client: "daemon", UnpublishedKey: true}, one,
			verify.ReasonBadSignature, false, "", nil, nil},
		{"swapped tid", s, entratest.MintOptions{Client: "daemon", Claims: map[string]any{"tid": fabrikam}}, one,
			verify.ReasonTenantMismatch, false, "", nil, nil},
		{"Graph's", s, entratest.MintOptions{Client: "daemon", Header: map[string]any{"nonce": "x"}}, one,
			verify.ReasonForeignToken, false, "", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := sampleConfig(test.server)
			test.change(&cfg)
			if test.options.Resource == "" {
				test.options.Resource = "api-b"
			}
			got, err := mustNew(t, cfg).Verify(context.Background(), test.server.Mint(test.options))
			if why := reason(t, err); why != test.want {
				t.Fatalf("got %q (%v), want %q", why, err, test.want)
			}
			if err != nil {
				return
			}
			c := got.Claims()
			if c.AppOnly() != test.appOnly || c.Version != test.version ||
				c.ClientID != test.server.App(test.options.Client).ClientID {
				t.Errorf("got app-only %v, version %s, client %s", c.AppOnly(), c.Version, c.ClientID)
			}
			if !slices.Equal(slices.Collect(c.Scopes.All()), test.scopes) ||
				!slices.Equal(slices.Collect(c.Roles.All()), test.roles) {
				t.Errorf("got scopes %v, roles %v, want %v, %v", c.Scopes, c.Roles, test.scopes, test.roles)
			}
			user, ok := c.User()
			want := verify.User{}
			if test.options.User != "" {
				want = verify.User{TenantID: c.TenantID, ObjectID: test.server.User(test.options.User).ObjectID}
			}
			if user != want || ok != (test.options.User != "") {
				t.Errorf("got user %v, want %v", user, want)
			}
		})
	}
}

func TestIDTokensOfTheFakeEntra(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	raw := s.Mint(entratest.MintOptions{Resource: "webapp", User: alice, IDToken: true, Nonce: "n-1"})
	v := mustNew(t, verify.Config{Audiences: []string{s.App("webapp").ClientID}, Tenants: []string{verify.AnyOrganization},
		HTTPClient: s.Client()})
	c, err := v.IDToken(context.Background(), raw, "n-1")
	if err != nil || c.PreferredUsername != alice || c.TenantID != contoso {
		t.Errorf("got %v, %v, want the claims of %s", c, err, alice)
	}
	if _, err := v.IDToken(context.Background(), raw, "n-2"); reason(t, err) != verify.ReasonBadNonce {
		t.Errorf("another nonce: got %v, want %s", err, verify.ReasonBadNonce)
	}
	if _, err := v.Verify(context.Background(), raw); reason(t, err) != verify.ReasonNotAccessToken {
		t.Errorf("as an access token: got %v, want %s", err, verify.ReasonNotAccessToken)
	}
}

// Keys are announced, used and withdrawn under load. All valid tokens are accepted, and tokens
// of the withdrawn key are rejected within the hour.
func TestRolloverOfTheFakeEntra(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		v := mustNew(t, sampleConfig(s))
		mint := func() string {
			return s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Lifetime: 12 * time.Hour})
		}
		var current atomic.Pointer[string]
		use := func(raw string) { current.Store(&raw) }
		old := mint()
		use(old)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(10 * time.Second):
					}
					if _, err := v.Verify(t.Context(), *current.Load()); err != nil {
						t.Errorf("a valid token was rejected: %v", err)
						return
					}
				}
			})
		}
		advance(time.Minute)
		for range 3 { // without announcing them
			s.RotateKeys()
			use(mint())
			advance(10 * time.Minute)
		}
		s.AnnounceKey()
		advance(2 * time.Hour)
		s.RotateKeys()
		use(mint())
		s.RetireKeys()
		advance(time.Hour)
		close(stop)
		wg.Wait()
		if _, err := v.Verify(t.Context(), old); reason(t, err) != verify.ReasonUnknownKey {
			t.Errorf("a token of a withdrawn key: got %v, want %s", err, verify.ReasonUnknownKey)
		}
	})
}

// The authority is trusted for its certificate, not for its address.
func TestKeysOverTLS(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	address, ca, stop := s.StartTLS()
	defer stop()
	cloud := entra.Cloud(strings.TrimPrefix(address, "https://"))
	raw := s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Host: cloud.Host()})
	rawV1 := s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon", Host: cloud.Host(), Version: 1})

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}
	defer transport.CloseIdleConnections()
	cfg := sampleConfig(s)
	cfg.Cloud, cfg.HTTPClient = cloud, &http.Client{Transport: transport}
	v := mustNew(t, cfg)
	accept(t, v, raw)
	accept(t, v, rawV1)

	cfg.HTTPClient = nil // the default client does not trust the authority
	var e *verify.Error
	if _, err := mustNew(t, cfg).Verify(t.Context(), raw); !errors.As(err, &e) ||
		e.Reason != verify.ReasonKeysUnavailable || e.Temporary() ||
		!strings.Contains(e.Error(), "x509: ") {
		t.Errorf("got %v, want a permanent error that names the certificate", err)
	}

	// A program may trust the authority once for all clients, in http.DefaultTransport.
	original := http.DefaultTransport
	defer func() { http.DefaultTransport = original }()
	http.DefaultTransport = transport
	accept(t, mustNew(t, cfg), raw)
}
