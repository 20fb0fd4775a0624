package kafka

import (
	"context"
	"crypto/tls"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
)

// recipe franz-go azidentity

func newClient(
	credential azcore.TokenCredential, broker string, config *tls.Config, opts ...kgo.Opt,
) (*kgo.Client, error) {
	options := policy.TokenRequestOptions{Scopes: []string{"https://contoso.servicebus.windows.net/.default"}}
	mechanism := oauth.Oauth(func(ctx context.Context) (oauth.Auth, error) {
		token, err := credential.GetToken(ctx, options)
		return oauth.Auth{Token: token.Token}, err
	})
	opts = append(opts, kgo.SeedBrokers(broker), kgo.DialTLSConfig(config), kgo.SASL(mechanism))
	return kgo.NewClient(opts...)
}

// end recipe

// recipe sarama azidentity

func newConfig(credential azcore.TokenCredential, config *tls.Config) *sarama.Config {
	c := sarama.NewConfig()
	c.Net.TLS.Enable, c.Net.TLS.Config = true, config
	c.Net.SASL.Enable = true
	c.Net.SASL.Mechanism = sarama.SASLTypeOAuth
	c.Net.SASL.TokenProvider = credentialProvider{credential}
	return c
}

type credentialProvider struct{ credential azcore.TokenCredential }

func (p credentialProvider) Token() (*sarama.AccessToken, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	options := policy.TokenRequestOptions{Scopes: []string{"https://contoso.servicebus.windows.net/.default"}}
	token, err := p.credential.GetToken(ctx, options)
	if err != nil {
		return nil, err
	}
	return &sarama.AccessToken{Token: token.Token}, nil
}

// end recipe

var _, _ = newClient, newConfig
