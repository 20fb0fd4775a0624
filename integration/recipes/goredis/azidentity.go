package goredis

import (
	"context"
	"crypto/tls"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/redis/go-redis/v9"
)

// recipe go-redis azidentity

// newClient returns a client whose connections do not authenticate again. The server closes one when its token expires.
func newClient(credential azcore.TokenCredential, addr, principal string, config *tls.Config) *redis.Client {
	options := policy.TokenRequestOptions{Scopes: []string{"https://redis.azure.com/.default"}}
	return redis.NewClient(&redis.Options{
		Addr:      addr,
		TLSConfig: config,
		CredentialsProviderContext: func(ctx context.Context) (string, string, error) {
			token, err := credential.GetToken(ctx, options)
			return principal, token.Token, err
		},
	})
}

// end recipe

var _ = newClient
