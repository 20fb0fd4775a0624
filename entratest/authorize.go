package entratest

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// A signInRequest is a request to the authorization endpoint that was checked.
// It travels through the pages, sealed.
type signInRequest struct {
	Tenant       string        `json:"n"` // as the path names it
	Client       string        `json:"c"`
	ResponseType string        `json:"t"` // sorted: "code", "code id_token" or "id_token"
	Mode         string        `json:"m"`
	Redirect     string        `json:"r"`
	State        string        `json:"s,omitempty"`
	Scope        string        `json:"p"`
	Nonce        string        `json:"o,omitempty"`
	Challenge    string        `json:"h,omitempty"`
	Method       string        `json:"e,omitempty"`
	Prompt       string        `json:"q,omitempty"`
	LoginHint    string        `json:"l,omitempty"`
	MaxAge       time.Duration `json:"a,omitempty"` // negative: any
	Claims       string        `json:"k,omitempty"`
	Admin        bool          `json:"d,omitempty"` // an administrator's consent is asked, nothing else

	// Added on the way:
	Auth    *authentication `json:"u,omitempty"`
	Granted bool            `json:"g,omitempty"` // the consent page was answered
	Page    string          `json:"w,omitempty"` // the template of the page that asks
	Until   time.Time       `json:"x"`           // when the page expires
}

// parseSignIn checks a request to the authorization endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#request-an-authorization-code).
// With redirect set, the refusal is for the app to see; else only the user may.
func (s *Server) parseSignIn(r *request) (q *signInRequest, redirect bool, f *refusal) {
	if q, redirect, f = s.parseClient(r); f != nil {
		return q, redirect, f
	}
	return q, true, s.checkSignIn(r, s.estate.app[q.Client], q)
}

// parseClient checks who asks and where the answer goes.
func (s *Server) parseClient(r *request) (q *signInRequest, redirect bool, f *refusal) {
	get := r.form.Get
	if r.clientID == "" {
		return nil, false, missing("client_id")
	}
	app, f := s.findClient(r.clientID, r.tenant)
	if f != nil {
		return nil, false, f
	}
	q = &signInRequest{
		Tenant: r.name, Client: app.ClientID, Redirect: get("redirect_uri"), State: get("state"), Scope: get("scope"),
		Nonce: get("nonce"), Challenge: get("code_challenge"), Method: get("code_challenge_method"),
		Prompt: get("prompt"), LoginHint: get("login_hint"), MaxAge: -1, Claims: get("claims"), Mode: get("response_mode"),
	}
	switch {
	case len(app.RedirectURIs) == 0:
		return nil, false, refuse(500113, "The app has registered no redirect URI.")
	case q.Redirect == "":
		q.Redirect = app.RedirectURIs[0]
	case !app.redirectsTo(q.Redirect):
		return nil, false, wrongRedirect(app, q.Redirect)
	}
	for name, values := range r.form {
		if len(values) > 1 {
			return nil, false, refuse(9002313, "The request repeats the parameter '%s'.", quote(name))
		}
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, false, refuse(50194, "The app '%s' (%s) belongs to one tenant alone, and must be used at that tenant's endpoint rather than at common or organizations.", app.ClientID, app.Name)
	}
	if r.name == "consumers" {
		return nil, false, notPersonal(app)
	}
	return q, true, nil
}

// checkSignIn checks what may be told to the app, after settling how.
func (s *Server) checkSignIn(r *request, app *App, q *signInRequest) *refusal {
	types := strings.Fields(r.form.Get("response_type"))
	slices.Sort(types)
	q.ResponseType = strings.Join(types, " ")
	idToken := slices.Contains(types, "id_token")
	mode := q.Mode
	if q.Mode = "query"; idToken {
		q.Mode = "fragment"
	}
	switch mode {
	case "":
	case "fragment", "form_post":
		q.Mode = mode
	case "query":
		if idToken {
			return refuse(70007, "An ID token is never sent with the response_mode 'query'.")
		}
	default:
		return refuse(70007, "There is no response_mode '%s'.", quote(mode))
	}
	switch q.ResponseType {
	case "":
		return missing("response_type")
	case "code", "id_token", "code id_token":
	default:
		return refuse(70005, "The response_type '%s' is not supported.", quote(q.ResponseType))
	}
	if idToken && !app.IDTokenGrant {
		return refuse(700054, "The app is not registered for ID tokens from this endpoint, which response_type 'id_token' asks for.")
	}
	if idToken && q.Nonce == "" {
		return missing("nonce")
	}
	if q.Scope == "" {
		return missing("scope")
	}
	if !slices.Contains([]string{"", "none", "login", "consent", "select_account", "create"}, q.Prompt) {
		return refuse(90023, "There is no prompt '%s'.", quote(q.Prompt))
	}
	if age := r.form.Get("max_age"); age != "" {
		n, err := strconv.Atoi(age)
		if err != nil || n < 0 || n > 1<<30 {
			return refuse(90023, "The max_age '%s' is no number of seconds.", quote(age))
		}
		q.MaxAge = time.Duration(n) * time.Second
	}
	if f := checkChallenge(q); f != nil {
		return f
	}
	if r.form.Get("request") != "" || r.form.Get("request_uri") != "" {
		return refuse(90023, "Request objects are not supported.")
	}
	if r.form.Get("resource") != "" {
		return refuse(901002, "This endpoint takes scopes, not a 'resource'.")
	}
	if _, f := parseClaims(q.Claims); f != nil {
		return f
	}
	scopes, f := s.estate.parseScopes(q.Scope, r.tenant)
	if f == nil && idToken && !scopes.openid {
		f = refuse(70005, "An ID token needs the scope 'openid'.")
	}
	return f
}

// checkChallenge checks the PKCE parameters (RFC 7636 section 4.3).
func checkChallenge(q *signInRequest) *refusal {
	switch {
	case q.Method != "" && q.Challenge == "":
		return refuse(50147, "There is a code_challenge_method but no code_challenge.")
	case q.Challenge == "":
		return nil
	case q.Method != "" && q.Method != "plain" && q.Method != "S256":
		return refuse(90023, "There is no code_challenge_method '%s'.", quote(q.Method))
	case len(q.Challenge) < 43 || len(q.Challenge) > 128:
		return refuse(501491, "A code_challenge has 43 to 128 characters.")
	}
	if q.Method == "" {
		q.Method = "plain"
	}
	return nil
}
