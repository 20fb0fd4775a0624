package entra_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// One on-behalf-of exchange with an Entra that responds at once: ours, with a new MSAL
// client each time, next to a long-lived MSAL client.
func BenchmarkExchange(b *testing.B) {
	cfg := newEstate().config("api-a")
	cfg.HTTPClient = &http.Client{Transport: newFastEntra(b)}
	assertion := func(i int) string { return fmt.Sprintf("e30.e30.%d", i) }
	b.Run("entra", func(b *testing.B) {
		cfg := cfg
		cfg.Cache = cache.New(cache.Options{Size: 1000})
		c := testkit.Client(b, cfg)
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := obo.TokenSource(c, assertion(i), "s").Token(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("MSAL", func(b *testing.B) {
		cred, err := confidential.NewCredFromSecret("s")
		if err != nil {
			b.Fatal(err)
		}
		c, err := confidential.New("https://login.microsoftonline.com/"+entratest.SampleTenant, cfg.ClientID, cred,
			confidential.WithHTTPClient(cfg.HTTPClient), confidential.WithInstanceDiscovery(false))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := c.AcquireTokenOnBehalfOf(b.Context(), assertion(i), []string{"s"}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A source for each request, with a cached token.
func BenchmarkSource(b *testing.B) {
	e := newEstate()
	daemon, api := e.client(b, "daemon"), e.client(b, "api-a")
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice,
		Claims: map[string]any{"filler": filler[:600]}})
	sum := sha256.Sum256([]byte(assertion))
	for _, bb := range []struct {
		name   string
		source func() *entra.TokenSource
	}{
		{"clientcreds", func() *entra.TokenSource { return clientcreds.TokenSource(daemon, "api://api-b/.default") }},
		{"obo", func() *entra.TokenSource { return obo.TokenSource(api, assertion, "api://api-b/Orders.Read") }},
		{"obo for a verified token", func() *entra.TokenSource {
			return obo.ForToken(api, verified{assertion, sum}, "api://api-b/Orders.Read")
		}},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := bb.source().Token(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run(fmt.Sprintf("SHA-256 of %d bytes", len(assertion)), func(b *testing.B) {
		for b.Loop() {
			sha256.Sum256([]byte(assertion))
		}
	})
	b.Run("time.Now", func(b *testing.B) {
		for b.Loop() {
			_ = time.Now()
		}
	})
}

type verified struct {
	raw string
	sum [sha256.Size]byte
}

func (v verified) Raw() string               { return v.raw }
func (v verified) SHA256() [sha256.Size]byte { return v.sum }
