package authcode

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/verify"
)

// Account is a user as the app keeps it in a session. Nothing of it is secret, but an app
// that lets a browser change it lets it act as anybody.
//
// A guest has two identities. HomeAccountID is the one at home, under which Entra gives
// refresh tokens; TenantID and ObjectID are those in the tenant that the guest signed in
// to, which are in all tokens and under which the app keeps the user's data. For other
// users they are the same.
type Account struct {
	HomeAccountID string `json:"home_account_id"`    // "<object ID>.<tenant ID>" at home; part of the cache key
	TenantID      string `json:"tenant_id"`          // tid: the tenant that tokens are got from
	ObjectID      string `json:"object_id"`          // oid
	Username      string `json:"username,omitempty"` // preferred_username; for display only
	Name          string `json:"name,omitempty"`     // for display only

	// Session is the Request's: the account's tokens are those of this session alone.
	// "": those of all sign-ins without a Session.
	Session string `json:"session,omitempty"`
}

// Format prints the account without the person's names, whatever the verb. It is not
// asked for an account in an unexported field of another type, since fmt asks nothing
// of those: print no session that keeps one there.
func (a Account) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "authcode.Account{tid=%s oid=%s}", a.TenantID, a.ObjectID)
}

// LogValue logs the account without the person's names.
func (a Account) LogValue() slog.Value {
	return slog.GroupValue(slog.String("tid", a.TenantID), slog.String("oid", a.ObjectID))
}

// newAccount makes an account of validated claims and of the home account ID that MSAL
// made of client_info.
//
// client_info is not signed. It came in one answer with the ID token, over TLS from the
// token endpoint, which is all that OpenID Connect asks even of the ID token (Core,
// section 3.1.3.7, rule 6), so it is as good as the connection. What it says is compared
// with the ID token as far as that can tell: a user who is at home in the tenant of the
// sign-in has one object ID. Nothing signed names the home of a guest, so there the
// connection alone vouches for it.
func newAccount(home string, c *verify.Claims, session string) (Account, error) {
	home = strings.ToLower(home)
	uid, utid, _ := strings.Cut(home, ".")
	user, ok := c.User()
	if !ok || !guid.MatchString(uid) || !guid.MatchString(utid) || utid == user.TenantID && uid != user.ObjectID {
		return Account{}, ErrAccount
	}
	return Account{home, user.TenantID, user.ObjectID, c.PreferredUsername, c.Name, session}, nil
}

// TokenSource returns a source of tokens for the account. wanted are permissions of one
// API that the user consented to; none: the Config's. It is cheap: make one for every
// request.
//
// Without a refresh token, which is lost when the process ends, when the cache must make
// room or when the user signs out, and with one that is no longer good, the error is an
// [*entra.Error] whose InteractionRequired is true; likewise for an account of a tenant
// that Config.Tenants does not let in.
func (f *Flow) TokenSource(a Account, wanted ...string) *entra.TokenSource {
	wanted = f.tokenScopes(wanted)
	var refused error
	client, err := f.client.WithTenant(a.TenantID)
	if err != nil || a.HomeAccountID == "" || !f.verifier.AllowsTenant(a.TenantID) {
		// A tenant that has no tokens, so that none is served from the cache. It is a
		// domain, so no error; nothing is sent to it.
		client, _ = f.client.WithTenant("no-account.invalid")
		refused = &entra.Error{Code: "login_required", Description: "there is no account, or none of a tenant whose users may sign in; the user must sign in"}
	}
	return client.TokenSource(entra.Grant{
		Flow: FlowName, Subject: a.HomeAccountID, Session: a.Session, Scopes: wanted, RefreshToken: true,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			if refused != nil {
				return nil, refused
			}
			return r.RefreshToken(ctx)
		},
	})
}

// SignOut forgets every token of the account, in all tenants: whoever is signed in with it,
// in whatever browser, must sign in again to get tokens here. If the account has a Session,
// only that one's are forgotten. What a refresh under way brings is not kept; what a sign-in
// under way brings is. The session and the cookie are the app's to end, and Entra's session
// is ended by sending the browser to [Flow.SignOutURL]. Tokens that were handed out stay
// good until they expire.
func (f *Flow) SignOut(_ context.Context, a Account) error {
	if a.HomeAccountID == "" {
		return invalid("there is no account to sign out")
	}
	authority := "https://" + f.client.Cloud().Host() + "/"
	f.client.Cache().PurgeFunc(func(k cache.Key) bool {
		return k.Flow == FlowName && k.ClientID == f.client.ClientID() && k.Subject == a.HomeAccountID && (a.Session == "" || k.Session == a.Session) && strings.HasPrefix(k.Authority, authority)
	})
	return nil
}
