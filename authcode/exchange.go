package authcode

import (
	"context"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

// SignIn is a sign-in that has succeeded.
type SignIn struct {
	// Account is who signed in, for [Flow.TokenSource]. Keep it in the session.
	Account Account
	// Claims are those of the validated ID token.
	Claims *verify.Claims
	// ReturnTo is where the user wanted to go: a path on this site.
	ReturnTo string
	// Source is the source of tokens for the scopes of the sign-in.
	Source *entra.TokenSource
}

// Format prints the account without the person's names, whatever the verb.
func (s SignIn) Format(w fmt.State, _ rune) {
	fmt.Fprintf(w, "authcode.SignIn{tid=%s oid=%s}", s.Account.TenantID, s.Account.ObjectID)
}

// LogValue logs the account.
func (s SignIn) LogValue() slog.Value { return s.Account.LogValue() }

// Exchange finishes a sign-in. l is the login that this browser began, or nil if it began
// none; params are the parameters of the answer, from the query or, with [FormPost], from
// the body alone ([net/http.Request].PostForm).
//
// It is checked, in this order: that there is a login, of a flow with the same authority,
// client ID and redirect URL, and that it has not expired; that no parameter is repeated,
// and that the issuer is one of the client's cloud if it is named (RFC 9207); that the
// state is the login's and the login was not answered
// before; that Entra reports no error and sends a code; then the code is redeemed with
// the verifier; then the ID token is validated (signature, issuer, audience, tenant,
// times, nonce) and compared with the account. Only then anything is kept.
//
// The error is one of this package's, an [*entra.Error] for what Entra refuses, or wraps a
// [*verify.Error] for what is wrong with the ID token. Whatever it is after the state was
// found right, the login is over, and only a new one can help.
func (f *Flow) Exchange(ctx context.Context, l *Login, params url.Values) (*SignIn, error) {
	p := l.get()
	if err := f.answered(p, params); err != nil {
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
		return nil, fmt.Errorf("authcode: validating the ID token: %w", err)
	}
	account, err := newAccount(result.HomeAccountID(), claims, p.Session)
	if err != nil {
		return nil, err
	}
	client, err := f.client.WithTenant(account.TenantID)
	if err != nil {
		return nil, err
	}
	if err := result.Store(client, account.HomeAccountID); err != nil {
		return nil, err
	}
	return &SignIn{account, claims, p.ReturnTo, f.TokenSource(account, p.Scopes...)}, nil
}

// answered decides whether params are the answer to the login, with a code.
func (f *Flow) answered(p *login, params url.Values) error {
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
		return p.refusal(params)
	case params.Get("code") == "":
		return ErrParameters
	}
	return nil
}

// clockSkew is how far ahead the clock of the instance that began a login may be.
const clockSkew = time.Minute

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// isIssuer reports whether iss is an issuer of the client's cloud.
func (f *Flow) isIssuer(iss string) bool {
	cloud := f.client.Cloud()
	if cloud.ExternalID() { // the issuer's host is made of the tenant's ID
		rest, ok := strings.CutPrefix(iss, "https://")
		tenant, _, _ := strings.Cut(rest, ".")
		return ok && guid.MatchString(tenant) && rest == tenant+".ciamlogin.com/"+tenant+"/v2.0"
	}
	tenant, ok := strings.CutPrefix(iss, "https://"+cloud.Host()+"/")
	tenant, v2 := strings.CutSuffix(tenant, "/v2.0")
	return ok && v2 && guid.MatchString(tenant)
}
