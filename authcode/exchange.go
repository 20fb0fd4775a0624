package authcode

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/externalid"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/verify"
)

// SignIn is a completed sign-in.
type SignIn struct {
	// Account is the user who signed in, for Flow.TokenSource. Store it in the session.
	Account Account
	// Claims are the claims of the validated ID token.
	Claims *verify.Claims
	// ReturnTo is the page to redirect the user to: a path on this site.
	ReturnTo string
	// Source is a source of tokens for the scopes of the sign-in. If Entra granted only some of
	// them, its error has the code "consent_required", and sources for the granted ones work.
	Source *entra.TokenSource
}

// Format prints the account without personal names, for every verb.
func (s SignIn) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "authcode.SignIn{tid=%s oid=%s}", s.Account.TenantID, s.Account.ObjectID)
}

// LogValue logs the account without personal names.
func (s SignIn) LogValue() slog.Value { return s.Account.LogValue() }

// Exchange completes a sign-in. l is the login that this browser began, or nil if it began
// none. params are the parameters of the authorization response. They come from the query
// or, with [ResponseModeFormPost], only from the body ([net/http.Request].PostForm).
//
// Exchange checks in this order:
//
//   - The login has not expired and was begun by a flow with the same authority, client ID
//     and redirect URL.
//   - No parameter is repeated, and an issuer, if present, is one of the client's cloud (RFC
//     9207).
//   - The state is the login's, and the login has not been used.
//   - The response has a code and no error.
//   - Entra redeems the code with the PKCE verifier.
//   - The ID token has a valid signature, issuer, audience, tenant, time and nonce, and with max_age a recent
//     auth_time.
//   - The account of the response is the one of the ID token.
//
// Exchange stores the tokens in the client's cache only after all checks. ctx and
// [entra.TokenTimeout] bound the token request.
//
// The error is one of this package's, an [*entra.Error] if Entra rejects the request or cannot
// be reached, or wraps a [*verify.Error] if the ID token is invalid. Both types have a method
// Temporary. Once the state has been accepted, the login cannot be retried; begin a new one.
func (f *Flow) Exchange(ctx context.Context, l *Login, params url.Values) (*SignIn, error) {
	if f.isZero() {
		return nil, zeroFlow()
	}
	p := l.get()
	if !validSession(p.Session) {
		return nil, invalid("the session of the Login " + sessionName)
	}
	if err := f.checkResponse(p, params); err != nil {
		return nil, err
	}
	result, err := f.client.Exchange(ctx, entra.Grant{
		Flow: FlowName, Session: p.Session, Scopes: p.Scopes, RefreshToken: true,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return r.AuthorizationCode(ctx, params.Get("code"), f.config.RedirectURL, p.Verifier)
		},
	})
	if err != nil {
		return nil, err
	}
	claims, err := f.verifier.IDToken(ctx, result.IDToken(), p.Nonce)
	if err != nil {
		return nil, fmt.Errorf("authcode: validate ID token: %w", err)
	}
	if err := p.checkAuthTime(claims); err != nil {
		return nil, err
	}
	account, err := newAccount(result.HomeAccountID(), claims, p.Session)
	if err != nil {
		return nil, err
	}
	client, err := f.client.WithTenant(account.TenantID)
	if err != nil {
		return nil, err
	}
	if err := result.Store(ctx, client, account.HomeAccountID); err != nil {
		return nil, err
	}
	return &SignIn{account, claims, p.ReturnTo, f.TokenSource(account, p.Scopes...)}, nil
}

// checkResponse checks that params are a successful authorization response to the login, and
// marks the login as used.
func (f *Flow) checkResponse(p *login, params url.Values) error {
	left := time.Until(p.Expires)
	switch {
	case p.State == "" || p.Nonce == "" || p.Verifier == "" || !isLocalPath(p.ReturnTo):
		return ErrNoLogin
	case p.binding != f.binding() || left > f.config.LoginTimeout+clockSkew:
		return ErrNoLogin
	case left <= 0:
		return ErrExpired
	}
	for _, values := range params {
		if len(values) > 1 { // RFC 6749, section 3.1
			return ErrParameters
		}
	}
	if params.Has("iss") && !f.isIssuer(params.Get("iss")) {
		return ErrParameters
	}
	switch {
	case subtle.ConstantTimeCompare([]byte(params.Get("state")), []byte(p.State)) != 1:
		return ErrState
	case !f.used.use(p.State, p.Expires):
		return ErrUsed
	case params.Get("error") != "":
		return p.errorResponse(params)
	case params.Get("code") == "":
		return ErrParameters
	}
	return nil
}

// clockSkew is how far the clock of the process that began a login may be ahead.
const clockSkew = time.Minute

// isIssuer reports whether iss is the issuer of a tenant in the client's cloud, and of the client's own tenant if its
// ID is configured.
func (f *Flow) isIssuer(iss string) bool {
	cloud := f.client.Cloud()
	tenant := externalid.Tenant(iss)
	if !cloud.ExternalID() {
		rest, ours := strings.CutPrefix(iss, "https://"+cloud.Host()+"/")
		id, v2 := strings.CutSuffix(rest, "/v2.0")
		if tenant = ""; ours && v2 && guid.ValidLower(id) {
			tenant = id
		}
	}
	own := f.client.TenantID()
	return tenant != "" && (!guid.Valid(own) || strings.EqualFold(tenant, own))
}
