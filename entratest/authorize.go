package entratest

import (
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A signInRequest is a validated request to the authorization endpoint. The pages
// contain it, encrypted.
type signInRequest struct {
	ID           string        `json:"i"` // for the console
	Tenant       string        `json:"n"` // as in the path
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
	Admin        bool          `json:"d,omitempty"` // a request for admin consent only
	Device       string        `json:"v,omitempty"` // user code of a device; Redirect is then empty

	// Added during the sign-in:
	Auth    *authentication `json:"u,omitempty"`
	Granted bool            `json:"g,omitempty"` // the consent page was submitted
	Page    string          `json:"w,omitempty"` // name of the current page
	Until   time.Time       `json:"x"`           // expiry of the page
}

// parseSignIn checks a request to the authorization endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#request-an-authorization-code).
// If redirect is true, the error must be sent to the app, otherwise only shown to
// the user.
func (s *Server) parseSignIn(r *request) (q *signInRequest, redirect bool, aerr *aadstsError) {
	if q, redirect, aerr = s.parseAuthorizeClient(r); aerr != nil {
		return q, redirect, aerr
	}
	return q, true, s.checkSignIn(r, s.registry.appByID[q.Client], q)
}

// parseAuthorizeClient checks the client and its redirect URI.
func (s *Server) parseAuthorizeClient(r *request) (q *signInRequest, redirect bool, aerr *aadstsError) {
	get := r.form.Get
	if r.clientID == "" {
		return nil, false, missingParameter("client_id")
	}
	app, aerr := s.findClient(r.clientID, r.tenant)
	if aerr != nil {
		return nil, false, aerr
	}
	q = &signInRequest{
		Tenant: r.tenantName, Client: app.ClientID, Redirect: get("redirect_uri"), State: get("state"), Scope: get("scope"),
		Nonce: get("nonce"), Challenge: get("code_challenge"), Method: get("code_challenge_method"),
		Prompt: get("prompt"), LoginHint: get("login_hint"), MaxAge: -1, Claims: get("claims"), Mode: get("response_mode"),
	}
	switch {
	case len(app.allRedirectURIs()) == 0:
		return nil, false, newError(500113, "The app has no registered redirect URI.")
	case q.Redirect == "":
		q.Redirect = app.allRedirectURIs()[0]
	case !app.hasRedirectURI(q.Redirect):
		return nil, false, redirectMismatch(app, q.Redirect)
	}
	for name, values := range r.form {
		if len(values) > 1 {
			return nil, false, newError(9002313, "The request repeats the parameter '%s'.", printable(name))
		}
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, false, singleTenantError(app)
	}
	if r.tenantName == "consumers" {
		return nil, false, personalAccountsError(app)
	}
	return q, true, nil
}

// checkSignIn determines the response mode, then checks the parameters whose
// errors are sent to the app.
func (s *Server) checkSignIn(r *request, app *App, q *signInRequest) *aadstsError {
	types := strings.Fields(r.form.Get("response_type"))
	slices.Sort(types)
	q.ResponseType = strings.Join(types, " ")
	idToken := slices.Contains(types, "id_token")
	if aerr := q.setResponseMode(idToken); aerr != nil {
		return aerr
	}
	if aerr := q.checkResponseType(app, idToken); aerr != nil {
		return aerr
	}
	if q.Scope == "" {
		return missingParameter("scope")
	}
	if !slices.Contains([]string{"", "none", "login", "consent", "select_account", "create"}, q.Prompt) {
		return newError(90023, "The prompt '%s' is not supported.", printable(q.Prompt))
	}
	if age := r.form.Get("max_age"); age != "" {
		n, err := strconv.Atoi(age)
		if err != nil || n < 0 || n > 1<<30 {
			return newError(90023, "The max_age '%s' is not a number of seconds.", printable(age))
		}
		q.MaxAge = time.Duration(n) * time.Second
	}
	if aerr := checkChallenge(q); aerr != nil {
		return aerr
	}
	if r.form.Get("request") != "" || r.form.Get("request_uri") != "" {
		return newError(90023, "Request objects are not supported.")
	}
	if r.form.Get("resource") != "" {
		return newError(901002, "The parameter 'resource' is not supported. Use 'scope'.")
	}
	if _, aerr := parseClaims(q.Claims); aerr != nil {
		return aerr
	}
	scopes, aerr := s.registry.parseScopes(q.Scope, r.tenant)
	if aerr == nil && idToken && !scopes.openid {
		aerr = newError(70005, "An ID token requires the scope 'openid'.")
	}
	return aerr
}

// setResponseMode replaces an empty Mode with its default. On an error, Mode is the
// mode for the error response.
func (q *signInRequest) setResponseMode(idToken bool) *aadstsError {
	requested := q.Mode
	if q.Mode = "query"; idToken {
		q.Mode = "fragment"
	}
	switch requested {
	case "":
	case "fragment", "form_post":
		q.Mode = requested
	case "query":
		if idToken {
			return newError(70007, "The response_mode 'query' is not supported for ID tokens.")
		}
	default:
		return newError(70007, "The response_mode '%s' is not supported.", printable(requested))
	}
	return nil
}

// checkResponseType checks the response type and its requirements.
func (q *signInRequest) checkResponseType(app *App, idToken bool) *aadstsError {
	switch q.ResponseType {
	case "":
		return missingParameter("response_type")
	case "code", "id_token", "code id_token":
	default:
		return newError(70005, "The response_type '%s' is not supported.", printable(q.ResponseType))
	}
	if idToken && !app.IDTokenGrant {
		return newError(700054, "The response_type 'id_token' is not enabled for the app.")
	}
	if idToken && q.Nonce == "" {
		return missingParameter("nonce")
	}
	return nil
}

// checkChallenge checks the PKCE parameters (RFC 7636, section 4.3).
func checkChallenge(q *signInRequest) *aadstsError {
	switch {
	case q.Method != "" && q.Challenge == "":
		return newError(50147, "The request has a code_challenge_method but not a code_challenge.")
	case q.Challenge == "":
		return nil
	case q.Method != "" && q.Method != "plain" && q.Method != "S256":
		return newError(90023, "The code_challenge_method '%s' is not supported.", printable(q.Method))
	case len(q.Challenge) < 43 || len(q.Challenge) > 128:
		return newError(501491, "The code_challenge must have 43 to 128 characters.")
	}
	if q.Method == "" {
		q.Method = "plain"
	}
	return nil
}

// hasRedirectURI reports whether the app registered the redirect URI. The
// comparison is exact, except for the port of a loopback address and for the slash
// of an empty path
// (https://learn.microsoft.com/entra/identity-platform/reply-url).
func (a *App) hasRedirectURI(uri string) bool { return matchRedirectURI(a.allRedirectURIs(), uri) }

// allRedirectURIs returns the redirect URIs of all platforms.
func (a *App) allRedirectURIs() []string {
	return slices.Concat(a.RedirectURIs, a.SPARedirectURIs, a.PublicRedirectURIs)
}

// platform is the type of the redirect URI of a grant.
type platform string

const (
	platformWeb    platform = ""
	platformSPA    platform = "spa"
	platformPublic platform = "public"
)

// redirectPlatform returns the platform of a registered redirect URI.
func (a *App) redirectPlatform(uri string) platform {
	switch {
	case matchRedirectURI(a.RedirectURIs, uri):
		return platformWeb
	case matchRedirectURI(a.SPARedirectURIs, uri):
		return platformSPA
	}
	return platformPublic
}

func matchRedirectURI(uris []string, uri string) bool {
	uri = withPath(uri)
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || strings.ContainsAny(uri, "#\\ \t\r\n") {
		return false
	}
	for _, registered := range uris {
		registered = withPath(registered)
		if registered == uri {
			return true
		}
		reg, err := url.Parse(registered)
		if err != nil || !isLoopback(reg.Hostname()) || u.Scheme != "http" || reg.Scheme != "http" {
			continue
		}
		if u.Hostname() == reg.Hostname() && u.EscapedPath() == reg.EscapedPath() &&
			u.RawQuery == reg.RawQuery && u.ForceQuery == reg.ForceQuery {
			return true
		}
	}
	return false
}

// withPath returns a redirect URI with the path "/" if its path is empty.
func withPath(uri string) string {
	u, err := url.Parse(uri)
	if err != nil || u.Path != "" || u.Opaque != "" || u.Scheme != "https" && u.Scheme != "http" {
		return uri
	}
	u.Path = "/"
	return u.String()
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func redirectMismatch(a *App, uri string) *aadstsError {
	return newError(50011, "The redirect URI '%s' is not registered for the app '%s'.", printable(uri), a.ClientID)
}

// pageLifetime is the time within which the user must submit a page.
const pageLifetime = time.Hour

// handleAuthorize serves the authorization endpoint.
func (s *Server) handleAuthorize(r *request) *response {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost || r.malformed {
		return errorPage(r, methodError(r, "GET and POST"))
	}
	q, redirect, aerr := s.parseSignIn(r)
	if aerr != nil {
		if !redirect {
			return errorPage(r, aerr)
		}
		return s.redirectError(r, q, aerr)
	}
	return s.startSignIn(r, q)
}

// startSignIn starts a validated sign-in.
func (s *Server) startSignIn(r *request, q *signInRequest) *response {
	q.ID, q.Until = newGUID(), r.now.Add(pageLifetime)
	r.signIn = q
	if r.signInUser != nil {
		auth := s.newAuthentication(r.signInUser, r.now)
		q.Auth, q.Granted = &auth, false
		return s.continueSignIn(r, q)
	}
	return s.chooseAccount(r, q)
}

// chooseAccount continues a sign-in in a browser with one of its sessions, or
// shows a page if the user must choose an account or enter a password.
func (s *Server) chooseAccount(r *request, q *signInRequest) *response {
	sessions := s.signedInAccounts(r)
	var usable []authentication
	for _, a := range sessions {
		if q.LoginHint != "" && !strings.EqualFold(a.User, s.usernameFromHint(q.LoginHint)) {
			continue
		}
		if r.tenant != nil && s.registry.userByName[a.User].objectIDIn(r.tenant) == "" {
			continue
		}
		usable = append(usable, a)
	}
	tooOld := func(a authentication) bool { return q.MaxAge >= 0 && r.now.Sub(a.At) > q.MaxAge }
	if q.Prompt == "none" {
		if len(usable) != 1 || tooOld(usable[0]) {
			return s.redirectError(r, q, newError(50058, "A silent sign-in requires a session of exactly one user."))
		}
		q.Auth = &usable[0]
		return s.continueSignIn(r, q)
	}
	switch {
	case q.Prompt == "select_account" && len(sessions) > 0, q.Prompt != "login" && len(usable) > 1:
		return s.pickPage(r, q, sessions)
	case q.Prompt != "login" && q.Prompt != "create" && len(usable) == 1 && !tooOld(usable[0]):
		q.Auth = &usable[0]
		return s.continueSignIn(r, q)
	}
	return s.passwordPage(r, q, s.usernameFromHint(q.LoginHint), nil)
}

// usernameFromHint returns the username in a login_hint, which is a username or
// the value of the optional claim login_hint.
func (s *Server) usernameFromHint(hint string) string {
	if raw, err := b64.DecodeString(hint); err == nil && s.registry.userByName[strings.ToLower(string(raw))] != nil {
		return string(raw)
	}
	return hint
}

// continueSignIn continues the sign-in of q.Auth.User. It requests a second
// factor and consent if they are required, then redirects to the app.
func (s *Server) continueSignIn(r *request, q *signInRequest) *response {
	u, aerr := s.activeUser(q.Auth)
	if aerr != nil {
		if aerr.number == 50173 && r.signInUser == nil && q.Prompt != "none" {
			return s.passwordPage(r, q, q.Auth.User, nil)
		}
		return s.failSignIn(r, q, aerr)
	}
	client := s.registry.appByID[q.Client]
	t := r.tenant
	if t == nil {
		t = s.registry.tenantByName[u.TenantID]
	}
	if u.objectIDIn(t) == "" {
		return s.failSignIn(r, q, notInTenantError(u, t, client))
	}
	scopes, aerr := s.registry.parseScopes(q.Scope, t)
	if aerr != nil {
		return s.redirectError(r, q, aerr)
	}
	claims, aerr := parseClaims(q.Claims)
	if aerr != nil {
		return s.redirectError(r, q, aerr)
	}
	if q.Admin {
		return s.continueAdminConsent(r, q, u, t, client, scopes)
	}
	if client.RequireAssignment && len(s.registry.userRoles(u, client)) == 0 {
		return s.failSignIn(r, q, notAssignedError(u, client))
	}
	if aerr := s.checkMFA(client, scopes, claims, q.Auth); aerr != nil {
		switch {
		case q.Prompt == "none":
			return s.redirectError(r, q, aerr)
		case !u.MFA:
			return s.failSignIn(r, q, newError(50079, "A policy requires multifactor authentication for '%s'. "+
				"The account has no second factor.", client.ClientID))
		case r.signInUser == nil:
			return s.mfaPage(r, q, u)
		}
		completeMFA(q.Auth, claims)
	}
	items := s.pendingConsent(scopes, u, t, client, q.Prompt == "consent" && !q.Granted)
	if len(items) > 0 {
		switch {
		case q.Prompt == "none":
			aerr := consentRequiredError(client)
			aerr.code = "interaction_required"
			return s.redirectError(r, q, aerr)
		case !u.isAdminOf(t) && requiresAdmin(items):
			return s.failSignIn(r, q, newError(90094, "%s requires permissions that only an administrator of %s can grant.",
				client.Name, t.Name))
		case r.signInUser == nil:
			return s.consentPage(r, q, u, t, items)
		}
		s.recordConsents(u, t, items)
	}
	return s.completeSignIn(r, q, u, t, scopes)
}

// checkMFA returns an error if the sign-in requires multifactor authentication
// that auth does not have.
func (s *Server) checkMFA(client *App, scopes *scopeRequest, claims claimsRequest, auth *authentication) *aadstsError {
	if aerr := conditionalAccess(client, auth, claims); aerr != nil {
		return aerr
	}
	for _, res := range scopes.resources {
		if aerr := conditionalAccess(res.app, auth, claims); aerr != nil {
			return aerr
		}
	}
	if claims.requiresMFA(s.registry) && !auth.MFA {
		return newError(50076, "Multifactor authentication is required for '%s'.", client.ClientID)
	}
	return nil
}

// completeMFA records that the user passed multifactor authentication, and the
// authentication contexts that this satisfies.
func completeMFA(auth *authentication, claims claimsRequest) {
	auth.MFA = true
	for _, context := range claims.authContexts() {
		if !slices.Contains(auth.ACRs, context) && len(auth.ACRs) < 25 {
			auth.ACRs = append(auth.ACRs, context)
		}
	}
}

// recordConsents records the consent of a user to items.
func (s *Server) recordConsents(u *User, t *Tenant, items []consentItem) {
	for _, item := range items {
		s.recordConsent(u.Username, t, item.client, item.resource, item.scopes)
	}
}

// wantsAuthTime reports whether the ID token must have auth_time: for max_age (OpenID
// Connect Core, section 3.1.2.1) and for a claims request (section 5.5).
func (q *signInRequest) wantsAuthTime() bool {
	claims, aerr := parseClaims(q.Claims)
	_, requested := claims.IDToken["auth_time"]
	return q.MaxAge >= 0 || aerr == nil && requested
}

// completeSignIn redirects to the app with a code, an ID token or both.
func (s *Server) completeSignIn(r *request, q *signInRequest, u *User, t *Tenant, scopes *scopeRequest) *response {
	if q.Device != "" {
		resp := s.finishDevice(q, t.ID, nil)
		if r.signInUser == nil {
			s.addToBrowserSession(r, resp, *q.Auth, q.Client)
		}
		return resp
	}
	params := url.Values{}
	authTime := q.wantsAuthTime()
	raw := ""
	if strings.HasPrefix(q.ResponseType, "code") {
		raw = s.seal("code", code{
			Number: s.nextCodeNumber(), Auth: *q.Auth, Tenant: t.ID, Client: q.Client, Scope: q.Scope, Redirect: q.Redirect,
			Challenge: q.Challenge, Method: q.Method, Nonce: q.Nonce, Issued: r.now,
			AuthTime: authTime, Platform: s.registry.appByID[q.Client].redirectPlatform(q.Redirect),
		})
		params.Set("code", raw)
	}
	if strings.HasSuffix(q.ResponseType, "id_token") {
		token := &accessToken{request: r, tenant: t, client: s.registry.appByID[q.Client], user: u, auth: q.Auth,
			authTime: authTime, implicit: true}
		payload := s.idClaims(token, scopes, q.Nonce)
		if raw != "" {
			payload["c_hash"] = leftHalfHash(raw)
		}
		params.Set("id_token", s.signIDToken(payload, token))
	}
	params.Set("session_state", q.Auth.SID)
	resp := s.redirectToApp(r, q, params)
	if r.signInUser == nil {
		s.addToBrowserSession(r, resp, *q.Auth, q.Client)
	}
	return resp
}
