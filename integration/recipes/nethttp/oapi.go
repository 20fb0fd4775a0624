package nethttp

import (
	"context"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
)

// recipe oapi-codegen

// AddToken returns a RequestEditorFn, for the option WithRequestEditorFn of a client that oapi-codegen has generated.
func AddToken(client *entra.Client, scope string) func(context.Context, *http.Request) error {
	source := clientcreds.TokenSource(client, scope)
	return func(ctx context.Context, req *http.Request) error {
		token, err := source.AccessToken(ctx)
		req.Header.Set("Authorization", "Bearer "+token)
		return err
	}
}

// end recipe
