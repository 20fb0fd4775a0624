package authcode

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/purge"
	"github.com/entratoken/entra/internal/scopes"
	"github.com/entratoken/entra/verify"
)

// Account is a signed-in user, as an app stores it in a session. It is not secret. But an app
// that lets a browser change it acts for any user that the browser names.
//
// A guest has two identities. HomeAccountID is the one in the home tenant. Entra issues
// refresh tokens under it, and the cache stores tokens under it. TenantID and ObjectID are
// the ones in the tenant that the guest signed in to. All tokens contain them, and the app
// stores the user's data under them. For other users both identities are the same.
type Account struct {
	HomeAccountID string `json:"home_account_id"`    // "<object ID>.<tenant ID>" of the home tenant
	TenantID      string `json:"tenant_id"`          // tid: the tenant that issues the tokens
	ObjectID      string `json:"object_id"`          // oid
	Username      string `json:"username,omitempty"` // preferred_username; for display only
	Name          string `json:"name,omitempty"`     // for display only

	// Session is Request.Session. Only sign-ins with the same Session share tokens. If
	// empty, the account uses the tokens of all sign-ins without a Session.
	Session string `json:"session,omitempty"`
}

// Format prints the account without personal names, for every verb. fmt does not call it
// for an Account in an unexported field of another type, so do not print such a value.
func (a Account) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "authcode.Account{tid=%s oid=%s}", a.TenantID, a.ObjectID)
}

// LogValue logs the account without personal names.
func (a Account) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tid", a.TenantID), slog.String("oid", a.ObjectID))
}

// newAccount returns the account of validated ID token claims and of the home account ID
// that MSAL read from client_info.
//
// client_info is not signed. It came over TLS, in the same response of the token endpoint as
// the ID token. OpenID Connect allows TLS in place of a signature even for the ID token (Core,
// section 3.1.3.7, rule 6). If the home tenant is the tenant of the sign-in, newAccount also
// checks that both name the same object ID. For a guest, no signed value names the home
// account, so TLS is its only protection.
func newAccount(home string, c *verify.Claims, session string) (Account, error) {
	home = strings.ToLower(home)
	uid, utid, _ := strings.Cut(home, ".")
	user, ok := c.User()
	if !ok || !guid.ValidLower(uid) || !guid.ValidLower(utid) || utid == user.TenantID && uid != user.ObjectID {
		return Account{}, ErrAccount
	}
	return Account{home, user.TenantID, user.ObjectID, c.PreferredUsername, c.Name, session}, nil
}

// TokenSource returns a source of tokens for the account. requested are permissions in one API that
// the user has consented to. If requested is empty, the Config's are used. TokenSource copies
// requested. Create a source for every request; that is cheap. Scopes of several APIs, and others
// that Entra would reject, fail with the code "invalid_scope", without a request.
//
// The source's methods return an [*entra.Error]. Its InteractionRequired method reports
// true if the user must sign in again. That is the case if the refresh token is not cached,
// because the process restarted, the entry was evicted or the user signed out, and if Entra
// rejects the refresh token. It is also the case if Config.Tenants excludes the account's
// tenant.
func (f *Flow) TokenSource(a Account, requested ...string) *entra.TokenSource {
	return f.tokenSource(a, a.TenantID, requested)
}

// TokenSourceIn is like TokenSource for another tenant, in which the user is a guest. The tokens have the tid of that
// tenant and the oid of the guest. They are acquired with the refresh token of the account's sign-in, so the user does
// not sign in again. tenantID is the ID of the tenant. It need not be one of Config.Tenants, which limit sign-ins. The
// app must exist in that tenant.
//
// The tokens belong to the account: SignOut, the Session of the account and [cache.Cache.Purge] apply to them.
//
// If the tenant requires more of the user, the error's InteractionRequired method reports true. A new sign-in with this
// Flow does not help then, except with the code "login_required". The user must sign in with a Flow whose client is in
// that tenant ([entra.Client.WithTenant]), to give consent (ConsentRequired) or for a policy of the tenant. For a user
// who is not a guest, the error has AADSTS50020, and an administrator must invite the user. If the app does not exist
// in the tenant, the error has AADSTS700016, and an administrator must give consent ([Flow.AdminConsentURL]).
//
// Source: "Refresh tokens in the Microsoft identity platform", which are not tied to a tenant.
func (f *Flow) TokenSourceIn(a Account, tenantID string, requested ...string) *entra.TokenSource {
	return f.tokenSource(a, tenantID, requested)
}

func (f *Flow) tokenSource(a Account, tenantID string, requested []string) *entra.TokenSource {
	if f.isZero() {
		return new(entra.TokenSource)
	}
	g := entra.Grant{
		Flow: FlowName, Subject: a.HomeAccountID, Session: a.Session, Scopes: f.tokenScopes(requested),
		RefreshToken: true,
	}
	client, rejection := f.tenantClient(a, tenantID)
	invalidScopes := scopes.Check(requested)
	switch {
	case rejection != nil:
	case !scopes.OneAPI(requested):
		rejection = &entra.Error{
			Code:        "invalid_scope",
			Description: "the scopes name several APIs, but a token is for one; use a TokenSource for each API",
		}
	case invalidScopes != nil:
		rejection = &entra.Error{Code: "invalid_scope", Description: invalidScopes.Error()}
	case !strings.EqualFold(tenantID, a.TenantID):
		g.RefreshToken, g.RefreshTokenOf = false, f.TokenSource(a)
	}
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		if rejection != nil {
			return nil, rejection
		}
		return r.RefreshToken(ctx)
	}
	return client.TokenSource(g)
}

// tenantClient returns the client for the account in a tenant. With an error, the client is for a tenant without cached
// tokens, so that none is served. Nothing is sent to that tenant.
func (f *Flow) tenantClient(a Account, tenantID string) (*entra.Client, *entra.Error) {
	client, err := f.client.WithTenant(tenantID)
	var rejection *entra.Error
	switch {
	case a.HomeAccountID == "":
		rejection = &entra.Error{
			Code: "login_required",
			Description: "the Account is empty: no user is signed in; with package signin, admit only signed-in users to " +
				"the page with Site.RequireSignIn",
		}
	case !guid.Valid(a.TenantID) || !f.verifier.AllowsTenant(a.TenantID):
		rejection = &entra.Error{
			Code:        "login_required",
			Description: "the tenant of the Account is not one of Config.Tenants; the user must sign in",
		}
	case err != nil || !guid.Valid(tenantID):
		rejection = &entra.Error{
			Code:        "invalid_request",
			Description: "the tenant is not an ID (a GUID); use the Directory (tenant) ID",
		}
	default:
		return client, nil
	}
	client, _ = f.client.WithTenant("no-account.invalid")
	return client, rejection
}

// SignOut removes all tokens of the account from the cache, in all tenants. Every browser
// that is signed in with the account must then sign in again to get tokens. If the account
// has a Session, only the tokens of that session are removed. The result of a refresh in
// flight is discarded, but a concurrent sign-in succeeds.
//
// The app ends its own session and cookie itself. To end the session at Entra, redirect the
// browser to [Flow.SignOutURL]. Tokens that were handed out stay valid until they expire.
//
// If the cache has a store, the tokens are removed there and in all processes that share it
// (see [cache.Cache.Purge]). Otherwise SignOut makes no network requests.
//
// The error is an [*entra.Error]. Its code is "invalid_request" if the account is empty, and
// "temporarily_unavailable" if the store failed. The tokens in this process are removed in
// any case, and the others when the store is back.
func (f *Flow) SignOut(ctx context.Context, a Account) error {
	if f.isZero() {
		return zeroFlow()
	}
	if a.HomeAccountID == "" {
		return invalid("the Account is empty; pass the account that signed in")
	}
	key := cache.Key{Flow: FlowName, Subject: a.HomeAccountID, Session: a.Session}
	return purge.Session(ctx, f.client, a.TenantID, key, "sign-out in the store of the cache failed")
}
