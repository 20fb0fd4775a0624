package entra_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

func TestNewRejectsInvalidConfig(t *testing.T) {
	key := testkit.RSAKey(t)
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{PublicKey: ec.Public(), Raw: []byte("x")}
	const id = "aaaaaaaa-0000-4000-8000-00000000000d"
	for _, tt := range []struct {
		name, code, text string
		change           func(*entra.Config)
	}{
		{"no client ID", "invalid_request", "ClientID", func(c *entra.Config) { c.ClientID = "" }},
		{"secret and client ID swapped", "invalid_request", "ClientID",
			func(c *entra.Config) { c.ClientID, c.Credential = "the~secret", entra.Secret(id) }},
		{"no tenant", "invalid_request", "tenant ID is missing", func(c *entra.Config) { c.TenantID = "" }},
		{"a tenant that is a URL", "invalid_request", "is a URL or a path",
			func(c *entra.Config) { c.TenantID = "https://login.microsoftonline.com/x" }},
		{"a tenant with a path", "invalid_request", "not a GUID or a domain",
			func(c *entra.Config) { c.TenantID = "../common" }},
		{"no credential", "invalid_client", "Credential is missing",
			func(c *entra.Config) { c.Credential = entra.Credential{} }},
		{"empty secret", "invalid_client", "secret is empty", func(c *entra.Config) { c.Credential = entra.Secret("") }},
		{"secret with a line feed", "invalid_client", "the client secret contains a control character",
			func(c *entra.Config) { c.Credential = entra.Secret("the~secret\n") }},
		{"tenant with a line feed", "invalid_request", "white space", func(c *entra.Config) { c.TenantID += "\n" }},
		{"the name of a cloud", "invalid_request", "entra.CloudUSGovernment",
			func(c *entra.Config) { c.Cloud = "AzureUSGovernment" }},
		{"nil callback", "invalid_client", "the function that returns client assertions is nil", func(c *entra.Config) {
			c.Credential = entra.Assertion(nil)
		}},
		{"no certificate", "invalid_client", "no certificate", func(c *entra.Config) {
			c.Credential = entra.Certificate(nil, key, nil)
		}},
		{"no key", "invalid_client", "got <nil>", func(c *entra.Config) {
			c.Credential = entra.Certificate([]*x509.Certificate{cert}, nil, nil)
		}},
		{"EC key", "invalid_client", "of type *ecdsa.PrivateKey, is not an RSA key",
			func(c *entra.Config) { c.Credential = entra.Certificate([]*x509.Certificate{cert}, ec, nil) }},
		{"another's key", "invalid_client", "does not belong to the certificate",
			func(c *entra.Config) { c.Credential = entra.Certificate([]*x509.Certificate{cert}, key, nil) }},
		{"a cloud that is a URL", "invalid_request", "Config.Cloud",
			func(c *entra.Config) { c.Cloud = "https://login.microsoftonline.us" }},
		{"a cloud that is a URL, its host named", "invalid_request", "use its host alone, \"login.microsoftonline.us\"",
			func(c *entra.Config) { c.Cloud = "https://login.microsoftonline.us/contoso" }},
		{"a cloud with a path", "invalid_request", "without a scheme or path",
			func(c *entra.Config) { c.Cloud = "login.microsoftonline.com/contoso" }},
		{"Azure AD B2C", "invalid_request", "MSAL for Go does not support",
			func(c *entra.Config) { c.Cloud = "contoso.b2clogin.com" }},
		{"Azure AD B2C with a dot at its end", "invalid_request", "is not the host of an authority",
			func(c *entra.Config) { c.Cloud = "contoso.b2clogin.com." }},
		{"External ID with a dot at its end", "invalid_request", "is not the host of an authority",
			func(c *entra.Config) { c.Cloud = "contoso.ciamlogin.com.:443" }},
		{"a host that is one in lower case only", "invalid_request", "is not the host of an authority",
			func(c *entra.Config) { c.Cloud = "logİn.microsoftonline.com" }},
		{"an empty label", "invalid_request", "is not the host of an authority",
			func(c *entra.Config) { c.Cloud = "login..example" }},
		{"Azure AD B2C at a port", "invalid_request", "MSAL for Go does not support",
			func(c *entra.Config) { c.Cloud = "contoso.b2clogin.com:443" }},
		{"External ID without a tenant", "invalid_request", "contoso.ciamlogin.com",
			func(c *entra.Config) { c.Cloud = "ciamlogin.com" }},
		{"External ID of all tenants", "invalid_request", "serves one tenant",
			func(c *entra.Config) { c.Cloud, c.TenantID = "contoso.ciamlogin.com", "Organizations" }},
		{"AD FS", "invalid_request", "AD FS is not supported", func(c *entra.Config) {
			c.Cloud,
				c.TenantID = "adfs.example.com", "adfs"
		}},
		{"client ID in braces", "invalid_request", "ClientID has white space, quotes or braces",
			func(c *entra.Config) { c.ClientID = "{" + id + "}" }},
		{"client ID with a line feed", "invalid_request", "ClientID has white space",
			func(c *entra.Config) { c.ClientID = id + "\n" }},
		{"tenant in braces", "invalid_request", "tenant ID has white space, quotes or braces",
			func(c *entra.Config) { c.TenantID = "{" + c.TenantID + "}" }},
		{"tenant and client the same", "invalid_request", "are the same",
			func(c *entra.Config) { c.TenantID = strings.ToUpper(id) }},
		{"secret with a space", "invalid_client", "the client secret has white space around it",
			func(c *entra.Config) { c.Credential = entra.Secret("the~secret ") }},
		{"a region's display name", "invalid_request", "short name of a region",
			func(c *entra.Config) { c.Region = "West Europe" }},
		{"a region that is a host", "invalid_request", "short name of a region",
			func(c *entra.Config) { c.Region = "evil.example" }},
		{"a region that begins a host", "invalid_request", "short name of a region",
			func(c *entra.Config) { c.Region = "evil.example/" }},
		{"a region that is a port", "invalid_request", "short name of a region",
			func(c *entra.Config) { c.Region = "evil:1" }},
		{"a region that is too long", "invalid_request", "short name of a region",
			func(c *entra.Config) { c.Region = strings.Repeat("a", 64) }},
		{"MSAL's word for detection", "invalid_request", "entra.DetectRegion",
			func(c *entra.Config) { c.Region = confidential.AutoDetectRegion() }},
		{"a region of External ID", "invalid_request", "does not have regional endpoints",
			func(c *entra.Config) { c.Cloud, c.Region = "contoso.ciamlogin.com", "westeurope" }},
		{"a region of an address", "invalid_request", "Config.Cloud is an IP address",
			func(c *entra.Config) { c.Cloud, c.Region = "127.0.0.1:8443", "westeurope" }},
		{"a region of an IPv6 address", "invalid_request", "Config.Cloud is an IP address",
			func(c *entra.Config) { c.Cloud, c.Region = "[::1]:8443", "westeurope" }},
		{"a capability that is JSON", "invalid_request", "Capabilities",
			func(c *entra.Config) { c.Capabilities = []string{`cp1"]}`} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := entra.Config{TenantID: entratest.SampleTenant, ClientID: id, Credential: entra.Secret("the~secret")}
			tt.change(&cfg)
			_, err := entra.New(cfg)
			got := testkit.Error(t, err)
			if got.Code != tt.code || !strings.Contains(got.Description, tt.text) || got.StatusCode != 0 {
				t.Errorf("got %v, want %s with %q", err, tt.code, tt.text)
			}
			leaks(t, err, "the~secret")
		})
	}
}

func TestClientAccessors(t *testing.T) {
	c, err := entra.New(entra.Config{
		TenantID: "Contoso.OnMicrosoft.com", ClientID: "AAAAAAAA-0000-4000-8000-00000000000D",
		Credential: entra.Secret("s3cret"),
		Cloud:      "Login.MicrosoftOnline.US",
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.TenantID() != "contoso.onmicrosoft.com" || c.ClientID() != "aaaaaaaa-0000-4000-8000-00000000000d" ||
		c.Cloud() != entra.CloudUSGovernment {
		t.Errorf("tenant %s, client %s, cloud %s", c.TenantID(), c.ClientID(), c.Cloud())
	}
	const want = "entra.Client{https://login.microsoftonline.us/contoso.onmicrosoft.com client=aaaaaaaa-0000-4000-8000-00000000000d}"
	if got := fmt.Sprint(c); got != want {
		t.Errorf("prints %s, want %s", got, want)
	}
}

// No value prints a secret, even in an unexported field, where fmt does not call methods. Only a TokenResponse does, as
// its documentation says.
func TestPrintingLeaksNothing(t *testing.T) {
	e := newEstate()
	cfg := e.config("daemon")
	cfg.Cache = cache.New(cache.Options{})
	c := testkit.Client(t, cfg)
	source := clientcreds.TokenSource(c, "api://api-b/.default")
	tok, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	info, ok := source.Cached()
	if !ok {
		t.Fatal("no cached token")
	}
	resp := entra.TokenResponse{
		AccessToken: tok.AccessToken, IDToken: tok.AccessToken, ExpiresIn: time.Hour, HomeAccountID: "oid.tid",
	}
	result, err := c.Exchange(t.Context(), entra.Grant{
		Flow: "x", Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) { return &resp, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	hidden := struct {
		cred   entra.Credential
		config entra.Config
		client *entra.Client
		source *entra.TokenSource
		cached entra.TokenInfo
		cache  *cache.Cache
		result entra.CodeResult
	}{cfg.Credential, cfg, c, source, info, cfg.Cache, *result}
	list := []entra.Credential{
		entra.CredentialChain(cfg.Credential),
		entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return cfg.Credential,
				nil
		}),
	}
	for _, v := range []any{list, struct{ list []entra.Credential }{list}, cfg.Credential, cfg, &cfg, c, source, info,
		cfg.Cache, hidden, &hidden, resp, &resp, result, *result} {
		j, _ := json.Marshal(v)
		var binary bytes.Buffer // gob may write a part before it fails
		_ = gob.NewEncoder(&binary).Encode(v)
		forms := []string{string(j), binary.String()}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			forms = append(forms, fmt.Sprintf(verb, v))
		}
		for _, secret := range []string{"daemon-secret", "6461656d6f6e2d736563726574", tok.AccessToken} {
			for _, form := range forms {
				if strings.Contains(form, secret) {
					t.Errorf("%T prints %q in %.200s", v, secret, form)
				}
			}
		}
	}
}
