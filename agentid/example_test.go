package agentid_test

import (
	"crypto/sha256"
	"fmt"
	"log"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/agentid"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

// verified is a token that was validated.
type verified string

func (v verified) Raw() string               { return string(v) }
func (v verified) SHA256() [sha256.Size]byte { return sha256.Sum256([]byte(v)) }

// fakeBlueprint returns the client of a blueprint of a fake Entra.
func fakeBlueprint() *entra.Client {
	cfg := entratest.Sample()
	entratest.AddSampleAgents(&cfg)
	fake := entratest.NewServer(cfg) // in production, leave HTTPClient nil
	blueprint, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("blueprint").ClientID,
		Credential: entra.Secret("blueprint-secret"), // in production, a managed identity or a certificate
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	return blueprint
}

// An agent calls an API as itself.
func ExampleNew() {
	agent, err := agentid.New(fakeBlueprint(), "aaaaaaaa-0000-4000-8000-0000000000a1")
	if err != nil {
		log.Fatal(err)
	}
	source := clientcreds.TokenSource(agent, "api://api-b/.default")
	if _, err := source.Token(); err != nil {
		log.Fatal(err)
	}
	info, _ := source.Cached()
	fmt.Println("the agent has a token for", info.Scopes)
	// Output: the agent has a token for [api://api-b/.default]
}

// An agent calls an API as its own user account.
func ExampleUserTokenSource() {
	agent, err := agentid.New(fakeBlueprint(), "aaaaaaaa-0000-4000-8000-0000000000a1")
	if err != nil {
		log.Fatal(err)
	}
	user := agentid.User{Username: "agent@contoso.onmicrosoft.com"}
	source := agentid.UserTokenSource(agent, user, "api://api-b/Orders.Read")
	if _, err := source.Token(); err != nil {
		log.Fatal(err)
	}
	info, _ := source.Cached()
	fmt.Println("the agent has a token for", info.Scopes)
	// Output: the agent has a token for [api://api-b/Orders.Read]
}
