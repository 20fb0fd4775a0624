package redisstore

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9/auth"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
)

// Credentials authenticates the connections of go-redis with tokens. Create it with [NewCredentials]. It is safe for
// concurrent use. One goroutine runs while there are connections.
type Credentials struct {
	source   *entra.TokenSource
	username string

	mu        sync.Mutex // guards the fields below
	listeners map[auth.CredentialsListener]struct{}
	stop      context.CancelFunc // ends the goroutine; nil if it does not run
}

var _ auth.StreamingCredentialsProvider = (*Credentials)(nil)

// NewCredentials returns credentials for the field StreamingCredentialsProvider of go-redis. source provides the
// tokens, for Azure Managed Redis for example clientcreds.TokenSource(client, "https://redis.azure.com/.default").
// username is the object ID of the app's service principal or managed identity. (Azure Managed Redis: "Use Microsoft
// Entra for cache authentication".)
//
// Set TLSConfig in the options of go-redis, as in the documentation of the package. Credentials does not see the
// connection, so without TLS the token is sent in clear text.
//
// Connections authenticate again after each refresh of the token, long before it expires. A failed refresh affects no
// connection while the token is usable, and is retried until it succeeds.
func NewCredentials(source *entra.TokenSource, username string) *Credentials {
	return &Credentials{source: source, username: username, listeners: make(map[auth.CredentialsListener]struct{})}
}

// Subscribe returns the current credentials and passes later ones to listener. It is called by go-redis for each new
// connection. Its error is that of [entra.TokenSource.Token].
func (c *Credentials) Subscribe(listener auth.CredentialsListener) (auth.Credentials, auth.UnsubscribeFunc, error) {
	t, err := c.source.Token()
	if err != nil {
		return nil, nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listeners[listener] = struct{}{}
	if c.stop == nil {
		ctx, cancel := context.WithCancel(context.Background())
		c.stop = cancel
		go c.follow(ctx, t)
	}
	return c.credentials(t), func() error { c.unsubscribe(listener); return nil }, nil
}

func (c *Credentials) unsubscribe(listener auth.CredentialsListener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listeners, listener)
	if len(c.listeners) == 0 && c.stop != nil {
		c.stop()
		c.stop = nil
	}
}

// retryInterval is the wait after a failure without a usable token.
const retryInterval = 5 * time.Second

// follow passes each token after t to the listeners until ctx ends.
func (c *Credentials) follow(ctx context.Context, t *oauth2.Token) {
	for ctx.Err() == nil {
		next, err := c.source.Next(ctx, t)
		if err != nil {
			select {
			case <-time.After(retryInterval):
			case <-ctx.Done():
			}
			continue
		}
		t = next
		for _, l := range c.current(ctx) {
			l.OnNext(c.credentials(t))
		}
	}
}

// current returns the listeners, unless ctx has ended.
func (c *Credentials) current(ctx context.Context) (listeners []auth.CredentialsListener) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil {
		return nil
	}
	for l := range c.listeners {
		listeners = append(listeners, l)
	}
	return listeners
}

func (c *Credentials) credentials(t *oauth2.Token) auth.Credentials {
	return auth.NewBasicCredentials(c.username, t.AccessToken)
}
