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

	"github.com/entratoken/entra/internal/scopes"
)

// oidcScopes ask for an ID token, for oid and the names in it, and for a refresh token
// ("Scopes and permissions in the Microsoft identity platform").
var oidcScopes = []string{"openid", "profile", "offline_access"}

// Request says what is particular about one sign-in. The zero value is an ordinary one.
//
// LoginHint, DomainHint, Prompt and Claims are requests, not guarantees: they travel
// through the browser, whose owner can take them out. An app that relies on one looks at
// what came of it: after a step-up at acrs in the claims of the token (its API does:
// [verify.RequireAuthContext]) or at auth_time in the ID token's, and at whether the
// Account is the one from before.
type Request struct {
	// LoginHint is the username, or the login_hint claim, of who is to sign in; it
	// saves the user typing. "": whoever is signed in at Entra, or chooses to.
	LoginHint string
	// DomainHint is the domain or tenant of the user. "": Entra finds out.
	DomainHint string
	// Prompt is "login" to ask for credentials anew, "select_account", "consent", or
	// "none" to ask nothing: then what cannot be done silently is an error whose
	// InteractionRequired is true. "": Entra asks what it has to.
	Prompt string
	// Claims is the challenge that the sign-in must satisfy, as JSON: an
	// [entra.Error]'s, or that of [entra.ClaimsChallenge]. "": none.
	Claims string
	// ReturnTo is where the user goes afterwards: a path on this site with a query,
	// in printable ASCII. "": "/".
	ReturnTo string
	// Scopes are permissions in one API, in place of the Config's: they are asked
	// for consent, and SignIn.Source is for them. None: the Config's.
	Scopes []string
	// ExtraScopes are permissions in any APIs that the user is asked to consent to
	// at the same time, for tokens later. None: nothing more.
	ExtraScopes []string
	// Session names the browser's session, if its tokens are to be its own: two browsers
	// in which one user is signed in then share none, so that what a second factor in one
	// brings is of no use in the other, and each is signed out by itself. It is in the
	// [Account], and is not secret; printable ASCII, at most 64 bytes. "": the account's
	// sign-ins share their tokens.
	Session string
}

// Login is a sign-in that has begun: where to send the browser, and what the answer is
// checked against. It is for one browser and for one answer (see the package's
// documentation on how to keep it).
//
// Its JSON is what [Flow.Exchange] must see again, secrets included: state, nonce and
// PKCE verifier. With the scopes and URLs of an ordinary app it fits into a cookie. Nothing else shows them: a Login prints and logs without them.
type Login struct {
	p func() *login // a func, because fmt prints nothing of one, wherever it stands
}

type login struct {
	url      string    // not kept: it has been used by then
	State    string    `json:"state"`
	Nonce    string    `json:"nonce"`
	Verifier string    `json:"verifier"`
	Scopes   []string  `json:"scopes,omitempty"`
	ReturnTo string    `json:"return_to"`
	Session  string    `json:"session,omitempty"`
	Expires  time.Time `json:"expires"`
	binding
}

// binding is what a login is bound to: only a flow with the same sends its code and
// verifier anywhere (RFC 9700, section 4.4, on mix-up attacks).
type binding struct {
	Authority   string `json:"authority"`
	ClientID    string `json:"client_id"`
	RedirectURL string `json:"redirect_url"`
}

func (f *Flow) binding() binding {
	return binding{"https://" + f.client.Cloud().Host() + "/" + f.client.TenantID(), f.client.ClientID(), f.config.RedirectURL}
}

// Begin begins a sign-in. It asks nobody anything. Its error is [ErrReturnTo], or an
// [*entra.Error] with the code "invalid_request".
func (f *Flow) Begin(_ context.Context, r Request) (*Login, error) {
	if r.ReturnTo == "" {
		r.ReturnTo = "/"
	}
	switch {
	case strings.ContainsFunc(r.ReturnTo, func(c rune) bool { return c > unicode.MaxASCII }):
		return nil, fmt.Errorf("%w: percent-encode what is not ASCII", ErrReturnTo)
	case !onSite(r.ReturnTo):
		return nil, ErrReturnTo
	}
	if !slices.Contains([]string{"", "login", "none", "consent", "select_account"}, r.Prompt) {
		return nil, invalid("Request.Prompt is not one of login, none, consent and select_account")
	}
	if !validScopes(r.Scopes) || !validScopes(r.ExtraScopes) {
		return nil, invalid("a scope of the Request is empty or has a space in it; each entry is one scope")
	}
	if !oneAPI(r.Scopes) {
		return nil, invalid("Request.Scopes are permissions in several APIs, and a token is for one; put those in the others into ExtraScopes")
	}
	if len(r.Session) > 64 || r.Session != "" && !validScopes([]string{r.Session}) {
		return nil, invalid("Request.Session is longer than 64 bytes, or not printable ASCII without spaces")
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
	q := url.Values{
		"client_id":             {f.client.ClientID()},
		"response_type":         {"code"},
		"response_mode":         {f.config.ResponseMode},
		"redirect_uri":          {f.config.RedirectURL},
		"scope":                 {strings.Join(slices.Concat(scopes.Resource(p.Scopes), scopes.Resource(r.ExtraScopes), oidcScopes), " ")},
		"state":                 {p.State},
		"nonce":                 {p.Nonce},
		"code_challenge":        {oauth2.S256ChallengeFromVerifier(p.Verifier)},
		"code_challenge_method": {"S256"},
	}
	for name, value := range map[string]string{
		"login_hint": r.LoginHint, "domain_hint": r.DomainHint, "prompt": r.Prompt, "claims": claims,
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	p.url = f.endpoint("authorize", q)
	return &Login{func() *login { return p }}, nil
}

// random returns 256 random bits in base64url.
func random() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

// URL returns where to send the browser, or "" if the Login was read from JSON.
func (l *Login) URL() string { return l.get().url }

// State returns the state parameter that the answer will have: the name under which to
// keep one of several logins of a browser. It is not to be logged.
func (l *Login) State() string { return l.get().State }

// ReturnTo returns where the user goes afterwards: a path on this site.
func (l *Login) ReturnTo() string { return l.get().ReturnTo }

// Scopes returns what the token is for that the login brings.
func (l *Login) Scopes() []string { return slices.Clone(l.get().Scopes) }

// Expires returns when the login ends.
func (l *Login) Expires() time.Time { return l.get().Expires }

func (l *Login) get() *login {
	if l == nil || l.p == nil {
		return &login{}
	}
	return l.p()
}

// MarshalJSON returns what [Flow.Exchange] must see again. It is secret.
func (l Login) MarshalJSON() ([]byte, error) { return json.Marshal(l.get()) }

// UnmarshalJSON reads what MarshalJSON returned.
func (l *Login) UnmarshalJSON(b []byte) error {
	p := &login{}
	if json.Unmarshal(b, p) != nil { // its text may quote what it read
		return ErrNoLogin
	}
	l.p = func() *login { return p }
	return nil
}

// Format prints when the login ends, whatever the verb.
func (l Login) Format(s fmt.State, _ rune) { fmt.Fprint(s, l.LogValue().String()) }

// LogValue logs when the login ends.
func (l Login) LogValue() slog.Value {
	return slog.StringValue("authcode.Login{until " + l.Expires().Format(time.RFC3339) + "}")
}
