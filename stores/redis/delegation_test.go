package redisstore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/servers"
	"github.com/entratoken/entra/obo"
	redisstore "github.com/entratoken/entra/stores/redis"
)

type callerToken string

func (t callerToken) Raw() string               { return string(t) }
func (t callerToken) SHA256() [sha256.Size]byte { return sha256.Sum256([]byte(t)) }

// An API begins a delegation, and a worker with a cache and a Redis client of its own resumes it, while Redis is
// down and after it was restarted empty. End reaches the API.
func TestWorkerActsForUser(t *testing.T) {
	const scope = "api://api-b/Orders.Read"
	fake := testkit.Server()
	server := servers.Redis(t)
	process := func() (*entra.Client, *testkit.Recorder) {
		r := testkit.NewRecorder(fake.Client().Transport)
		cfg := testkit.ClientConfig(fake, "api-a", r)
		cfg.Cache = cache.New(cache.Options{
			Store: redisstore.New(newClient(t, server.Addr), nil),
			Keys:  []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
		})
		return testkit.Client(t, cfg), r
	}
	// On a busy machine, a call of the store may take longer than its 250 ms. The steps below are repeated then.
	eventually := func(what string, step func() error) {
		t.Helper()
		var err error
		defer func() {
			if t.Failed() {
				t.Logf("%s: last error: %v", what, err)
			}
		}()
		servers.Eventually(t, time.Minute, what, func() bool {
			err = step()
			return err == nil
		})
	}
	redis := newClient(t, server.Addr)
	caller := fake.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})
	var api *entra.Client
	var apiRequests *testkit.Recorder
	var d obo.Delegation
	eventually("Begin", func() (err error) {
		if err := redis.FlushAll(t.Context()).Err(); err != nil { // the failed attempt may have left a record
			return err
		}
		api, apiRequests = process()
		d, err = obo.Begin(t.Context(), api, callerToken(caller), scope)
		return err
	})
	job, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := redis.Keys(t.Context(), "*").Result()
	if err != nil || len(keys) != 1 {
		t.Fatalf("got keys %v, %v, want one", keys, err)
	}
	ttl, err := redis.PTTL(t.Context(), keys[0]).Result()
	if most := 90 * 24 * time.Hour; err != nil || ttl > most || ttl < most-time.Minute {
		t.Errorf("got lifetime %v, %v, want 90 days", ttl, err)
	}
	value, err := redis.Get(t.Context(), keys[0]).Bytes()
	if err != nil || strings.Contains(keys[0], d.ID) || bytes.Contains(value, []byte(d.ID)) ||
		bytes.Contains(value, []byte(d.ObjectID)) {
		t.Errorf("got key %q, value %q, %v, want a hash and a sealed record", keys[0], value, err)
	}

	resume := func(c *entra.Client) *entra.TokenSource {
		t.Helper()
		var d obo.Delegation
		if err := json.Unmarshal(job, &d); err != nil {
			t.Fatal(err)
		}
		return obo.Resume(c, d, scope)
	}
	use := func(s *entra.TokenSource) (text string) {
		t.Helper()
		var tok *oauth2.Token
		eventually("a token", func() (err error) {
			tok, err = s.Token()
			return err
		})
		if got := testkit.Claims(t, tok.AccessToken)["oid"]; got != d.ObjectID {
			t.Errorf("got a token of %v, want %s", got, d.ObjectID)
		}
		return tok.AccessToken
	}
	worker, requests := process()
	source := resume(worker)
	first := use(source)
	if len(requests.Posts()) != 0 {
		t.Errorf("got %d token requests, want 0", len(requests.Posts()))
	}
	tok, err := source.Token()
	if err != nil {
		t.Fatal(err)
	}
	source.Invalidate(tok)
	if use(source) == first || len(requests.Posts()) != 1 ||
		requests.Posts()[0].Form.Get("grant_type") != "refresh_token" {
		t.Errorf("got the first token or %d token requests, want one refresh", len(requests.Posts()))
	}

	server.Kill()
	use(source) // from memory
	server.Start()
	eventually("a new worker resuming the delegation", func() error {
		newcomer, _ := process()
		_, err := resume(newcomer).Token()
		return err
	})

	eventually("End", func() error { return obo.End(t.Context(), worker, d) })
	servers.Eventually(t, time.Minute, "the end in the API", func() bool {
		_, err := resume(api).Token()
		return errors.Is(err, obo.ErrEnded)
	})
	newcomer, _ := process()
	for name, c := range map[string]*entra.Client{"worker": worker, "newcomer": newcomer} {
		eventually("the end in the "+name, func() error {
			_, err := resume(c).Token()
			switch e, ok := errors.AsType[*entra.Error](err); {
			case ok && e.Temporary():
				return err
			case !errors.Is(err, obo.ErrEnded):
				t.Errorf("%s: got %v, want ErrEnded", name, err)
			}
			return nil
		})
	}
	if n := len(apiRequests.Posts()); n != 1 {
		t.Errorf("got %d token requests of the API, want 1", n)
	}
}
