package clientcreds_test

import (
	"errors"
	"fmt"
	"log"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

// exampleClient returns a client for the daemon of a fake Entra.
func exampleClient(server *entratest.Server) *entra.Client {
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   server.App("daemon").ClientID,
		Credential: entra.Secret("daemon-secret"),
		HTTPClient: server.Client(), // the fake Entra; leave out HTTPClient in production
	})
	if err != nil {
		log.Fatal(err)
	}
	return client
}

// The first call of Token sends a request to Entra. Later calls return the cached token.
func ExampleTokenSource() {
	server := entratest.NewServer(entratest.Sample())
	source := clientcreds.TokenSource(exampleClient(server), "api://api-b/.default")
	for range 3 {
		if _, err := source.Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("requests to Entra:", server.TokenRequests())
	// Output: requests to Entra: 1
}

// Check detects a wrong scope when the program starts.
func ExampleCheck() {
	server := entratest.NewServer(entratest.Sample())
	err := clientcreds.Check(exampleClient(server), "https://graph.microsoft.com/User.Read.All")
	var e *entra.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code)
		_, advice, _ := strings.Cut(e.Description, "; ")
		fmt.Println(advice)
	}
	// Output:
	// invalid_scope
	// use "https://graph.microsoft.com/.default"
}
