package authcode

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/scopes"
)

// oidcScopes request an ID token, the claims oid and name in it, and a refresh token
// ("Scopes and permissions in the Microsoft identity platform").
var oidcScopes = []string{"openid", "profile", "offline_access"}

// Request describes one sign-in. The zero value is an ordinary sign-in.
//
// LoginHint, DomainHint, Prompt, Claims and Parameters are requests, not guarantees. They travel through
// the browser, and its user can remove them. An app that relies on one must check the
// result: acrs in the access token after a step-up (the API checks it with
// [verify.RequireAuthContext]), auth_time in the ID token, or whether the Account is still
// the same.
type Request struct {
	// LoginHint is the username, or the login_hint claim, of the user who should sign in.
	// It saves the user from typing it. If empty, Entra uses its current session or lets
	// the user choose an account.
	LoginHint string
	// DomainHint is the domain or tenant of the user. If empty, Entra determines it.
	DomainHint string
	// Prompt is "login" to require credentials again, "select_account", "consent", "create"
	// to let the user create an account, or "none" to allow no interaction. With "none", a
	// sign-in that needs the user fails with an error whose InteractionRequired method
	// reports true. If empty, Entra prompts only where necessary.
	Prompt string
	// Claims is a claims challenge, in JSON, that the sign-in must satisfy. It comes from
	// an entra.Error or from entra.ClaimsChallenge. If empty, any sign-in will do.
	Claims string
	// ReturnTo is the page to which the user returns: a path on this site, with a query if
	// needed, in printable ASCII. It may be about 2,000 bytes long. Defaults to "/".
	ReturnTo string
	// Scopes are permissions in one API. They replace the Config's: the user consents to
	// them, and SignIn.Source is for them. If empty, the Config's are used.
	Scopes []string
	// ExtraScopes are further permissions, in any APIs, to which the user consents at the
	// same time. Tokens for them can be acquired later.
	ExtraScopes []string
	// Session names the session of this browser if its tokens must be separate. Two
	// browsers of one user then share no tokens: a second factor in one does not count in
	// the other, and each signs out separately. The name is stored in the Account and is
	// not secret. It is at most 64 bytes of printable ASCII. If empty, all sign-ins of
	// an account share their tokens.
	Session string
	// Parameters are further parameters of the authorization request, such as ui_locales or
	// max_age. They replace those of the Config, and an empty value removes one. LoginHint
	// and DomainHint replace parameters of the same name. With max_age, Exchange also
	// requires a recent auth_time in the ID token. It is an error to name a parameter that
	// the flow sets itself, in upper or lower case.
	Parameters map[string]string
}

// Login is a sign-in in progress. It contains the URL for the browser and the values that
// the authorization response is checked against. It is valid for one browser and one response;
// the package documentation says how to store it. Create it with [Flow.Begin]. [Flow.Exchange]
// rejects the zero Login with [ErrNoLogin].
//
// Its JSON is for storage and contains secrets: the state, the nonce and the PKCE verifier.
// With ordinary scopes and URLs it fits into a cookie. Printing or logging a Login reveals no
// secrets.
//
// A Login does not change, so its methods except UnmarshalJSON may be called concurrently. Of
// concurrent calls of Exchange with one Login, only one succeeds.
type Login struct{ contents redact.Secret[*login] }

type login struct {
	url      string    // not stored: it is used at once
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Scopes   []string  `json:"scopes,omitempty"`
	ReturnTo string    `json:"return_to"`
	Session  string    `json:"session,omitempty"`
	Expires  time.Time `json:"expires"`
	// AuthAfter is the earliest time at which the user may have authenticated, if max_age was sent.
	AuthAfter time.Time `json:"auth_after,omitzero"`
	binding
}

// binding ties a login to a flow. Only a flow with an equal binding sends the login's code
// and verifier to a token endpoint (RFC 9700, section 4.4, on mix-up attacks).
type binding struct {
	Authority   string `json:"authority"`
	ClientID    string `json:"client_id"`
	RedirectURL string `json:"redirect_url"`
}

func (f *Flow) binding() binding {
	return binding{"https://" + f.client.Cloud().Host() + "/" + f.client.TenantID(), f.client.ClientID(),
		f.config.RedirectURL}
}

// Begin starts a sign-in. Redirect the browser to the URL of the returned [Login], and store
// the Login for this browser.
//
// Begin makes no network requests and copies the slices of r. ctx is not used yet. It allows for authorization
// requests that are sent to Entra first (RFC 9126). The error is [ErrReturnTo],
// [ErrReturnToTooLong] or an [*entra.Error] with the code "invalid_request".
func (f *Flow) Begin(ctx context.Context, r Request) (*Login, error) {
	if f.isZero() {
		return nil, zeroFlow()
	}
	if r.ReturnTo == "" {
		r.ReturnTo = "/"
	}
	switch {
	case strings.ContainsFunc(r.ReturnTo, func(c rune) bool { return c > unicode.MaxASCII }):
		return nil, fmt.Errorf("%w: percent-encode non-ASCII characters", ErrReturnTo)
	case !isLocalPath(r.ReturnTo):
		return nil, ErrReturnTo
	case len(r.ReturnTo) > maxReturnTo || len(marshal(r.ReturnTo)) > maxReturnTo:
		return nil, ErrReturnToTooLong
	}
	if !slices.Contains([]string{"", "login", "none", "consent", "select_account", "create"}, r.Prompt) {
		return nil, invalid(`Request.Prompt must be "login", "select_account", "consent", "create" or "none"`)
	}
	if err := checkParameters("Request.Parameters", r.Parameters); err != nil {
		return nil, err
	}
	if !validScopes(r.Scopes) || !validScopes(r.ExtraScopes) {
		return nil, invalid("Request.Scopes or Request.ExtraScopes has an invalid entry; " + oneScope)
	}
	if !scopes.OneAPI(r.Scopes) {
		return nil, invalid("Request.Scopes names several APIs, but a token is for one; " +
			"move the scopes of the others to ExtraScopes")
	}
	requested := slices.Concat(f.tokenScopes(r.Scopes), r.ExtraScopes)
	if err := scopes.Check(requested); err != nil {
		return nil, invalid("the scopes of the Request are invalid: " + err.Error())
	}
	if !validSession(r.Session) {
		return nil, invalid("Request.Session " + sessionName)
	}
	claims, err := mergeClaims(r.Claims, f.client.Capabilities())
	if err != nil {
		return nil, err
	}
	p := &login{
		State: random(), Nonce: random(), Verifier: oauth2.GenerateVerifier(),
		Scopes: f.tokenScopes(r.Scopes), ReturnTo: r.ReturnTo, Session: r.Session,
		Expires: time.Now().Add(f.config.LoginTimeout).UTC().Round(0),
		binding: f.binding(),
	}
	requested = append(scopes.WithoutOIDC(requested), oidcScopes...)
	q := url.Values{
		"client_id":             {f.client.ClientID()},
		"response_type":         {"code"},
		"response_mode":         {f.config.ResponseMode},
		"redirect_uri":          {f.config.RedirectURL},
		"scope":                 {strings.Join(requested, " ")},
		"state":                 {p.State},
		"nonce":                 {p.Nonce},
		"code_challenge":        {oauth2.S256ChallengeFromVerifier(p.Verifier)},
		"code_challenge_method": {"S256"},
	}
	for _, params := range []map[string]string{f.config.Parameters, r.Parameters} {
		for name, value := range params {
			setParameter(q, name, value)
		}
	}
	for name, value := range map[string]string{
		"login_hint": r.LoginHint, "domain_hint": r.DomainHint, "prompt": r.Prompt, "claims": claims,
	} {
		if value != "" {
			setParameter(q, name, value)
		}
	}
	p.AuthAfter = authAfter(q)
	p.url = f.endpoint("authorize", q)
	return &Login{redact.NewSecret(p)}, nil
}

const sessionName = "must be at most 64 bytes of printable ASCII without spaces"

func validSession(name string) bool {
	return len(name) <= 64 && isPrintable(name)
}

// random returns 256 random bits in base64url.
func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// URL returns the URL to redirect the browser to. It is not part of the Login's JSON, so it
// is empty for a Login that was read from storage.
func (l *Login) URL() string { return l.get().url }

// State returns the state parameter of the login, which the authorization response repeats.
// Use it to find one of several logins of a browser. Do not log it.
func (l *Login) State() string { return l.get().State }

// ReturnTo returns the page to which the user returns: a path on this site.
func (l *Login) ReturnTo() string { return l.get().ReturnTo }

// Scopes returns the scopes of the token that the login acquires.
func (l *Login) Scopes() []string { return slices.Clone(l.get().Scopes) }

// WithSession returns the same login with another [Request.Session], for example because the browser has got a session
// in another tab since. The code of l or of the copy can be redeemed once.
func (l *Login) WithSession(name string) *Login {
	p := *l.get()
	p.Session = name
	return &Login{redact.NewSecret(&p)}
}

// Expires returns the time at which the login expires.
func (l *Login) Expires() time.Time { return l.get().Expires }

// get returns the contents of l, which are empty for nil and for the zero Login.
func (l *Login) get() *login {
	if l == nil || l.contents.Value() == nil {
		return &login{}
	}
	return l.contents.Value()
}

// MarshalJSON returns the form of l for storage. It contains secrets.
func (l Login) MarshalJSON() ([]byte, error) { return json.Marshal(l.get()) }

// UnmarshalJSON reads the form that MarshalJSON returns. The error is [ErrNoLogin].
func (l *Login) UnmarshalJSON(b []byte) error {
	p := &login{}
	if json.Unmarshal(b, p) != nil { // its text may quote secrets
		return ErrNoLogin
	}
	l.contents = redact.NewSecret(p)
	return nil
}

// Format prints only the expiry of the login, for every verb.
func (l Login) Format(s fmt.State, _ rune) { fmt.Fprint(s, l.LogValue().String()) }

// LogValue logs only the expiry of the login.
func (l Login) LogValue() slog.Value {
	return slog.StringValue("authcode.Login{until " + l.Expires().Format(time.RFC3339) + "}")
}
