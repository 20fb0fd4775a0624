// Package goredis has the recipe for go-redis.
package goredis

import (
	"crypto/tls"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// recipe go-redis

// NewClient returns a client of an Azure Managed Redis. principal is the object ID of the app's service principal.
func NewClient(client *entra.Client, addr, principal string, config *tls.Config) *redis.Client {
	source := clientcreds.TokenSource(client, "https://redis.azure.com/.default")
	return redis.NewClient(&redis.Options{
		Addr:                         addr,
		TLSConfig:                    config,
		StreamingCredentialsProvider: redisstore.NewCredentials(source, principal),
	})
}

// end recipe
