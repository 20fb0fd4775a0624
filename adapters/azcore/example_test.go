package azcredential_test

import (
	"log"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/entratoken/entra"
	azcredential "github.com/entratoken/entra/adapters/azcore"
	"github.com/entratoken/entra/managedidentity"
)

// A daemon reads secrets from a vault.
func ExampleNew() {
	client, err := entra.New(entra.Config{
		TenantID:     "11111111-1111-4111-8111-111111111111",
		ClientID:     "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential:   entra.Secret("daemon-secret"),
		Capabilities: []string{entra.CapabilityCAE}, // the clients of the SDK handle claims challenges
	})
	if err != nil {
		log.Fatal(err)
	}
	credential, err := azcredential.New(client, nil)
	if err != nil {
		log.Fatal(err)
	}
	secrets, err := azsecrets.NewClient("https://contoso.vault.azure.net", credential, nil)
	if err != nil {
		log.Fatal(err)
	}
	_ = secrets
	// Output:
}

// A program in Azure reads a secret from Key Vault with its managed identity.
func ExampleForIdentity() {
	identity, err := managedidentity.New(managedidentity.Config{})
	if err != nil {
		log.Fatal(err)
	}
	credential, err := azcredential.ForIdentity(identity)
	if err != nil {
		log.Fatal(err)
	}
	secrets, err := azsecrets.NewClient("https://contoso.vault.azure.net", credential, nil)
	if err != nil {
		log.Fatal(err)
	}
	_ = secrets
	// Output:
}
