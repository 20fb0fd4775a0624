// Package kubernetes has the recipe for client-go.
package kubernetes

import (
	"net/http"

	"k8s.io/client-go/rest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
)

// recipe client-go

// Authenticate makes clients with config authenticate to Azure Kubernetes Service with the app's token.
func Authenticate(config *rest.Config, client *entra.Client) {
	source := clientcreds.TokenSource(client, "6dae42f8-4368-4678-94ff-3960e28e3630/.default")
	config.Wrap(func(base http.RoundTripper) http.RoundTripper {
		return &entra.Transport{Source: source, Base: base}
	})
}

// end recipe
