package redisstore_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/auth"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

const principal = "dddddddd-0000-4000-8000-00000000000d"

// newSource returns a source of tokens. issued is called with each token before the source gets it.
func newSource(t *testing.T, lifetime time.Duration, issued func(token string),
) (*entratest.Server, *entra.TokenSource) {
	t.Helper()
	s := testkit.Server(func(c *entratest.Config) { c.Lifetime = func() time.Duration { return lifetime } })
	r := testkit.NewRecorder(s.Client().Transport)
	r.ChangeResponses(func(_ url.Values, response map[string]any) {
		if token, ok := response["access_token"].(string); ok {
			issued(token)
		}
	})
	client := testkit.Client(t, testkit.ClientConfig(s, "daemon", r))
	return s, clientcreds.TokenSource(client, "api://api-b/.default")
}

// listener records the passwords that it is given.
type listener struct {
	mu        sync.Mutex // guards passwords
	passwords []string
}

func (l *listener) OnNext(c auth.Credentials) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, password := c.BasicAuth()
	l.passwords = append(l.passwords, password)
}

func (l *listener) OnError(error) {}

func (l *listener) seen() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.passwords)
}

// A connection gets each new token once. After an outage of Entra of two hours, tokens are refreshed again.
// (redis/go-redis-entraid stops after some failures.)
func TestCredentialsFollowRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, source := newSource(t, time.Hour, func(string) {})
		credentials := redisstore.NewCredentials(source, principal)
		l := new(listener)
		first, unsubscribe, err := credentials.Subscribe(l)
		if err != nil {
			t.Fatal(err)
		}
		if user, password := first.BasicAuth(); user != principal || len(strings.Split(password, ".")) != 3 {
			t.Errorf("got user %q and password %.20q, want %q and a token", user, password, principal)
		}
		if _, _, err := credentials.Subscribe(l); err != nil { // again, as go-redis does for a connection that it reuses
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		before := len(l.seen())
		if before < 2 || before > 4 {
			t.Errorf("got %d tokens in two hours, want 2 to 4", before)
		}
		recovered := s.Inject(entratest.Fault{Endpoint: "token", Status: 503})
		time.Sleep(2 * time.Hour)
		if n := len(l.seen()); n != before {
			t.Errorf("got %d tokens during the outage, want none", n-before)
		}
		recovered()
		time.Sleep(5 * time.Minute)
		passwords := l.seen()
		if len(passwords) != before+1 {
			t.Errorf("got %d tokens in five minutes after the outage, want 1", len(passwords)-before)
		}
		if len(slices.Compact(slices.Sorted(slices.Values(passwords)))) != len(passwords) {
			t.Error("got a token twice")
		}
		for range 2 { // the second call has no effect
			if err := unsubscribe(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(3 * time.Hour)
		if n := len(l.seen()); n != len(passwords) {
			t.Errorf("got %d tokens after the subscription ended, want none", n-len(passwords))
		}
	})
}

// Real connections authenticate again before their token expires, and no command fails.
func TestRedisAcceptsTokens(t *testing.T) {
	server := servers.RedisWithPassword(t, "--requirepass", "admin-password")
	admin := redis.NewClient(&redis.Options{Addr: server.Addr, Password: "admin-password"})
	defer admin.Close()
	acl := func(rules ...any) {
		if err := admin.Do(t.Context(), append([]any{"ACL", "SETUSER", principal}, rules...)...).Err(); err != nil {
			t.Error(err)
		}
	}
	// As Azure does, the server accepts a token from its issuance on. The one before the last is no longer accepted.
	var mu sync.Mutex // guards tokens
	var tokens []string
	_, source := newSource(t, 5*time.Second, func(token string) {
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, token)
		acl("on", "~*", "+@all", ">"+token)
		if n := len(tokens); n > 2 {
			acl("<" + tokens[n-3])
		}
	})
	issued := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(tokens)
	}
	client := redis.NewClient(&redis.Options{
		Addr: server.Addr, PoolSize: 3, StreamingCredentialsProvider: redisstore.NewCredentials(source, principal),
		MaxRetries: -1,
	})
	defer client.Close()
	for i := 0; issued() < 4; i++ {
		if err := client.Set(t.Context(), "key", i, 0).Err(); err != nil {
			t.Fatalf("after %d tokens: %v", issued(), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	servers.Eventually(t, time.Minute, "the connections authenticate with later tokens", func() bool {
		if err := client.Ping(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		// New connections authenticate with HELLO.
		stats := admin.InfoMap(t.Context(), "commandstats").Val()["Commandstats"]["cmdstat_auth"]
		var calls int
		_, err := fmt.Sscanf(stats, "calls=%d", &calls)
		return err == nil && calls >= 2
	})
	info, err := admin.Do(t.Context(), "ACL", "WHOAMI").Text()
	if err != nil || info != "default" {
		t.Errorf("got %q, %v", info, err)
	}
	if user := fmt.Sprint(client.Do(t.Context(), "ACL", "WHOAMI").Val()); user != principal {
		t.Errorf("got user %q, want %q", user, principal)
	}
}
