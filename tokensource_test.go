package entra_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/devlogin"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

func hour(c *entratest.Config) { c.Lifetime = func() time.Duration { return time.Hour } }

// 100 cold callers of one token send one token request.
func TestOneRequestForManyCallers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second, Times: 1})
		c := e.client(t, "daemon")
		tokens := make(chan string, 100)
		for range cap(tokens) {
			go func() {
				tok, err := clientcreds.TokenSource(c, "api://api-b/.default").TokenContext(t.Context())
				if err != nil {
					t.Error(err)
				}
				tokens <- tok.AccessToken
			}()
		}
		first := <-tokens
		for range cap(tokens) - 1 {
			if <-tokens != first {
				t.Error("callers got different tokens")
			}
		}
		if n := e.TokenRequests(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}

// 20 tenants on an endpoint that takes a second take a second.
func TestTenantsDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) {
			for i := range 20 {
				c.Tenants = append(c.Tenants, entratest.Tenant{ID: fmt.Sprintf("33333333-0000-4000-8000-%012d", i)})
			}
		})
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second})
		c := e.client(t, "daemon")
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				tenant, err := c.WithTenant(fmt.Sprintf("33333333-0000-4000-8000-%012d", i))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := clientcreds.TokenSource(tenant, "api://api-b/.default").TokenContext(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != time.Second {
			t.Errorf("took %v, want 1s", took)
		}
	})
}

func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 10 * time.Second, Times: 1})
		source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
		ctx, cancel := context.WithCancel(t.Context())
		left := make(chan error)
		go func() {
			_, err := source.TokenContext(ctx)
			left <- err
		}()
		synctest.Wait()
		start := time.Now()
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("left after %v with %v", time.Since(start), err)
		}
		if _, err := source.TokenContext(t.Context()); err != nil {
			t.Error(err)
		}
		if n := e.TokenRequests(); n != 1 {
			t.Errorf("%d token requests, want 1", n)
		}
	})
}

// One call per second for a day, tokens of 60 to 90 minutes, a token endpoint that takes two
// seconds. No caller waits after the first call, and Entra gets one request per token.
func TestNoCallerWaitsForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 2 * time.Second})
		source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
		waited, tokens := 0, map[string]bool{}
		for start := time.Now(); time.Since(start) < 24*time.Hour; time.Sleep(time.Second) {
			start := time.Now()
			tok, err := source.TokenContext(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if time.Since(start) > 0 {
				waited++
			}
			if time.Until(tok.Expiry) < time.Minute {
				t.Fatalf("served a token that ends in %v", time.Until(tok.Expiry))
			}
			tokens[tok.AccessToken] = true
		}
		time.Sleep(time.Minute) // a refresh may be in flight
		synctest.Wait()
		if waited != 1 {
			t.Errorf("%d calls waited, want 1", waited)
		}
		// Lives of 60 to 90 minutes are replaced after 60-70 % of them, 36 to 63 minutes; the
		// first may be replaced earlier.
		n := e.TokenRequests()
		if n < 24*60/63 || n > 24*60/36+1 {
			t.Errorf("%d requests in a day, want 22 to 41", n)
		}
		if n != len(tokens) && n != len(tokens)+1 {
			t.Errorf("%d requests for %d tokens", n, len(tokens))
		}
	})
}

func TestOutageIsInvisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
		if _, err := source.Token(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(cached(t, source).RefreshAt))
		remove := e.Inject(entratest.Fault{Endpoint: "token", Drop: true})
		before := e.TokenRequests()
		call := func() {
			t.Helper()
			start := time.Now()
			if _, err := source.Token(); err != nil || time.Since(start) > 0 {
				t.Fatalf("%v after %v", err, time.Since(start))
			}
			time.Sleep(time.Second)
		}
		for range 600 {
			call()
		}
		// No caller waits, so the attempts are spread over the remaining lifetime.
		if n := len(e.Forms()) - before; n < 1 || n > 12 { // a back-off of a minute would make some twenty
			t.Errorf("%d attempts in ten minutes", n)
		}
		remove()
		old := cached(t, source)
		for time.Now().Before(old.ExpiresAt.Add(-time.Minute)) {
			call()
		}
		if cached(t, source).ObtainedAt.Equal(old.ObtainedAt) {
			t.Error("not refreshed before the token's end")
		}
	})
}

func TestThrottledColdKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: "60", Times: 1})
		c := e.client(t, "daemon")
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 59 * time.Millisecond)
				_, err := clientcreds.TokenSource(c, "api://api-b/.default").Token()
				if got := testkit.Error(t, err); got.StatusCode != 429 || got.RetryAfter != time.Minute || !got.Temporary() {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if n := e.TokenRequests(); n != 1 {
			t.Errorf("%d token requests in %v, want 1", n, time.Since(start))
		}
		time.Sleep(time.Until(start.Add(time.Minute + 2*time.Second))) // Retry-After, and up to 2 s drawn
		if _, err := clientcreds.TokenSource(c, "api://api-b/.default").Token(); err != nil {
			t.Error(err)
		}
	})
}

func TestNoRefreshTokenLeaves(t *testing.T) {
	e := newEstate()
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	tok, err := obo.TokenSource(e.client(t, "api-a"), assertion, "api://api-b/Orders.Read").Token()
	if err != nil {
		t.Fatal(err)
	}
	if tok.RefreshToken != "" || tok.Extra("refresh_token") != nil || tok.Type() != "Bearer" || !tok.Valid() {
		t.Errorf("got %+v", tok)
	}
}

// A user's grant never sends a client credentials request, and the app's own grant sends
// nothing else.
func TestGrantsKeepTheirKind(t *testing.T) {
	e := newEstate()
	c := e.client(t, "api-a")
	forApp := func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		return r.ClientCredentials(ctx)
	}
	for _, tt := range []struct {
		grant entra.Grant
		text  string
	}{
		{entra.Grant{Flow: "f", Subject: "user", Scope: "api://api-b/.default", Fetch: forApp},
			"the grant is for a user's token, but the request is for the app's own token"},
		{entra.Grant{Flow: "f", Scopes: []string{"api://api-b/Orders.Read"}, Fetch: oboFetch(e, "api://api-b/Orders.Read")},
			"the grant is for the app's own token, but the request is for a user's token"},
	} {
		_, err := c.TokenSource(tt.grant).Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" || !strings.Contains(got.Description, tt.text) {
			t.Errorf("got %v", err)
		}
	}
	wantForms(t, e)
}

// A Fetch may get the token elsewhere. Its response is validated.
func TestFetchMayUseAnotherSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newEstate().client(t, "daemon")
		result := entra.TokenResponse{AccessToken: "x", ExpiresIn: time.Hour, Scopes: []string{"s"}}
		fetch := func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			return &result, nil
		}
		source := c.TokenSource(entra.Grant{Flow: "f", Fetch: fetch})
		tok, err := source.Token()
		if err != nil || tok.AccessToken != "x" || time.Until(tok.Expiry) != time.Hour ||
			!reflect.DeepEqual(cached(t, source).Scopes, []string{"s"}) {
			t.Errorf("got %v, %v", tok, err)
		}
		for _, g := range []entra.Grant{{Flow: "f", Subject: "user", Fetch: fetch}} {
			if _, err := c.TokenSource(g).Token(); testkit.Error(t, err).Code != entra.CodeInvalidResponse {
				t.Errorf("a token without a user was taken for one: %v", err)
			}
		}
		result.HomeAccountID = "uid.utid"
		if _, err := c.TokenSource(entra.Grant{Flow: "g", Fetch: fetch}).Token(); testkit.Error(t,
			err).Code != entra.CodeInvalidResponse {
			t.Errorf("a user's token was taken for the app's own: %v", err)
		}
		g := entra.Grant{Flow: "f", Subject: "other.utid", RefreshToken: true, Fetch: fetch}
		if _, err := c.TokenSource(g).Token(); testkit.Error(t, err).Code != entra.CodeInvalidResponse {
			t.Errorf("another user's token was taken: %v", err)
		}
	})
}

func TestInvalidGrantsAreRejected(t *testing.T) {
	e := newEstate()
	c := e.client(t, "daemon")
	fetch := func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
		t.Error("Fetch was called")
		return nil, nil
	}
	for _, tt := range []struct {
		grant entra.Grant
		code  string
	}{
		{entra.Grant{Fetch: fetch}, "invalid_request"},
		{entra.Grant{Flow: "f"}, "invalid_request"},
		{entra.Grant{Flow: "f", Scopes: []string{""}, Fetch: fetch}, "invalid_scope"},
		{entra.Grant{Flow: "f", Scopes: []string{"a b"}, Fetch: fetch}, "invalid_scope"},
		{entra.Grant{Flow: "f", Scope: "a b", Fetch: fetch}, "invalid_scope"},
		{entra.Grant{Flow: "f", NotAfter: time.Now(), Fetch: fetch}, "invalid_grant"},
	} {
		_, err := c.TokenSource(tt.grant).Token()
		if got := testkit.Error(t, err); got.Code != tt.code {
			t.Errorf("got %v, want %s", err, tt.code)
		}
	}
}

// A grant redeems only a refresh token of the same app, flow, subject and session.
func TestGrantRejectsForeignRefreshToken(t *testing.T) {
	e := newEstate()
	c := e.client(t, "webapp")
	signIn := entra.Grant{
		Flow: "f", Subject: "user.utid", Session: "s", RefreshToken: true, Scope: "api://api-b/Orders.Read",
		Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			t.Error("Fetch was called")
			return nil, nil
		},
	}
	other, err := c.WithTenant(entratest.SampleOtherTenant)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(from, g *entra.Grant){
		"subject":           func(_, g *entra.Grant) { g.Subject = "other.utid" },
		"no subject":        func(from, g *entra.Grant) { from.Subject, g.Subject = "", "" },
		"session":           func(_, g *entra.Grant) { g.Session = "" },
		"flow":              func(_, g *entra.Grant) { g.Flow = "g" },
		"own refresh token": func(_, g *entra.Grant) { g.RefreshToken = true },
		"no refresh token":  func(from, _ *entra.Grant) { from.RefreshToken = false },
		"delegation":        func(from, _ *entra.Grant) { from.Delegation = true },
		"zero source":       func(_, g *entra.Grant) { g.RefreshTokenOf = new(entra.TokenSource) },
		"app":               func(_, g *entra.Grant) { g.RefreshTokenOf = e.client(t, "api-a").TokenSource(signIn) },
	} {
		from, g := signIn, signIn
		g.RefreshToken = false
		change(&from, &g)
		if g.RefreshTokenOf == nil {
			g.RefreshTokenOf = c.TokenSource(from)
		}
		_, err := other.TokenSource(g).Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" ||
			name != "no subject" && !strings.Contains(got.Description, "refresh token of a source for the same app") {
			t.Errorf("%s: got %v, want invalid_request", name, err)
		}
	}
}

// An error of Fetch that is not an *Error is replaced, since its text may contain secrets.
func TestFetchErrorsAreNotRepeated(t *testing.T) {
	c := newEstate().client(t, "daemon")
	own := &entra.Error{Code: "own", Description: "from the flow"}
	for _, tt := range []struct {
		err  error
		code string
	}{{errors.New("s3cret"), "invalid_request"}, {fmt.Errorf("wrapped: %w", own), "own"}} {
		_, err := c.TokenSource(entra.Grant{Flow: tt.code, Fetch: func(context.Context,
			*entra.TokenRequest) (*entra.TokenResponse, error) {
			return nil, tt.err
		}}).Token()
		if got := testkit.Error(t, err); got.Code != tt.code {
			t.Errorf("got %v", err)
		}
		leaks(t, err, "s3cret")
	}
}

// Callbacks return a nil pointer in a variable of an error type (go.dev/doc/faq#nil_error). That is an error that names
// the mistake, and neither a token nor a panic.
func TestNilPointersAsErrorsAreNamed(t *testing.T) {
	const mistake = "the function returned a nil *entra.Error as its error; without an error it must return nil"
	var none *entra.Error
	s := testkit.Server()
	cfg := testkit.ClientConfig(s, "daemon", s.Client().Transport)
	own := func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		return r.ClientCredentials(ctx)
	}
	for name, test := range map[string]struct {
		credential entra.Credential
		fetch      func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error)
		want       string
	}{
		"Fetch": {cfg.Credential, func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			return &entra.TokenResponse{AccessToken: "a", ExpiresIn: time.Hour}, none
		}, "entra: invalid_request: the grant's Fetch failed: " + mistake},
		"Assertion": {entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
			return "a.b.c", none
		}), own, "entra: invalid_client: the assertion callback failed: " + mistake},
		"CredentialFunc": {entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return cfg.Credential, none
		}), own, "entra: invalid_client: failed to load the credential: " + mistake},
	} {
		cfg.Credential = test.credential
		c := testkit.Client(t, cfg)
		g := entra.Grant{Flow: "own", Scope: "api://api-b/.default", Fetch: test.fetch}
		if _, err := c.TokenSource(g).Token(); err == nil || err.Error() != test.want {
			t.Errorf("%s: got %v, want %s", name, err, test.want)
		}
		if _, err := c.Exchange(t.Context(), g); err == nil || err.Error() != test.want {
			t.Errorf("%s with Exchange: got %v, want %s", name, err, test.want)
		}
	}
}

// Sources that are created for each call share one lookup, for each scope and tenant
// separately, and notice an eviction.
func TestSourceForEachCall(t *testing.T) {
	e := newEstate()
	c := e.client(t, "daemon")
	other, err := c.WithTenant(entratest.SampleOtherTenant)
	if err != nil {
		t.Fatal(err)
	}
	get := func(c *entra.Client, scope string) string {
		t.Helper()
		tok, err := clientcreds.TokenSource(c, scope).Token()
		if err != nil {
			t.Fatal(err)
		}
		return tok.AccessToken
	}
	const b = "api://api-b/.default"
	for range 2 {
		first := get(c, b)
		seen := map[string]bool{first: true, get(c, "api://api-a/.default"): true, get(other, b): true,
			get(other, "api://api-a/.default"): true}
		if len(seen) != 4 {
			t.Errorf("%d tokens for two scopes in two tenants", len(seen))
		}
		for range 3 {
			if get(c, b) != first || !seen[get(other, b)] {
				t.Error("not the cached token")
			}
		}
		c.Cache().Purge(t.Context(), "")
		if get(c, b) == first {
			t.Error("a purged token was served")
		}
		if allocs := testing.AllocsPerRun(100, func() {
			clientcreds.TokenSource(c,
				b).TokenContext(t.Context())
		}); allocs > 2 {
			t.Errorf("%v allocations for a source and a hit", allocs)
		}
		c.Cache().Purge(t.Context(), "")
	}
	if got := e.TokenRequests(); got != 10 {
		t.Errorf("%d requests, want 10", got)
	}
}

// NotAfter bounds a source even if another source of the same grant has no bound.
func TestTokenIsNotServedAfterTheGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newEstate().client(t, "daemon")
		requests := 0
		g := entra.Grant{Flow: "f", Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
			requests++
			return &entra.TokenResponse{AccessToken: fmt.Sprint(requests), ExpiresIn: 10 * time.Hour}, nil // early after an hour
		}}
		unbounded := c.TokenSource(g)
		if _, err := unbounded.Token(); err != nil {
			t.Fatal(err)
		}
		g.NotAfter = time.Now().Add(10 * time.Minute)
		bounded := c.TokenSource(g)
		time.Sleep(10*time.Minute - time.Nanosecond)
		if _, err := bounded.Token(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := bounded.Token(); testkit.Error(t, err).Code != "invalid_grant" {
			t.Errorf("got %v", err)
		}
		if tok, err := unbounded.Token(); err != nil || tok.AccessToken != "1" {
			t.Errorf("got %v, %v", tok, err)
		}
	})
}

// A burst of challenges sends one request with the claims and the declared capabilities. Its
// token replaces the cached one for all callers.
func TestClaimsChallengesShareOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		cfg := e.config("daemon")
		cfg.Capabilities = []string{"cp1"}
		source := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
		first, err := source.Token()
		if err != nil {
			t.Fatal(err)
		}
		const challenge = `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Second})
		tokens := make(chan string)
		for i := range 50 {
			go func() {
				claims := challenge
				if i%2 == 1 {
					claims = base64.StdEncoding.EncodeToString([]byte(challenge))
				}
				tok, err := source.WithClaims(claims).Token()
				if err != nil {
					t.Error(err)
				}
				tokens <- tok.AccessToken
			}()
		}
		second := <-tokens
		for range 49 {
			if got := <-tokens; got != second {
				t.Error("callers got different tokens")
			}
		}
		if tok, _ := source.Token(); tok.AccessToken != second || second == first.AccessToken {
			t.Error("the cached token was not replaced")
		}
		forms := e.Forms()
		if len(forms) != 2 {
			t.Fatalf("%d requests, want 2", len(forms))
		}
		want := `{"access_token":{"nbf":{"essential":true,"value":"1604106651"},"xms_cc":{"values":["cp1"]}}}`
		if got := forms[1].Get("claims"); got != want {
			t.Errorf("claims %s, want %s", got, want)
		}
	})
}

func TestInvalidClaimsAreRejected(t *testing.T) {
	e := newEstate()
	source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
	for _, claims := range []string{"null", "[]", "x", "\x00", `{"a":`, base64.StdEncoding.EncodeToString([]byte("[]"))} {
		if _, err := source.WithClaims(claims).Token(); testkit.Error(t, err).Code != "invalid_request" {
			t.Errorf("%q: %v", claims, err)
		}
	}
	if _, err := source.WithClaims("").Token(); err != nil {
		t.Error(err)
	}
	wantForms(t, e, e.Forms()[0])
}

func TestInvalidateCausesOneRequest(t *testing.T) {
	e := newEstate()
	source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
	get := func() *oauth2.Token {
		t.Helper()
		tok, err := source.TokenContext(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	first := get()
	source.Invalidate(nil)
	source.Invalidate(&oauth2.Token{AccessToken: "another"})
	if get() != first {
		t.Error("dropped for another")
	}
	source.Invalidate(first)
	second := get()
	if second.AccessToken == first.AccessToken {
		t.Error("not dropped")
	}
	source.Invalidate(first)
	if get() != second {
		t.Error("the new token was dropped for the old one")
	}
}

// The wrappers of package oauth2 modify their token, so each caller of Token gets a copy.
func TestTokenIsACopy(t *testing.T) {
	e := newEstate()
	source := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, err := oauth2.ReuseTokenSourceWithExpiry(nil, source, 24*time.Hour).Token(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if tok, err := source.TokenContext(t.Context()); err != nil || !tok.Valid() {
		t.Errorf("a wrapper changed the token of other callers: %v", err)
	}
}

// A client with another credential gets no tokens from a shared cache, although it names the
// same app.
func TestCredentialsShareNoTokens(t *testing.T) {
	e := newEstate()
	cfg := e.config("daemon")
	cfg.Cache = cache.New(cache.Options{})
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token(); err != nil {
		t.Fatal(err)
	}
	cfg.Credential = entra.Secret("not-the-secret")
	_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
	if got := testkit.Error(t, err); !got.Has(7000215) {
		t.Errorf("got %v", err)
	}
	cfg.Credential = entra.Secret("daemon-secret") // an equal one
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token(); err != nil {
		t.Error(err)
	}
	wantForms(t, e, e.Forms()[0], e.Forms()[1])
}

// In a store, the keys stand for the credential. A program without the keys gets no tokens from it.
func TestStoredTokensBelongToTheKeys(t *testing.T) {
	e := newEstate()
	store := storetest.NewMemory()
	source := func(secret, key string) *entra.TokenSource {
		cfg := e.config("daemon")
		cfg.Credential = entra.Secret(secret)
		cfg.Cache = cache.New(cache.Options{
			Store: store, Keys: []cache.SealKey{cache.NewSealKey([]byte(key + strings.Repeat("0123456", 4) + "abc"))},
		})
		return clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
	}
	for _, secret := range []string{"daemon-secret", "not-the-secret"} {
		if _, err := source(secret, "k").Token(); err != nil {
			t.Errorf("%s: %v", secret, err)
		}
	}
	_, err := source("not-the-secret", "x").Token()
	if got := testkit.Error(t, err); !got.Has(7000215) {
		t.Errorf("got %v with other keys, want AADSTS7000215", err)
	}
	if n := e.TokenRequests(); n != 2 {
		t.Errorf("got %d token requests, want 2: the first, and the one with other keys", n)
	}
}

// A CodeResult can be stored only for its account, at its tenant and app, with its remaining
// lifetime.
func TestCodeResultIsStoredOnlyForItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		c := e.client(t, "api-a")
		other, err := c.WithTenant(entratest.SampleOtherTenant)
		if err != nil {
			t.Fatal(err)
		}
		many, err := c.WithTenant("organizations")
		if err != nil {
			t.Fatal(err)
		}
		g := entra.Grant{Flow: "code", Scopes: []string{"api://api-b/Orders.Read"}, RefreshToken: true,
			Fetch: oboFetch(e, "api://api-b/Orders.Read")}
		r, err := c.Exchange(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		account := r.HomeAccountID()
		for name, err := range map[string]error{
			"nobody":         r.Store(t.Context(), c, ""),
			"another user":   r.Store(t.Context(), c, "bob"),
			"another tenant": r.Store(t.Context(), other, account),
			"all tenants":    r.Store(t.Context(), many, account),
			"another app":    r.Store(t.Context(), e.client(t, "daemon"), account),
		} {
			if got := testkit.Error(t, err); got.Code != "invalid_request" {
				t.Errorf("%s: %v", name, err)
			}
		}
		time.Sleep(10 * time.Minute)
		if err := r.Store(t.Context(), c, account); err != nil {
			t.Fatal(err)
		}
		g.Subject = account
		if left := time.Until(cached(t, c.TokenSource(g)).ExpiresAt); left != 50*time.Minute {
			t.Errorf("%v left, want 50m", left)
		}
		time.Sleep(time.Hour)
		if err := r.Store(t.Context(), c, account); testkit.Error(t, err).Code != entra.CodeInvalidResponse {
			t.Errorf("an ended token was kept: %v", err)
		}
		leaks(t, fmt.Errorf("%+v %#v %s", r, r, r), "eyJ")
	})
}

// Tenants, users, assertions, apps, capabilities and scopes never share a token, even while all
// are refreshed at once.
func TestNeverAnothersToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(func(c *entratest.Config) {
			c.Apps[2].Permissions[0].Scopes = []string{"Orders.Read", "Orders.Write"}
			c.Lifetime = func() time.Duration { return 10 * time.Minute }
		})
		shared := cache.New(cache.Options{})
		config := func(app string, capabilities ...string) entra.Config {
			cfg := e.config(app)
			cfg.Cache, cfg.Capabilities = shared, capabilities
			return cfg
		}
		assertion := func(user string) string {
			return e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: user, Lifetime: 24 * time.Hour})
		}
		apiA, daemon := testkit.Client(t, config("api-a")), testkit.Client(t, config("daemon"))
		other, err := daemon.WithTenant(entratest.SampleOtherTenant)
		if err != nil {
			t.Fatal(err)
		}
		sources := map[string]*entra.TokenSource{
			"daemon in Contoso":  clientcreds.TokenSource(daemon, "api://api-b/.default"),
			"daemon in Fabrikam": clientcreds.TokenSource(other, "api://api-b/.default"),
			"daemon with cp1": clientcreds.TokenSource(testkit.Client(t, config("daemon", "cp1")),
				"api://api-b/.default"),
			"api-a itself":             clientcreds.TokenSource(apiA, "api://api-b/.default"),
			"api-a for Alice":          obo.TokenSource(apiA, assertion(alice), "api://api-b/Orders.Read"),
			"api-a for Alice to write": obo.TokenSource(apiA, assertion(alice), "api://api-b/Orders.Write"),
			"api-a for Alice again":    obo.TokenSource(apiA, assertion(alice), "api://api-b/Orders.Read"),
			"api-a for Bob": obo.TokenSource(apiA, assertion("bob@contoso.onmicrosoft.com"),
				"api://api-b/Orders.Read"),
		}
		var mu sync.Mutex
		owner := map[string]string{}
		var wg sync.WaitGroup
		for name, source := range sources {
			for range 4 {
				wg.Go(func() {
					for range 120 {
						tok, err := source.TokenContext(t.Context())
						if err != nil {
							t.Errorf("%s: %v", name, err)
							return
						}
						mu.Lock()
						if had, ok := owner[tok.AccessToken]; ok && had != name {
							t.Errorf("%s got the token of %s", name, had)
						}
						owner[tok.AccessToken] = name
						mu.Unlock()
						time.Sleep(30 * time.Second)
					}
				})
			}
		}
		wg.Wait()
		if len(owner) < 7*len(sources) {
			t.Errorf("only %d tokens in an hour", len(owner))
		}
	})
}

// A client remembers its partition of the cache for each flow. However many flows there are,
// each gets only its own tokens.
func TestFlowsKeepApart(t *testing.T) {
	c := newEstate().client(t, "daemon")
	const flows = 40 // more than are remembered
	var wg sync.WaitGroup
	for i := range 8 * flows {
		flow := fmt.Sprint("flow ", i%flows)
		wg.Go(func() {
			tok, err := c.TokenSource(entra.Grant{Flow: flow, Fetch: func(context.Context,
				*entra.TokenRequest) (*entra.TokenResponse, error) {
				return &entra.TokenResponse{AccessToken: flow, ExpiresIn: time.Hour}, nil
			}}).Token()
			if err != nil || tok.AccessToken != flow {
				t.Errorf("%s got %v, %v", flow, tok, err)
			}
		})
	}
	wg.Wait()
	if s := c.Cache().Stats(); s.Sessions != flows || s.Fetches != flows {
		t.Errorf("%+v, want %d sessions and as many fetches", s, flows)
	}
}

// Zero values return an error that names their constructor. They do not panic.
func TestZeroValuesNameTheirConstructor(t *testing.T) {
	const want = "the TokenSource is a zero value or comes from one; its Client must be created with entra.New, and an " +
		"Identity, Login, Flow or Site with the function of its package"
	for name, source := range map[string]*entra.TokenSource{
		"zero source":            {},
		"zero source, claims":    new(entra.TokenSource).WithClaims(`{"access_token":{}}`),
		"source of a nil client": clientcreds.TokenSource(nil, "api://api-b/.default"),
		"source of a login":      new(devlogin.Login).TokenSource("api://api-b/.default"),
		"source of a flow":       new(authcode.Flow).TokenSource(authcode.Account{}),
		"source of no client":    obo.TokenSource(new(entra.Client), "e30.e30.e30", "api://api-b/Orders.Read"),
	} {
		_, err := source.Token()
		if got := testkit.Error(t, err); got.Code != "invalid_request" || !strings.Contains(got.Description, want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
		if _, ok := source.Cached(); ok {
			t.Errorf("%s: got a cached token", name)
		}
		source.Invalidate(&oauth2.Token{AccessToken: "x"})
		if _, err := source.HTTPClient().Get("https://api.example"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

// The zero Client has no properties, and its other methods return errors. The same holds for the zero CodeResult.
func TestZeroClient(t *testing.T) {
	c := new(entra.Client)
	if c.TenantID() != "" || c.ClientID() != "" || c.Cloud() != "" || c.Region() != "" || len(c.Capabilities()) != 0 ||
		c.Cache() != nil || c.HTTPClient() != nil || c.Logger() != nil {
		t.Errorf("got properties of %v", c)
	}
	r := new(entra.CodeResult)
	if r.HomeAccountID() != "" || r.IDToken() != "" || r.HasRefreshToken() {
		t.Error("the zero CodeResult has contents")
	}
	const client = "the Client is nil or its zero value; it must be created with entra.New"
	ofCode := entra.Grant{Flow: "code", Fetch: func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
		return &entra.TokenResponse{AccessToken: "token", ExpiresIn: time.Hour, HomeAccountID: "a.b"}, nil
	}}
	valid := newEstate().client(t, "daemon")
	exchanged, err := valid.Exchange(t.Context(), ofCode)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*entra.Client{nil, c} {
		_, tenant := c.WithTenant(entratest.SampleTenant)
		_, exchange := c.Exchange(t.Context(), ofCode)
		store := exchanged.Store(t.Context(), c, "a.b")
		for name, err := range map[string]error{"WithTenant": tenant, "Exchange": exchange, "Store": store} {
			if e := testkit.Error(t, err); e.Code != "invalid_request" || e.Description != client {
				t.Errorf("%s of %v: got %v, want %s", name, c, err, client)
			}
		}
	}
	const result = "the CodeResult is its zero value; it must be created with Client.Exchange"
	for _, c := range []*entra.Client{c, valid} {
		if e := testkit.Error(t, r.Store(t.Context(), c, "a.b")); e.Code != "invalid_request" || e.Description != result {
			t.Errorf("got %v, want %s", e, result)
		}
	}
}

// Next follows the refreshes of a token, and returns no error for a failed refresh while the old token is usable.
func TestNextFollowsRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		s := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
		next := func(old *oauth2.Token) *oauth2.Token {
			t.Helper()
			tok, err := s.Next(t.Context(), old)
			if err != nil {
				t.Fatal(err)
			}
			return tok
		}
		first := next(nil)
		due := cached(t, s).RefreshAt
		second := next(first)
		if late := time.Since(due); first.AccessToken == second.AccessToken || late < 0 || late > 2*time.Second {
			t.Errorf("got the next token %v after the refresh point, want at most 2s", late)
		}
		// The endpoint fails from the refresh point for 15 minutes.
		due = cached(t, s).RefreshAt
		time.Sleep(time.Until(due))
		time.AfterFunc(15*time.Minute, e.Inject(entratest.Fault{Endpoint: "token", Status: 503, Times: 1000}))
		third := next(second)
		if waited := time.Since(due); waited < 15*time.Minute || third.AccessToken == second.AccessToken {
			t.Errorf("got a token after %v, want a new one after 15m", waited)
		}
		// Another caller replaces the token early.
		begun := time.Now()
		time.AfterFunc(90*time.Second, func() { s.Invalidate(third) })
		if fourth := next(third); time.Since(begun) > 150*time.Second || fourth.AccessToken == third.AccessToken {
			t.Errorf("noticed the replaced token after %v, want at most a minute after its invalidation", time.Since(begun))
		}
	})
}

// Next returns when its context ends, and with the error of an expired token's request.
func TestNextReturnsErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		s := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
		tok, err := s.Next(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := s.Next(ctx, tok); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want context.DeadlineExceeded", err)
		}
		begun := time.Now()
		e.Inject(entratest.Fault{Endpoint: "token", Status: 503, Times: 1000})
		_, err = s.Next(t.Context(), tok)
		if failed := (*entra.Error)(nil); !errors.As(err, &failed) || failed.StatusCode != 503 {
			t.Errorf("got %v, want the error of status 503", err)
		}
		if waited := time.Since(begun); waited < 58*time.Minute {
			t.Errorf("got an error after %v, while the old token was usable", waited)
		}
	})
}

// PerRPC fits gRPC's interface and adds the token to the metadata.
func TestPerRPC(t *testing.T) {
	e := newEstate()
	s := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
	var creds interface { // google.golang.org/grpc/credentials.PerRPCCredentials
		GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error)
		RequireTransportSecurity() bool
	} = s.PerRPC()
	got, err := creds.GetRequestMetadata(t.Context(), "https://api.contoso.example/orders.Orders")
	if err != nil {
		t.Fatal(err)
	}
	tok, err := s.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]string{"authorization": "Bearer " + tok}; !reflect.DeepEqual(got, want) {
		t.Errorf("got metadata %v, want %v", got, want)
	}
	if !creds.RequireTransportSecurity() {
		t.Error("the token may be sent without TLS")
	}
	if _, err := (entra.PerRPC{}).GetRequestMetadata(t.Context()); err == nil {
		t.Error("got no error from the zero PerRPC")
	}
}
