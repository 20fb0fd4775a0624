package entratest

import (
	"net/http"
	"net/url"
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

	// Added on the way:
	Auth    *authentication `json:"u,omitempty"`
	Granted bool            `json:"g,omitempty"` // the consent page was answered
	Until   time.Time       `json:"x"`           // when the page expires
}

// parseSignIn checks a request to the authorization endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#request-an-authorization-code).
// With redirect set, the refusal is for the app to see; else only the user may.
func (s *Server) parseSignIn(r *request) (q *signInRequest, redirect bool, f *refusal) {
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
		return nil, false, refuse(500113, "No reply address is registered for the application.")
	case q.Redirect == "":
		q.Redirect = app.RedirectURIs[0]
	case !app.redirectsTo(q.Redirect):
		return nil, false, wrongRedirect(app, q.Redirect)
	}
	for name, values := range r.form {
		if len(values) > 1 {
			return nil, false, refuse(9002313, "Invalid request. The parameter '%s' is repeated.", quote(name))
		}
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, false, refuse(50194, "Application '%s'(%s) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such applications. Use a tenant-specific endpoint or configure the application to be multi-tenant.", app.ClientID, app.Name)
	}
	if r.name == "consumers" {
		return nil, false, refuse(9002332, "Application '%s'(%s) is configured for use by Microsoft Entra users only. Please do not use the /consumers endpoint to serve this request.", app.ClientID, app.Name)
	}
	return q, true, s.checkSignIn(r, app, q)
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
			return refuse(70007, "'query' is not a supported value of 'response_mode' when requesting a token.")
		}
	default:
		return refuse(70007, "'%s' is not a supported value of 'response_mode'.", quote(mode))
	}
	switch q.ResponseType {
	case "":
		return missing("response_type")
	case "code", "id_token", "code id_token":
	default:
		return refuse(70005, "The app requested an unsupported response type '%s'.", quote(q.ResponseType))
	}
	if idToken && !app.IDTokenGrant {
		return refuse(700054, "response_type 'id_token' is not enabled for the application.")
	}
	if idToken && q.Nonce == "" {
		return missing("nonce")
	}
	if q.Scope == "" {
		return missing("scope")
	}
	if !slices.Contains([]string{"", "none", "login", "consent", "select_account", "create", "admin_consent"}, q.Prompt) {
		return refuse(90023, "Unsupported 'prompt' value '%s'.", quote(q.Prompt))
	}
	if age := r.form.Get("max_age"); age != "" {
		n, err := strconv.Atoi(age)
		if err != nil || n < 0 || n > 1<<30 {
			return refuse(90023, "Invalid 'max_age' value '%s'.", quote(age))
		}
		q.MaxAge = time.Duration(n) * time.Second
	}
	if f := checkChallenge(q); f != nil {
		return f
	}
	if r.form.Get("request") != "" || r.form.Get("request_uri") != "" {
		return refuse(90023, "The parameters 'request' and 'request_uri' are not supported.")
	}
	if r.form.Get("resource") != "" {
		return refuse(901002, "The 'resource' request parameter is not supported.")
	}
	if _, f := parseClaims(q.Claims); f != nil {
		return f
	}
	scopes, f := s.estate.parseScopes(q.Scope, r.tenant)
	if f == nil && idToken && !scopes.openid {
		f = refuse(70005, "Response type 'id_token' requires the 'openid' scope.")
	}
	return f
}

// checkChallenge checks the PKCE parameters (RFC 7636 section 4.3).
func checkChallenge(q *signInRequest) *refusal {
	switch {
	case q.Method != "" && q.Challenge == "":
		return refuse(50147, "Missing code challenge. The size of the code challenge parameter is not valid.")
	case q.Challenge == "":
		return nil
	case q.Method != "" && q.Method != "plain" && q.Method != "S256":
		return refuse(90023, "Unsupported 'code_challenge_method' value '%s'.", quote(q.Method))
	case len(q.Challenge) < 43 || len(q.Challenge) > 128:
		return refuse(501491, "Invalid size of Code_Challenge parameter.")
	}
	if q.Method == "" {
		q.Method = "plain"
	}
	return nil
}

// pageLife is how long a person may look at a page of the sign-in.
const pageLife = time.Hour

// authorize answers the authorization endpoint.
func (s *Server) authorize(r *request) *answer {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost || r.malformed {
		return errorPage(r, refuse(900561, "The endpoint only accepts GET, POST requests. Received a %s request.", quote(r.http.Method)))
	}
	q, redirect, f := s.parseSignIn(r)
	if f != nil {
		if !redirect {
			return errorPage(r, f)
		}
		return s.respondError(r, q, f)
	}
	q.Until = r.now.Add(pageLife)
	if r.as != nil {
		auth := s.signedIn(r.as, r.now)
		q.Auth, q.Granted = &auth, false
		return s.proceed(r, q)
	}
	return s.begin(r, q)
}

// begin decides how a browser's sign-in starts: with a session it has, or with
// a page.
func (s *Server) begin(r *request, q *signInRequest) *answer {
	sessions := s.sessions(r)
	var fit []authentication
	for _, a := range sessions {
		if q.LoginHint != "" && !strings.EqualFold(a.User, s.hinted(q.LoginHint)) {
			continue
		}
		if r.tenant != nil && s.estate.user[a.User].objectIDIn(r.tenant) == "" {
			continue
		}
		fit = append(fit, a)
	}
	tooOld := func(a authentication) bool { return q.MaxAge >= 0 && r.now.Sub(a.At) > q.MaxAge }
	if q.Prompt == "none" {
		if len(fit) != 1 || tooOld(fit[0]) {
			return s.respondError(r, q, refuse(50058, "A silent sign-in request was sent but no user is signed in. The cookies used to represent the user's session were not sent in the request to Azure AD."))
		}
		q.Auth = &fit[0]
		return s.proceed(r, q)
	}
	switch {
	case q.Prompt == "select_account" && len(sessions) > 0, q.Prompt != "login" && len(fit) > 1:
		return s.pickPage(r, q, sessions)
	case q.Prompt != "login" && q.Prompt != "create" && len(fit) == 1 && !tooOld(fit[0]):
		q.Auth = &fit[0]
		return s.proceed(r, q)
	}
	return s.passwordPage(r, q, s.hinted(q.LoginHint), nil)
}

// hinted is the username in a login_hint: itself, or the value of the optional
// claim.
func (s *Server) hinted(hint string) string {
	if raw, err := b64.DecodeString(hint); err == nil && s.estate.user[strings.ToLower(string(raw))] != nil {
		return string(raw)
	}
	return hint
}

// proceed goes on once it is known who signs in: it asks for a second factor
// and for consent if they are needed, then answers the app.
func (s *Server) proceed(r *request, q *signInRequest) *answer {
	u, f := s.fresh(q.Auth)
	if f != nil {
		if f.aadsts == 50173 && r.as == nil && q.Prompt != "none" {
			return s.passwordPage(r, q, q.Auth.User, nil)
		}
		return s.stop(r, q, f)
	}
	client := s.estate.app[q.Client]
	t := r.tenant
	if t == nil {
		t = s.estate.tenant[u.TenantID]
	}
	if u.objectIDIn(t) == "" {
		return s.stop(r, q, refuse(50020, "User account '%s' from identity provider does not exist in tenant '%s' and cannot access the application '%s'(%s) in that tenant. The account needs to be added as an external user in the tenant first. Sign out and sign in again with a different user account.", quote(u.Username), t.Name, client.ClientID, client.Name))
	}
	scopes, f := s.estate.parseScopes(q.Scope, t)
	if f != nil {
		return s.respondError(r, q, f)
	}
	claims, f := parseClaims(q.Claims)
	if f != nil {
		return s.respondError(r, q, f)
	}
	if client.RequireAssignment && len(s.estate.rolesIn(u, client)) == 0 {
		return s.stop(r, q, refuse(50105, "The signed in user '%s' is not assigned to a role for the application '%s'(%s).", quote(u.Username), client.ClientID, client.Name))
	}
	if f := s.needsMFA(client, scopes, claims, q.Auth); f != nil {
		switch {
		case q.Prompt == "none":
			return s.respondError(r, q, f)
		case !u.MFA:
			return s.stop(r, q, refuse(50079, "Due to a configuration change made by your administrator, or because you moved to a new location, you must enroll in multi-factor authentication to access '%s'.", client.ClientID))
		case r.as == nil:
			return s.mfaPage(r, q, u)
		}
		passMFA(q.Auth, claims)
	}
	items := s.toConsent(scopes, u, t, client, q.Prompt == "consent" && !q.Granted)
	if len(items) > 0 {
		switch {
		case q.Prompt == "none":
			f := refuse(65001, "The user or administrator has not consented to use the application with ID '%s' named '%s'. Send an interactive authorization request for this user and resource.", client.ClientID, client.Name)
			f.code, f.suberror = "interaction_required", "consent_required"
			return s.respondError(r, q, f)
		case r.as == nil:
			return s.consentPage(r, q, u, t, items)
		}
		s.accept(u, t, items)
	}
	return s.finish(r, q, u, t, scopes)
}

// needsMFA says why the sign-in needs a second factor that the session lacks,
// or is nil.
func (s *Server) needsMFA(client *App, scopes *scopeRequest, claims claimsRequest, auth *authentication) *refusal {
	if f := conditionalAccess(client, auth, claims); f != nil {
		return f
	}
	for _, res := range scopes.resources {
		if f := conditionalAccess(res.app, auth, claims); f != nil {
			return f
		}
	}
	if claims.demandsMFA(s.estate) && !auth.MFA {
		return refuse(50076, "You must use multi-factor authentication to access '%s'.", client.ClientID)
	}
	return nil
}

// passMFA notes that the second factor was given, and the contexts it satisfies.
func passMFA(auth *authentication, claims claimsRequest) {
	auth.MFA = true
	for _, context := range claims.contexts() {
		if !slices.Contains(auth.ACRs, context) && len(auth.ACRs) < 25 {
			auth.ACRs = append(auth.ACRs, context)
		}
	}
}

// accept records the consent of a user.
func (s *Server) accept(u *User, t *Tenant, items []consentItem) {
	for _, item := range items {
		s.consent(u.Username, t, item.client, item.resource, item.scopes)
	}
}

// finish answers the app with a code, an ID token or both.
func (s *Server) finish(r *request, q *signInRequest, u *User, t *Tenant, scopes *scopeRequest) *answer {
	params := url.Values{}
	raw := ""
	if strings.HasPrefix(q.ResponseType, "code") {
		raw = s.sealed("code", code{
			ID: randomToken(12), Auth: *q.Auth, Tenant: t.ID, Client: q.Client, Scope: q.Scope, Redirect: q.Redirect,
			Challenge: q.Challenge, Method: q.Method, Nonce: q.Nonce, Issued: r.now,
		})
		params.Set("code", raw)
	}
	if strings.HasSuffix(q.ResponseType, "id_token") {
		payload := s.idClaims(&accessToken{request: r, tenant: t, client: s.estate.app[q.Client], user: u, auth: q.Auth}, scopes, q.Nonce)
		if raw != "" {
			payload["c_hash"] = halfHash(raw)
		}
		params.Set("id_token", s.signID(payload))
	}
	params.Set("session_state", q.Auth.SID)
	a := s.respond(r, q, params)
	if r.as == nil {
		s.remember(r, a, *q.Auth, q.Client)
	}
	return a
}
