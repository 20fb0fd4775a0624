package entraotel_test

import (
	"log"

	"github.com/entratoken/entra"
	entraotel "github.com/entratoken/entra/adapters/otel"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/verify"
)

// An API exports its verifications, its own tokens and the expiry of its certificate to the global providers.
func ExampleNew() {
	telemetry, err := entraotel.New(entraotel.Config{})
	if err != nil {
		log.Fatal(err)
	}
	shared, err := telemetry.NewCache(cache.Options{Size: 50_000})
	if err != nil {
		log.Fatal(err)
	}
	credential, err := credentials.CertificateFile("/etc/entra/tls.pem", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: credential,
		Cache:      shared,
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := telemetry.Credential("orders", credential); err != nil {
		log.Fatal(err)
	}
	ledger := clientcreds.TokenSource(client, "api://ledger/.default")
	if err := telemetry.Token("ledger", ledger); err != nil {
		log.Fatal(err)
	}
	verifier, err := verify.New(telemetry.Verify(verify.Config{
		Audiences: []string{"aaaaaaaa-0000-4000-8000-00000000000d"},
		Tenants:   []string{"11111111-1111-4111-8111-111111111111"},
	}))
	if err != nil {
		log.Fatal(err)
	}
	_ = verifier
}
