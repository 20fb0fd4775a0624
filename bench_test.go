package entra_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
)

// One on-behalf-of exchange with an Entra that answers at once: ours, with a new MSAL
// client each time, beside a long-lived MSAL client.
func BenchmarkExchange(b *testing.B) {
	cfg := newEstate().config("api-a")
	cfg.HTTPClient = &http.Client{Transport: newFastEntra(b)}
	assertion := func(i int) string { return fmt.Sprintf("e30.e30.%d", i) }
	b.Run("entra", func(b *testing.B) {
		cfg := cfg
		cfg.Cache = cache.New(cache.Options{Size: 1000})
		c := newClient(b, cfg)
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
