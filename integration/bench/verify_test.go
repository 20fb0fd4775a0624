package bench_test

import (
	"context"
	"crypto/sha256"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// BenchmarkVerify validates an access token and reads its claims. "entra-repeat" has validated the token before, and
// "entra-first" has not. go-oidc does not distinguish them.
func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	s := entratest.NewServer(entratest.Sample())
	mint := func() string {
		return s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
	}
	raw := mint()
	text := []byte(raw)
	both(b, "sha256", func() error { sha256.Sum256(text); return nil })

	audience := s.App("api-a").ClientID
	newVerifier := func(size int) *verify.Verifier {
		v, err := verify.New(verify.Config{
			Audiences: []string{audience}, Tenants: []string{entratest.SampleTenant}, HTTPClient: s.Client(), CacheSize: size,
		})
		if err != nil {
			b.Fatal(err)
		}
		return v
	}
	v := newVerifier(0)
	both(b, "entra-repeat", func() error { _, err := v.Verify(ctx, raw); return err })
	uncached := newVerifier(-1)
	both(b, "entra-first", func() error { _, err := uncached.Verify(ctx, raw); return err })

	ctx = oidc.ClientContext(ctx, s.Client())
	p, err := oidc.NewProvider(ctx, host+entratest.SampleTenant+"/v2.0")
	if err != nil {
		b.Fatal(err)
	}
	other := p.VerifierContext(ctx, &oidc.Config{ClientID: audience})
	both(b, "go-oidc", func() error {
		token, err := other.Verify(ctx, raw)
		if err != nil {
			return err
		}
		var claims struct {
			TenantID string `json:"tid"`
			ObjectID string `json:"oid"`
			Scopes   string `json:"scp"`
			Name     string `json:"name"`
		}
		return token.Claims(&claims)
	})
}
