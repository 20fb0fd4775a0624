package kafka_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/integration/recipes/kafka"
	"github.com/entratoken/entra/internal/testkit"
)

// broker is a Kafka broker with TLS. kfake does not know OAUTHBEARER, so the test responds to SASL requests.
type broker struct {
	addr   string
	config *tls.Config // of clients

	mu    sync.Mutex // guards token
	token string     // of the last connection
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	serverConfig, config := recipetest.TLS(t)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.TLS(serverConfig), kfake.SeedTopics(1, "orders"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	b := &broker{addr: cluster.ListenAddrs()[0], config: config}
	cluster.ControlKey(17, func(r kmsg.Request) (kmsg.Response, error, bool) { // SASLHandshake
		cluster.KeepControl()
		resp := r.ResponseKind().(*kmsg.SASLHandshakeResponse)
		resp.SupportedMechanisms = []string{"OAUTHBEARER"}
		if r.(*kmsg.SASLHandshakeRequest).Mechanism != "OAUTHBEARER" {
			resp.ErrorCode = 33 // UNSUPPORTED_SASL_MECHANISM
		}
		return resp, nil, true
	})
	cluster.ControlKey(36, func(r kmsg.Request) (kmsg.Response, error, bool) { // SASLAuthenticate
		cluster.KeepControl()
		// The client's first message of RFC 7628, section 3.1.
		message := string(r.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes)
		token, ok := strings.CutPrefix(message, "n,,\x01auth=Bearer ")
		token, end := strings.CutSuffix(token, "\x01\x01")
		resp := r.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		if !ok || !end {
			resp.ErrorCode = 58 // SASL_AUTHENTICATION_FAILED
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.token = token
		return resp, nil, true
	})
	return b
}

func (b *broker) lastToken() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.token
}

func TestNewClient(t *testing.T) {
	recipetest.Fit{Resource: recipetest.EventHubs, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		b := newBroker(t)
		return func(ctx context.Context) (string, error) {
			c, err := kafka.NewClient(client, b.addr, b.config, kgo.RequestRetries(0))
			if err != nil {
				return "", err
			}
			defer c.Close()
			record := &kgo.Record{Topic: "orders", Value: []byte("one")}
			if err := c.ProduceSync(ctx, record).FirstErr(); err != nil {
				return "", err
			}
			return b.lastToken(), nil
		}
	}}.Test(t)
}

// connectHook receives the error of each attempt to connect, which includes authentication.
type connectHook chan error

func (h connectHook) OnBrokerConnect(_ kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	select {
	case h <- err:
	default: // The test reads only the first error.
	}
}

// franz-go passes the context of its client to the callback that acquires the token, and not the context of the call.
// The token call must return when the client is closed, even if Entra does not respond.
func TestCloseCancelsTheTokenCall(t *testing.T) {
	requested := make(chan struct{}, 1)
	noResponse := testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
		select {
		case requested <- struct{}{}:
		default:
		}
		select {
		case <-r.Context().Done():
		case <-t.Context().Done():
		}
		return nil, errors.New("no response")
	})
	client := testkit.Client(t, testkit.ClientConfig(recipetest.New().Server, "daemon", noResponse))
	b := newBroker(t)
	connected := make(connectHook, 1)
	c, err := kafka.NewClient(client, b.addr, b.config, kgo.RequestRetries(0), kgo.WithHooks(connected))
	if err != nil {
		t.Fatal(err)
	}
	c.Produce(t.Context(), &kgo.Record{Topic: "orders", Value: []byte("one")}, nil)
	<-requested
	c.Close()
	if err := <-connected; !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
}

func TestNewConfig(t *testing.T) {
	recipetest.Fit{Resource: recipetest.EventHubs, NoContext: true, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		b := newBroker(t)
		return func(context.Context) (string, error) {
			config := kafka.NewConfig(client, b.config)
			config.Producer.Return.Successes = true
			producer, err := sarama.NewSyncProducer([]string{b.addr}, config)
			if err != nil {
				return "", err
			}
			defer producer.Close()
			message := &sarama.ProducerMessage{Topic: "orders", Value: sarama.StringEncoder("one")}
			if _, _, err := producer.SendMessage(message); err != nil {
				return "", err
			}
			return b.lastToken(), nil
		}
	}}.Test(t)
}
