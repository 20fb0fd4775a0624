// Package kafka has the recipes for Kafka clients.
package kafka

import (
	"context"
	"crypto/tls"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
)

// recipe franz-go

// NewClient returns a client of an Event Hubs namespace, such as contoso.servicebus.windows.net:9093.
func NewClient(client *entra.Client, broker string, config *tls.Config, opts ...kgo.Opt) (*kgo.Client, error) {
	source := clientcreds.TokenSource(client, "https://contoso.servicebus.windows.net/.default")
	mechanism := oauth.Oauth(func(ctx context.Context) (auth oauth.Auth, err error) {
		auth.Token, err = source.AccessToken(ctx)
		return auth, err
	})
	opts = append(opts, kgo.SeedBrokers(broker), kgo.DialTLSConfig(config), kgo.SASL(mechanism))
	return kgo.NewClient(opts...)
}

// end recipe

// recipe sarama

// NewConfig returns a configuration for clients of an Event Hubs namespace.
func NewConfig(client *entra.Client, config *tls.Config) *sarama.Config {
	c := sarama.NewConfig()
	c.Net.TLS.Enable, c.Net.TLS.Config = true, config
	c.Net.SASL.Enable = true
	c.Net.SASL.Mechanism = sarama.SASLTypeOAuth
	c.Net.SASL.TokenProvider = provider{
		clientcreds.TokenSource(client, "https://contoso.servicebus.windows.net/.default"),
	}
	return c
}

type provider struct{ source *entra.TokenSource }

func (p provider) Token() (*sarama.AccessToken, error) {
	token, err := p.source.Token()
	if err != nil {
		return nil, err
	}
	return &sarama.AccessToken{Token: token.AccessToken}, nil
}

// end recipe
