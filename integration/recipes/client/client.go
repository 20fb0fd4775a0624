// Package client has the client that all recipes start with.
package client

import (
	"os"

	"github.com/entratoken/entra"
)

// recipe client

// New returns a client that authenticates with a secret.
func New() (*entra.Client, error) {
	return entra.New(entra.Config{
		TenantID:   "11111111-1111-4111-8111-111111111111",
		ClientID:   "aaaaaaaa-0000-4000-8000-00000000000d",
		Credential: entra.Secret(os.Getenv("AZURE_CLIENT_SECRET")),
	})
}

// end recipe
