package entratest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	msalerrors "github.com/AzureAD/microsoft-authentication-library-for-go/apps/errors"

	"github.com/entratoken/entra/entratest"
)

// msal returns an MSAL client for an app of the server.
func msal(t *testing.T, s *entratest.Server, tenant, clientID string, cred confidential.Credential,
	opts ...confidential.Option) confidential.Client {
	t.Helper()
	c, err := confidential.New(authHost+tenant, clientID, cred,
		append([]confidential.Option{confidential.WithHTTPClient(s.Client())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func secret(t *testing.T, value string) confidential.Credential {
	t.Helper()
	cred, err := confidential.NewCredFromSecret(value)
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func TestMSALClientCredentials(t *testing.T) {
	cert := certify(t, "daemon", testKey(), nil, nil)
	ca := certify(t, "a CA", otherKey(), nil, nil)
	leaf := certify(t, "daemon.contoso.example", testKey(), ca, otherKey())
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	s := entratest.NewServer(sample("daemon", func(a *entratest.App) {
		a.Certificates = []*x509.Certificate{cert}
		a.TrustedSubjects = []entratest.TrustedSubject{{Subject: "daemon.contoso.example", Roots: roots}}
		a.Federated = []entratest.FederatedCredential{{Issuer: "https://ci.example", Subject: "repo:main",
			Key: &otherKey().PublicKey}}
	}))
	byCert, err := confidential.NewCredFromCert([]*x509.Certificate{cert}, testKey())
	if err != nil {
		t.Fatal(err)
	}
	byLeaf, err := confidential.NewCredFromCert([]*x509.Certificate{leaf, ca}, testKey())
	if err != nil {
		t.Fatal(err)
	}
	federated := confidential.NewCredFromAssertionCallback(func(context.Context,
		confidential.AssertionRequestOptions) (string, error) {
		return sign(t, otherKey(), nil, map[string]any{
			"iss": "https://ci.example", "sub": "repo:main", "aud": "api://AzureADTokenExchange",
			"exp": time.Now().Add(time.Minute).Unix(),
		}), nil
	})
	for _, test := range []struct {
		name  string
		cred  confidential.Credential
		opts  []confidential.Option
		class string
	}{
		{"secret", secret(t, "daemon-secret"), nil, "1"},
		{"certificate", byCert, nil, "2"},
		{"x5c", byLeaf, []confidential.Option{confidential.WithX5C()}, "2"},
		{"federated", federated, nil, "2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := msal(t, s, tenant, daemon, test.cred, test.opts...)
			got, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
			if err != nil {
				t.Fatal(err)
			}
			if claims := decode(t, got.AccessToken); claims.stringClaim("azpacr") != test.class ||
				claims.joined("roles") != "Orders.Read.All" {
				t.Errorf("got claims %v", claims)
			}
			if life := time.Until(got.ExpiresOn); life < 59*time.Minute || life > 90*time.Minute {
				t.Errorf("got lifetime %v", life)
			}
		})
	}
	t.Run("by domain", func(t *testing.T) {
		c := msal(t, s, "contoso.onmicrosoft.com", daemon, byCert)
		if _, err := c.AcquireTokenByCredential(t.Context(), []string{apiB + "/.default"}); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("wrong", func(t *testing.T) {
		c := msal(t, s, tenant, daemon, secret(t, "wrong"))
		_, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
		var call msalerrors.CallErr
		if !errors.As(err, &call) || call.Resp.StatusCode != 401 || !strings.Contains(err.Error(), "AADSTS7000215") {
			t.Fatalf("got %v", err)
		}
	})
}

// MSAL signs a user in, refreshes silently, and requests tokens on behalf of the user
// through two middle tiers.
func TestMSALSignInRefreshAndOnBehalfOf(t *testing.T) {
	cfg := sample("api-b", func(a *entratest.App) {
		a.Permissions = []entratest.Permission{{Resource: "https://graph.microsoft.com", Scopes: []string{"User.Read"}}}
	})
	s := entratest.NewServer(cfg)
	web := msal(t, s, "organizations", webapp, secret(t, "webapp-secret"))
	scopes := []string{"api://api-a/access_as_user"}
	got, err := web.AcquireTokenByAuthCode(t.Context(), signIn(t, s, carol), callback, scopes,
		confidential.WithChallenge(verifier))
	if err != nil {
		t.Fatal(err)
	}
	home := s.User(carol).ObjectID + "." + fabrikam
	if got.Account.HomeAccountID != home || got.IDToken.PreferredUsername != carol {
		t.Fatalf("got account %+v", got.Account)
	}
	silent, err := web.AcquireTokenSilent(t.Context(), []string{"openid"}, confidential.WithSilentAccount(got.Account),
		confidential.WithTenantID(fabrikam))
	if err != nil {
		t.Fatal(err)
	}
	if c := decode(t, silent.AccessToken); c.stringClaim("aud") != "00000003-0000-0000-c000-000000000000" {
		t.Errorf("silent: got %v", c)
	}
	if n := s.Count(entratest.Match{GrantType: "refresh_token"}); n != 1 {
		t.Errorf("got %d refreshes", n)
	}
	tierA := msal(t, s, fabrikam, apiA, secret(t, "api-a-secret"))
	second, err := tierA.AcquireTokenOnBehalfOf(t.Context(), got.AccessToken, []string{"api://api-b/.default"})
	if err != nil {
		t.Fatal(err)
	}
	tierB := msal(t, s, fabrikam, apiB, secret(t, "api-b-secret"))
	third, err := tierB.AcquireTokenOnBehalfOf(t.Context(), second.AccessToken,
		[]string{"https://graph.microsoft.com/User.Read"})
	if err != nil {
		t.Fatal(err)
	}
	if c := decode(t, third.AccessToken); c.stringClaim("oid") != s.User(carol).ObjectID ||
		c.stringClaim("appid") != apiB || !strings.Contains(c.stringClaim("scp"), "User.Read") {
		t.Errorf("third hop: got %v", c)
	}
}

func TestMSALOverTLS(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	url, ca, stop := s.StartTLS()
	defer stop()
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
	defer hc.CloseIdleConnections()
	c, err := confidential.New(url+"/"+tenant, daemon, secret(t, "daemon-secret"), confidential.WithHTTPClient(hc),
		confidential.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
	if err != nil {
		t.Fatal(err)
	}
	if iss := decode(t, got.AccessToken).stringClaim("iss"); iss != url+"/"+tenant+"/v2.0" {
		t.Errorf("got iss %q", iss)
	}
	stop()
	if _, err := hc.Get(url); err == nil {
		t.Error("got a response after stop")
	}
}

// MSAL sends requests to the hosts of a region of the public cloud.
func TestMSALRegionalHost(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	c := msal(t, s, tenant, daemon, secret(t, "daemon-secret"), confidential.WithAzureRegion("westeurope"))
	got, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
	if err != nil {
		t.Fatal(err)
	}
	if iss := decode(t, got.AccessToken).stringClaim("iss"); iss != authHost+tenant+"/v2.0" {
		t.Errorf("got iss %q", iss)
	}
}

func TestMSALInstanceDiscovery(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Host = "login.example.test"
	s := entratest.NewServer(cfg)
	c, err := confidential.New("https://login.example.test/"+tenant, daemon, secret(t, "daemon-secret"),
		confidential.WithHTTPClient(s.Client()))
	if err != nil {
		t.Fatal(err)
	}
	got, err := c.AcquireTokenByCredential(t.Context(), []string{"api://api-b/.default"})
	if err != nil {
		t.Fatal(err)
	}
	if iss := decode(t, got.AccessToken).stringClaim("iss"); iss != "https://login.example.test/"+tenant+"/v2.0" {
		t.Errorf("got iss %q", iss)
	}
	if s.Count(entratest.Match{Endpoint: "instance"}) == 0 {
		t.Error("MSAL did not request instance discovery for an unknown host")
	}
}
