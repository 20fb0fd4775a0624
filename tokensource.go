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

// TokenTimeout bounds [TokenSource.Token], which has no context.
const TokenTimeout = 30 * time.Second

// TokenSource is a grant bound to a client and its cache. It is safe for concurrent use
// and cheap to make: all sources for the same grant of the same app share one token.
//
// Do not wrap it in [oauth2.ReuseTokenSource], and so not in [oauth2.NewClient], which
// does: they hold on to a token until ten seconds before its end, so that it would
// never be refreshed early. Use [TokenSource.HTTPClient] or [Transport].
type TokenSource struct {
	client *Client
	grant  Grant
	handle cache.Handle

	claims      string      // the challenge that this source is to satisfy, or ""
	answered    atomic.Bool // a token that satisfies it has been got
	conditional bool        // not every held token will do: there are claims or a NotAfter
}

var _ oauth2.TokenSource = (*TokenSource)(nil)

// TokenSource returns a source of tokens for g. It asks for nothing yet; what is wrong
// with g is the error of its first token.
func (c *Client) TokenSource(g Grant) *TokenSource {
	s := &TokenSource{client: c, grant: g, conditional: !g.NotAfter.IsZero()}
	s.handle.OnEvent = c.onEvent
	f := c.flow(g.Flow)
	if last := f.app.Load(); last != nil && g.ofApp() && last.grant.Scope == g.Scope {
		s.handle.Share(&last.handle)
	} else {
		s.handle.Bind(c.cache, f.partition, g.Subject, g.Session, g.scopes())
	}
	return s
}

// ofApp reports whether the grant is the app's own, for one scope.
func (g *Grant) ofApp() bool { return g.Subject == "" && g.Session == "" && len(g.Scopes) == 0 }

// Token returns a token, as [TokenSource.TokenContext] does within [TokenTimeout]. It is the
// caller's own copy: the wrappers of package oauth2, which call this method, change it.
func (s *TokenSource) Token() (*oauth2.Token, error) {
	t := s.hit()
	if t == nil {
		ctx, cancel := context.WithTimeout(context.Background(), TokenTimeout)
		defer cancel()
		var err error
		if t, err = s.ask(ctx); err != nil {
			return nil, err
		}
	}
	own := *t
	return &own, nil
}

// TokenContext returns a token that is good for a while: at once if one is held, even
// while it is being refreshed, and otherwise when Entra has answered the one request
// that is made however many callers wait. If ctx ends first the error wraps ctx's; the
// request goes on for the others. Any other error is an [*Error]; it is remembered for
// a while and given to everybody who asks (see package cache).
//
// The token is shared by all callers and must not be changed. It has no refresh token.
func (s *TokenSource) TokenContext(ctx context.Context) (*oauth2.Token, error) {
	if t := s.hit(); t != nil {
		return t, nil
	}
	return s.ask(ctx)
}

func (s *TokenSource) hit() *oauth2.Token {
	if s.conditional && (s.claims != "" && !s.answered.Load() || !s.grant.NotAfter.IsZero() && !time.Now().Before(s.grant.NotAfter)) {
		return nil
	}
	if t := s.handle.Hit(); t != nil {
		return t.OAuth2()
	}
	return nil
}

func (s *TokenSource) ask(ctx context.Context) (*oauth2.Token, error) {
	if err := s.validate(); err != nil {
		return nil, err
	}
	challenge := s.claims
	if s.answered.Load() {
		challenge = ""
	}
	t, err := s.handle.Token(ctx, challenge, func(ctx context.Context, claims string, keep any) (cache.Response, error) {
		return s.client.fetch(ctx, &s.grant, claims, keep)
	})
	if err != nil {
		return nil, s.explain(ctx, err)
	}
	s.answered.Store(true)
	if s.grant.ofApp() {
		s.client.flow(s.grant.Flow).app.Store(s)
	}
	return t.OAuth2(), nil
}

// explain makes of an error of the cache one for the caller.
func (s *TokenSource) explain(ctx context.Context, err error) error {
	if _, own := errors.AsType[*Error](err); own {
		return err
	}
	if err == ctx.Err() {
		return fmt.Errorf("entra: waiting for a token from %s: %w", s.client.cloud.Host(), err)
	}
	// The grant's Fetch panicked, or did not return when its time was over.
	return errorf("invalid_request", "%v", err)
}

// validate reports a source whose requests can never succeed.
func (s *TokenSource) validate() error {
	switch g := &s.grant; {
	case g.Flow == "" || g.Fetch == nil:
		return errorf("invalid_request", "a Grant needs a Flow and a Fetch")
	case g.Session != "" && g.Subject == "":
		return errorf("invalid_request", "a Grant for the app itself has no Session")
	case s.claims == badClaims:
		return errorf("invalid_request", "the claims challenge is not a JSON object of at most 16 KB, nor base64 of one")
	}
	for _, scope := range s.grant.scopes() {
		if !validScope(scope) {
			return errorf("invalid_scope", "%q is not a scope: it is empty, or has a space or a control character in it", scope)
		}
	}
	if err := s.grant.expired(); err != nil {
		return err
	}
	if err := s.client.requireTenant(); err != nil {
		return err
	}
	return nil
}

// validScope says whether scope is a scope-token of RFC 6749, section 3.3.
func validScope(scope string) bool {
	return scope != "" && !strings.ContainsFunc(scope, func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' })
}

// badClaims stands for a challenge that cannot be sent.
const badClaims = "\x00"

// WithClaims returns a source for the same token whose next token satisfies a claims
// challenge and replaces the held one for everybody. After that it is a source like s.
//
// claims is the claims parameter of a resource's WWW-Authenticate header, as it stands
// there, in base64, or decoded (see [ClaimsChallenge]); or that of an [Error].
// Any number of sources with one challenge make one request. If a token that was got
// with a challenge is refused with the same one again, call Invalidate first.
func (s *TokenSource) WithClaims(claims string) *TokenSource {
	c := s.client.TokenSource(s.grant)
	if claims != "" {
		c.conditional, c.claims = true, badClaims
		if decoded, ok := decodeClaims(claims); ok {
			c.claims = decoded
		}
	}
	return c
}

// maxClaims bounds a challenge, which a resource chooses and we send to Entra.
const maxClaims = 16 << 10

// decodeClaims returns a challenge as JSON.
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

// Invalidate drops t because a resource refused it (status 401), so that the next call
// gets a new token. It does nothing unless t is still the held one: a burst of refusals
// of one token causes one refresh.
func (s *TokenSource) Invalidate(t *oauth2.Token) {
	if t != nil {
		s.handle.Invalidate(t.AccessToken)
	}
}

// Held returns the token as the cache holds it now, with the moment of its next refresh,
// or nil. It asks nobody.
func (s *TokenSource) Held() *cache.Token { return s.handle.Held() }

// Scopes returns the scopes asked for.
func (s *TokenSource) Scopes() []string { return slices.Clone(s.grant.scopes()) }

// HTTPClient returns a new client whose requests carry a token of s; see [Transport]. It
// has no time-out and [http.DefaultTransport] as its base; set Timeout, or make a client
// with a Transport of your own.
func (s *TokenSource) HTTPClient() *http.Client {
	return &http.Client{Transport: &Transport{Source: s}}
}

// Format prints what the source is for, whatever the verb.
func (s *TokenSource) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "entra.TokenSource{%s scopes=%v}", s.handle.Key(), s.grant.scopes())
}
