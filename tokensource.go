package entra

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/cache"
)

// TokenTimeout bounds [TokenSource.Token], which does not take a context.
const TokenTimeout = 30 * time.Second

// TokenSource is a [Grant] bound to a [Client] and its cache. It is safe for concurrent use and cheap to create: all
// sources of an app for the same grant share one cached token.
//
// Do not wrap a TokenSource in [oauth2.ReuseTokenSource] or [oauth2.NewClient]. They keep a token until ten seconds
// before its expiry, so that it is never refreshed early. Use [TokenSource.HTTPClient] or [Transport].
type TokenSource struct {
	client *Client
	grant  Grant
	handle cache.Handle

	claims      string      // the claims challenge to satisfy, or ""
	satisfied   atomic.Bool // a token that satisfies the challenge was acquired
	conditional bool        // a cached token may not do: there are claims or a NotAfter
}

var _ oauth2.TokenSource = (*TokenSource)(nil)

// TokenSource returns a source of tokens for g. It sends no request. An invalid Grant is reported by the first
// call of Token.
func (c *Client) TokenSource(g Grant) *TokenSource {
	if c.isZero() {
		return &TokenSource{} // its Token returns an error
	}
	s := &TokenSource{client: c, grant: g, conditional: !g.NotAfter.IsZero()}
	f := c.flow(g.Flow)
	key := f.key
	key.Subject, key.Session, key.Delegation = g.Subject, g.Session, g.Delegation
	key.Local = key.Local || g.Local || g.FMIPath != ""
	if g.FMIPath != "" {
		key.Variant += " fmi_path=" + g.FMIPath
	}
	s.handle.OnEvent, s.handle.EncodeError, s.handle.DecodeError = c.onEvent, encodeError, decodeError
	s.handle.Interactive = g.RefreshToken
	s.handle.Bind(c.cache, key, g.scopes(), f.last.Load())
	return s
}

// A flow is a client's record of one flow, which makes a source for each request cheap.
type flow struct {
	key  cache.Key // without subject and session
	last atomic.Pointer[cache.Handle]
}

// maxFlows bounds the flows that a client remembers. A client uses fewer.
const maxFlows = 16

// flows are the flows that a client has used. A list is never modified.
type flows struct{ list atomic.Pointer[[]*flow] }

func (c *Client) flow(name string) *flow {
	var known []*flow
	if list := c.flows.list.Load(); list != nil {
		known = *list
	}
	for _, f := range known {
		if f.key.Flow == name {
			return f
		}
	}
	f := &flow{key: cache.Key{
		Authority: c.authority, ClientID: c.clientID, Owner: c.blueprint, Flow: name, Variant: c.credential.id,
		Capabilities: strings.Join(c.capabilities, " "), Local: c.issuer != nil,
	}}
	h := new(cache.Handle)
	h.Bind(c.cache, f.key, nil, nil)
	f.last.Store(h)
	if len(known) < maxFlows {
		list := append(slices.Clip(known), f)
		c.flows.list.Store(&list) // a concurrent call may replace it, then f is created again
	}
	return f
}

// Token returns a token, as [TokenSource.TokenContext] does within [TokenTimeout]. The token is a copy, since the
// wrappers of package oauth2 call this method and modify the token.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	t := s.hit()
	if t == nil {
		ctx, cancel := context.WithTimeout(context.Background(), TokenTimeout)
		defer cancel()
		var err error
		if t, err = s.wait(ctx); err != nil {
			return nil, err
		}
	}
	copied := *t
	return &copied, nil
}

// TokenContext returns a usable token. It returns a cached token at once, even while that is being refreshed.
// Otherwise it waits for the response to one request, which all callers share. The request times out after 30
// seconds, even if ctx has no deadline.
//
// If ctx ends first, the error wraps ctx's error, and the request continues for the other callers. Any other error is
// an [*Error]. It is cached for a while and returned to all callers (see package cache).
//
// All callers share the token and must not modify it. Its RefreshToken is empty.
func (s *TokenSource) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	if t := s.hit(); t != nil {
		return t, nil
	}
	return s.wait(ctx)
}

func (s *TokenSource) hit() *oauth2.Token {
	if s.conditional && (s.claims != "" && !s.satisfied.Load() || s.grant.expired() != nil) {
		return nil
	}
	return s.handle.Hit()
}

func (s *TokenSource) wait(ctx context.Context) (*oauth2.Token, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	claims := s.claims
	if s.satisfied.Load() {
		claims = ""
	}
	t, err := s.handle.Token(ctx, claims, s.fetch)
	if from := s.grant.RefreshTokenOf; from != nil && err != nil {
		// The error may be from before the user signed in again.
		failed, ok := errors.AsType[*Error](err)
		if ok && failed.InteractionRequired() && s.handle.ForgetFailures(ctx, &from.handle) {
			t, err = s.handle.Token(ctx, claims, s.fetch)
		}
	}
	if err != nil {
		return nil, s.convert(ctx, err)
	}
	s.satisfied.Store(true)
	g := &s.grant
	if g.Subject == "" && g.Session == "" && len(g.Scopes) == 0 && g.FMIPath == "" { // the app itself, one scope
		s.client.flow(g.Flow).last.Store(&s.handle)
	}
	return t, nil
}

// fetch acquires a token for the cache. The state is the session's refresh token, if any.
func (s *TokenSource) fetch(ctx context.Context, r *cache.Request) (cache.Response, error) {
	if r.StateUnknown && s.grant.RefreshToken {
		return cache.Response{}, unreadableRefreshToken()
	}
	if from := s.grant.RefreshTokenOf; from != nil {
		state, err := from.refreshToken(ctx)
		if err != nil {
			return cache.Response{}, err
		}
		own := *r
		own.State = state
		r = &own
	}
	resp, err := s.client.request(ctx, &s.grant, s.grant.Subject != "", r, r.Wait)
	if err != nil {
		return cache.Response{}, err
	}
	return s.client.cached(&s.grant, resp, 0), nil
}

// refreshToken returns the refresh token of the session, or "". If this process does not have it, refreshToken looks
// for it in other processes, as for a token of the session.
func (s *TokenSource) refreshToken(ctx context.Context) (string, error) {
	state, err := s.handle.State(ctx)
	if err == nil && state == "" {
		if _, err := s.TokenContext(ctx); err != nil {
			return "", err
		}
		state, err = s.handle.State(ctx)
	}
	if err != nil {
		return "", unreadableRefreshToken()
	}
	return state, nil
}

func unreadableRefreshToken() *Error {
	return errorf("temporarily_unavailable", "the store of the cache failed, so the user's refresh token cannot be read")
}

// convert returns the error that a caller gets for an error of the cache.
func (s *TokenSource) convert(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	if err == ctx.Err() { //nolint:errorlint // the cache returns the context's error itself
		return fmt.Errorf("entra: wait for a token from %s: %w", s.client.host(), err)
	}
	if e, ok := errors.AsType[interface {
		error
		RetryAfterDelay() time.Duration
	}](err); ok { // the rate limit of claims challenges
		return &Error{Code: "temporarily_unavailable", Description: e.Error(), RetryAfter: e.RetryAfterDelay()}
	}
	// The grant's Fetch panicked, called runtime.Goexit or did not return.
	return errorf("invalid_request", "%v", err)
}

// AccessToken returns the access token alone, as [TokenSource.TokenContext] does. Its signature fits the callbacks of
// other libraries, such as those of database drivers that take a token as the password.
func (s *TokenSource) AccessToken(ctx context.Context) (string, error) {
	t, err := s.TokenContext(ctx)
	if err != nil {
		return "", err
	}
	return t.AccessToken, nil
}

// Next waits until the cached token is not old, and returns it. If old is nil, it returns what
// [TokenSource.TokenContext] returns. It is for connections that must authenticate again before their token expires:
//
//	for tok, err := s.Next(ctx, nil); ctx.Err() == nil; tok, err = s.Next(ctx, tok) { ... }
//
// A failed refresh is not an error as long as old is usable. After that, Next returns the error of TokenContext.
// The caller should then wait for a few seconds and call Next again. Next notices a new token within a minute if
// another caller acquired it early, and otherwise within a second.
func (s *TokenSource) Next(ctx context.Context, old *oauth2.Token) (*oauth2.Token, error) {
	for {
		t, err := s.TokenContext(ctx) // starts a refresh if one is due
		if err != nil || old == nil || t.AccessToken != old.AccessToken {
			return t, err
		}
		wait := time.Minute
		if info, ok := s.Cached(); ok && !info.RefreshAt.IsZero() {
			wait = min(wait, time.Until(info.RefreshAt))
		}
		select {
		case <-time.After(max(wait, time.Second)):
		case <-ctx.Done():
			return nil, s.convert(ctx, ctx.Err())
		}
	}
}

// PerRPC returns credentials for calls of gRPC. They satisfy the interface PerRPCCredentials of package
// google.golang.org/grpc/credentials, for example for grpc.WithPerRPCCredentials. gRPC reports every error of them as
// Unauthenticated or Internal, also if Entra is unavailable. Function PerRPC of the module adapters/grpc distinguishes
// them.
func (s *TokenSource) PerRPC() PerRPC { return PerRPC{s} }

// PerRPC adds a token to each call of gRPC. See [TokenSource.PerRPC].
type PerRPC struct{ source *TokenSource }

// GetRequestMetadata returns the metadata with the token for one call.
func (p PerRPC) GetRequestMetadata(ctx context.Context, _ ...string) (map[string]string, error) {
	if p.source == nil {
		return nil, errorf("invalid_request", "PerRPC must be created with TokenSource.PerRPC")
	}
	t, err := p.source.AccessToken(ctx)
	if err != nil {
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + t}, nil
}

// RequireTransportSecurity returns true: gRPC sends the token only over TLS.
func (p PerRPC) RequireTransportSecurity() bool { return true }

// validate reports a source whose requests can never succeed.
func (s *TokenSource) validate() error {
	if s.client == nil {
		return errorf("invalid_request", "the TokenSource is a zero value or comes from one; its Client must be created "+
			"with entra.New, and an Identity, Login, Flow or Site with the function of its package")
	}
	switch g := &s.grant; {
	case g.Session != "" && g.Subject == "":
		return errorf("invalid_request", "a Grant for the app itself must not have a Session")
	case g.RefreshTokenOf != nil && !g.mayUse(s.client, g.RefreshTokenOf):
		return errorf("invalid_request", "a Grant can only redeem the refresh token of a source for the same app, "+
			"Subject and Session, and has none of its own then")
	case s.claims == badClaims:
		return errorf("invalid_request", "the claims challenge is not a JSON object of at most 16 KB, nor base64 of one")
	}
	if err := s.grant.invalid(); err != nil {
		return err
	}
	if err := s.client.requireTenant(); err != nil {
		return err
	}
	return nil
}

// badClaims replaces a claims challenge that is invalid.
const badClaims = "\x00"

// WithClaims returns a source for the same token whose next token satisfies a claims challenge. That token replaces the
// cached one for all sources. Once it is cached, the source returns the same tokens as s.
//
// claims is the claims parameter of a resource's WWW-Authenticate header, in base64 as it arrives or decoded (see
// [ClaimsChallenge]), or [Error].Claims. Sources with the same claims share one request. If a resource
// rejects a token that was acquired with claims and sends the same claims again, call Invalidate first.
func (s *TokenSource) WithClaims(claims string) *TokenSource {
	c := s.client.TokenSource(s.grant)
	if claims != "" {
		c.conditional, c.claims = true, badClaims
		if decoded, ok := decodeClaims(claims); ok {
			c.claims = canonicalClaims(decoded)
		}
	}
	return c
}

// canonicalClaims returns a JSON object in the form in which equal values have equal texts.
func canonicalClaims(claims string) string {
	d := json.NewDecoder(strings.NewReader(claims))
	d.UseNumber()
	var value any
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if d.Decode(&value) != nil || e.Encode(value) != nil {
		return claims
	}
	return strings.TrimSpace(b.String())
}

// maxClaims bounds a claims challenge, which a resource chooses and we send to Entra.
const maxClaims = 16 << 10

// decodeClaims returns a claims challenge as JSON.
func decodeClaims(claims string) (string, bool) {
	if len(claims) > maxClaims {
		return "", false
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(claims), &object) == nil && object != nil {
		return claims, true
	}
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		b, err := encoding.WithPadding(base64.NoPadding).DecodeString(strings.TrimRight(claims, "="))
		if err == nil && json.Unmarshal(b, &object) == nil && object != nil {
			return string(b), true
		}
	}
	return "", false
}

// Invalidate drops t from the cache, so that the next call acquires a new token. Call it when a resource has rejected
// t with status 401. Invalidate does nothing if the cached token is not t: many rejections of one token cause
// one request.
func (s *TokenSource) Invalidate(t *oauth2.Token) {
	if t != nil {
		s.handle.Invalidate(t.AccessToken, "")
	}
}

// TokenInfo describes a cached token without its text.
type TokenInfo struct {
	ObtainedAt time.Time
	RefreshAt  time.Time // the first call after it starts a refresh; if zero, the token is not refreshed before it expires
	ExpiresAt  time.Time
	Scopes     []string // the granted scopes
}

// Cached returns information about the cached token, whether it is usable or not. ok is false without a cached
// token. Cached sends no request.
func (s *TokenSource) Cached() (info TokenInfo, ok bool) {
	r, obtainedAt, ok := s.handle.Cached()
	if !ok {
		return TokenInfo{}, false
	}
	info = TokenInfo{ObtainedAt: obtainedAt, ExpiresAt: obtainedAt.Add(r.Lifetime), Scopes: strings.Fields(r.Scope)}
	if r.RefreshIn > 0 {
		info.RefreshAt = obtainedAt.Add(r.RefreshIn)
	}
	return info, true
}

// Scopes returns a copy of the requested scopes.
func (s *TokenSource) Scopes() []string { return slices.Clone(s.grant.scopes()) }

// HTTPClient returns a new client that adds a token of s to its requests (see [Transport]). Like every
// client of net/http, it does not time out by itself: set its Timeout, or send requests with a context that ends. Its
// base is [http.DefaultTransport]. For another one, create a client with your own Transport.
func (s *TokenSource) HTTPClient() *http.Client {
	return &http.Client{Transport: &Transport{Source: s}}
}

// Format prints the cache key and the scopes for every verb.
func (s *TokenSource) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "entra.TokenSource{%v scopes=%v}", &s.handle, s.grant.scopes())
}
