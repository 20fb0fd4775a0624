package integration_test

import (
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// Package verify, go-oidc and lestrrat-go/jwx accept and reject the same tokens.
//
// The peers support one issuer each and are configured with that of the token's tenant. go-oidc finds it in the
// tenant's document. The issuer of a version 1 token is not the URL of its document, so InsecureIssuerURLContext is
// necessary. Requests to the public cloud are served in the process.
func TestPeersAgreeOnTokens(t *testing.T) {
	const (
		host  = "https://login.microsoftonline.com/"
		other = entratest.SampleOtherTenant
		carol = "carol@fabrikam.onmicrosoft.com"
	)
	server := entratest.NewServer(entratest.Sample())
	for _, test := range []struct {
		name     string
		token    entratest.MintOptions
		tenants  []string // that the verifier accepts
		tenant   string   // of the token
		audience string
	}{
		{"delegated v2", entratest.MintOptions{Resource: "api-b", Client: "api-a", User: alice, Version: 2}, []string{tenant},
			tenant, apiBID},
		{"delegated v1", entratest.MintOptions{Resource: "api-b", Client: "api-a", User: alice, Version: 1}, []string{tenant},
			tenant, "api://api-b"},
		{"app-only v2", entratest.MintOptions{Resource: "api-b", Client: "daemon", Version: 2}, []string{tenant}, tenant,
			apiBID},
		{"app-only v1", entratest.MintOptions{Resource: "api-b", Client: "daemon", Version: 1}, []string{tenant}, tenant,
			"api://api-b"},
		{"another tenant's user, v2", entratest.MintOptions{Resource: "api-b", Client: "api-a", User: carol, Tenant: other,
			Version: 2}, []string{verify.AnyTenant}, other, apiBID},
		{"another tenant's user, v1", entratest.MintOptions{Resource: "api-b", Client: "api-a", User: carol, Tenant: other,
			Version: 1}, []string{tenant, other}, other, "api://api-b"},
		{"another tenant's app", entratest.MintOptions{Resource: "api-b", Client: "daemon", Tenant: other},
			[]string{verify.AnyOrganization}, other, apiBID},
		{"ID token", entratest.MintOptions{Resource: "webapp", User: alice, IDToken: true, Nonce: "a-nonce"},
			[]string{tenant}, tenant, webappID},
		{"another tenant's ID token", entratest.MintOptions{Resource: "webapp", User: carol, Tenant: other, IDToken: true,
			Nonce: "a-nonce"}, []string{verify.AnyTenant}, other, webappID},
	} {
		t.Run(test.name, func(t *testing.T) {
			verifier := must[*verify.Verifier](t)(verify.New(verify.Config{
				Audiences: []string{test.audience}, Tenants: test.tenants, HTTPClient: server.Client(),
			}))
			ours := func(raw string) (string, error) {
				if test.token.IDToken {
					claims, err := verifier.IDToken(t.Context(), raw, test.token.Nonce)
					if err != nil {
						return "", err
					}
					return claims.Subject, nil
				}
				token, err := verifier.Verify(t.Context(), raw)
				if err != nil {
					return "", err
				}
				return token.Claims().Subject, nil
			}

			issuer, document := host+test.tenant+"/v2.0", host+test.tenant+"/v2.0"
			if test.token.Version == 1 {
				issuer, document = "https://sts.windows.net/"+test.tenant+"/", host+test.tenant
			}
			ctx := oidc.ClientContext(t.Context(), server.Client())
			provider := must[*oidc.Provider](t)(oidc.NewProvider(oidc.InsecureIssuerURLContext(ctx, issuer), document))
			goOIDC := func(raw string) (string, error) {
				token, err := provider.VerifierContext(ctx, &oidc.Config{ClientID: test.audience}).Verify(ctx, raw)
				if err != nil {
					return "", err
				}
				return token.Subject, nil
			}

			keys := must[jwk.Set](t)(jwk.Fetch(t.Context(), host+test.tenant+"/discovery/v2.0/keys",
				jwk.WithHTTPClient(server.Client())))
			for i := range keys.Len() {
				key, _ := keys.Key(i)
				if err := key.Set(jwk.AlgorithmKey, "RS256"); err != nil { // Entra's keys have no alg
					t.Fatal(err)
				}
			}
			lestrrat := func(raw string) (string, error) {
				token, err := jwt.ParseString(raw, jwt.WithKeySet(keys), jwt.WithIssuer(issuer), jwt.WithAudience(test.audience))
				if err != nil {
					return "", err
				}
				subject, _ := token.Subject()
				return subject, nil
			}

			changed := func(change func(*entratest.MintOptions)) string {
				options := test.token
				change(&options)
				return server.Mint(options)
			}
			good := server.Mint(test.token)
			last := strings.LastIndexByte(good, '.')
			elsewhere := tenant
			if test.tenant == tenant {
				elsewhere = other
			}
			rejected := map[string]string{
				"a changed signature":       good[:last+1] + flip(good[last+1:]),
				"a changed claim":           good[:last-1] + flip(good[last-1:last]) + good[last:],
				"no signature":              good[:last+1],
				"alg none":                  changed(func(o *entratest.MintOptions) { o.Header = map[string]any{"alg": "none"} }),
				"HS256 with the public key": changed(func(o *entratest.MintOptions) { o.Header = map[string]any{"alg": "HS256"} }),
				"a stranger's key":          changed(func(o *entratest.MintOptions) { o.UnpublishedKey = true }),
				"another audience":          changed(func(o *entratest.MintOptions) { o.Claims = map[string]any{"aud": apiAID} }),
				"another tenant's issuer": changed(func(o *entratest.MintOptions) {
					o.Claims = map[string]any{"iss": strings.Replace(issuer, test.tenant, elsewhere, 1)}
				}),
				"expired": changed(func(o *entratest.MintOptions) { o.Lifetime = -10 * time.Minute }),
			}
			for name, check := range map[string]func(string) (string, error){"verify": ours, "go-oidc": goOIDC,
				"jwx": lestrrat} {
				subject, err := check(good)
				if err != nil || subject == "" {
					t.Errorf("%s: got error %v, want the token accepted", name, err)
				}
				for what, raw := range rejected {
					if _, err := check(raw); err == nil {
						t.Errorf("%s: got %s accepted", name, what)
					}
				}
			}
		})
	}
}

// flip changes the first character of a base64url text.
func flip(text string) string {
	if text[0] == 'A' {
		return "B" + text[1:]
	}
	return "A" + text[1:]
}
