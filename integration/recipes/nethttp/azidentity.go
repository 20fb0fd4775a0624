package nethttp

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// recipe nethttp azidentity

func newClient(credential azcore.TokenCredential, scope string) *http.Client {
	return &http.Client{Transport: &transport{credential, scope, http.DefaultTransport}, Timeout: 30 * time.Second}
}

type transport struct {
	credential azcore.TokenCredential
	scope      string
	base       http.RoundTripper
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	options := policy.TokenRequestOptions{Scopes: []string{t.scope}}
	token, err := t.credential.GetToken(req.Context(), options)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Token)
	return t.base.RoundTrip(req)
}

// end recipe

// recipe oapi-codegen azidentity

func addToken(credential azcore.TokenCredential, scope string) func(context.Context, *http.Request) error {
	options := policy.TokenRequestOptions{Scopes: []string{scope}}
	return func(ctx context.Context, req *http.Request) error {
		token, err := credential.GetToken(ctx, options)
		req.Header.Set("Authorization", "Bearer "+token.Token)
		return err
	}
}

// end recipe

var _, _ = newClient, addToken
