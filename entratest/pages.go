package entratest

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

//go:embed pages
var pageFiles embed.FS

// pages has the templates of the sign-in pages, by name.
var pages = func() map[string]*template.Template {
	m := map[string]*template.Template{}
	for _, name := range []string{"password", "pick", "mfa", "consent", "error", "signedout", "device"} {
		m[name] = template.Must(template.ParseFS(pageFiles, "pages/layout.html", "pages/"+name+".html"))
	}
	return m
}()

var formPost = template.Must(template.ParseFS(pageFiles, "pages/formpost.html"))

// pageData is the data of the templates.
type pageData struct {
	Title, Tenant, App, Username, Error string

	Action, Context string // target of the form, and the encrypted signInRequest
	Accounts        []account
	Items           []consentLine
	ForAll          bool

	Heading                           string // of an error page; defaults to "Sign-in failed"
	Number                            int
	TraceID, CorrelationID, Timestamp string
}

type account struct{ Username, Name, Initial string }

type consentLine struct{ Text, Detail string }

// page renders a sign-in page.
func page(status int, name string, data pageData) *response {
	var buf bytes.Buffer
	if err := pages[name].ExecuteTemplate(&buf, "layout", data); err != nil {
		panic("entratest: " + err.Error())
	}
	resp := htmlResponse(status, buf.Bytes(), "style-src 'unsafe-inline'")
	resp.page = data.Title
	return resp
}

// htmlResponse returns a page that cannot be framed and loads nothing except what
// policy allows.
func htmlResponse(status int, body []byte, policy string) *response {
	return &response{
		status: status,
		header: http.Header{
			"Content-Type":            {"text/html; charset=utf-8"},
			"Content-Security-Policy": {"default-src 'none'; base-uri 'none'; frame-ancestors 'none'; " + policy},
			"X-Frame-Options":         {"DENY"},
			"Referrer-Policy":         {"no-referrer"},
		},
		body: body,
	}
}

// signInPage returns the data common to all sign-in pages. name is the name of
// the template.
func (s *Server) signInPage(r *request, q *signInRequest, name, title string) pageData {
	q.Page = name
	data := pageData{
		Title:   title,
		App:     s.registry.appByID[q.Client].Name,
		Action:  "/" + url.PathEscape(r.tenantName) + "/login",
		Context: s.seal("page", q),
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	return data
}

// passwordPage requests username and password. aerr is the error of the last
// attempt, or nil.
func (s *Server) passwordPage(r *request, q *signInRequest, username string, aerr *aadstsError) *response {
	q.Auth = nil
	data := s.signInPage(r, q, "password", "Sign in to your account")
	data.Username = username
	if aerr != nil {
		data.Error = aerr.message
	}
	resp := page(http.StatusOK, "password", data)
	resp.err = aerr
	return resp
}

// pickPage lets the user choose one of the browser's accounts.
func (s *Server) pickPage(r *request, q *signInRequest, sessions []authentication) *response {
	data := s.signInPage(r, q, "pick", "Pick an account")
	for _, a := range sessions {
		u := s.registry.userByName[a.User]
		data.Accounts = append(data.Accounts, account{u.Username, u.Name, strings.ToUpper(string([]rune(u.Name)[:1]))})
	}
	return page(http.StatusOK, "pick", data)
}

// mfaPage requests the second factor.
func (s *Server) mfaPage(r *request, q *signInRequest, u *User) *response {
	data := s.signInPage(r, q, "mfa", "Approve sign-in request")
	data.Username = u.Username
	return page(http.StatusOK, "mfa", data)
}

// consentPage lists the permissions that the app requests.
func (s *Server) consentPage(r *request, q *signInRequest, u *User, t *Tenant, items []consentItem) *response {
	data := s.signInPage(r, q, "consent", "Permissions requested")
	data.Username, data.Tenant, data.ForAll = u.Username, t.Name, q.Admin
	data.Items = consentLines(items, s.registry.appByID[q.Client])
	return page(http.StatusOK, "consent", data)
}

// oidcTexts are the texts of Entra's consent page for the OpenID Connect scopes
// (https://learn.microsoft.com/entra/identity-platform/scopes-oidc).
var oidcTexts = map[string]string{
	"openid":         "Sign you in",
	"profile":        "View your basic profile",
	"email":          "View your email address",
	"offline_access": "Maintain access to data you have given it access to",
}

func consentLines(items []consentItem, client *App) []consentLine {
	var lines []consentLine
	for _, item := range items {
		for _, scope := range item.scopes {
			line := consentLine{Text: oidcTexts[scope], Detail: scope}
			if line.Text == "" || item.resource.ClientID != graphID {
				line = consentLine{
					Text:   "Use " + item.resource.Name + " as you: " + scope,
					Detail: strings.TrimSuffix(item.resource.AppIDURI, "/") + "/" + scope,
				}
			}
			if item.client != client {
				line.Detail += " (for " + item.client.Name + ")"
			}
			if !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		for _, role := range item.roles {
			lines = append(lines, consentLine{
				Text:   "Use " + item.resource.Name + " without a user: " + role,
				Detail: strings.TrimSuffix(item.resource.AppIDURI, "/") + "/" + role,
			})
		}
	}
	return lines
}

// errorPage shows an error that is not sent to the app.
func errorPage(r *request, aerr *aadstsError) *response {
	status := http.StatusBadRequest
	if aerr.status == http.StatusMethodNotAllowed {
		status = aerr.status
	}
	data := pageData{
		Title: "Sign in to your account", Number: aerr.number, Error: aerr.message,
		TraceID: r.traceID, CorrelationID: r.correlationID, Timestamp: timestamp(r.now),
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	resp := page(status, "error", data)
	resp.err = aerr
	return resp
}

// formPostPage posts the parameters to the app.
func formPostPage(_ *request, target string, params url.Values) *response {
	type param struct{ Name, Value string }
	data := struct {
		Target template.URL
		Params []param
		Nonce  string
	}{
		// Safe with any scheme, because the app registered it.
		Target: template.URL(target),
		Nonce:  randomToken(16),
	}
	for name, values := range params {
		for _, v := range values {
			data.Params = append(data.Params, param{name, v})
		}
	}
	slices.SortFunc(data.Params, func(a, b param) int { return strings.Compare(a.Name, b.Name) })
	var buf bytes.Buffer
	if err := formPost.Execute(&buf, data); err != nil {
		panic("entratest: " + err.Error())
	}
	return htmlResponse(http.StatusOK, buf.Bytes(), "script-src 'nonce-"+data.Nonce+"'")
}

// handleLogin serves the forms of the sign-in pages.
func (s *Server) handleLogin(r *request) *response {
	if r.http.Method != http.MethodPost {
		return errorPage(r, methodError(r, "POST"))
	}
	var q signInRequest
	if r.malformed || !s.unseal("page", r.form.Get("ctx"), &q) || q.Tenant != r.tenantName || r.now.After(q.Until) {
		return errorPage(r, newError(90013, "This page has expired or its form was modified. "+
			"Go back to the app and sign in again."))
	}
	r.signIn = &q
	step := r.form.Get("step")
	if !slices.Contains(pageSteps[q.Page], step) {
		return errorPage(r, newError(90013, "The form is invalid."))
	}
	switch step {
	case "cancel":
		return s.handleCancel(r, &q)
	case "other":
		return s.passwordPage(r, &q, "", nil)
	case "pick":
		return s.handlePick(r, &q)
	case "password":
		return s.handlePassword(r, &q)
	case "mfa":
		claims, aerr := parseClaims(q.Claims)
		if aerr != nil {
			return s.redirectError(r, &q, aerr)
		}
		completeMFA(q.Auth, claims)
		return s.continueSignIn(r, &q)
	}
	return s.handleConsent(r, &q)
}

// pageSteps are the buttons of each page. A form with a button of another page is
// rejected, so that, for example, the consent page cannot pass multifactor
// authentication.
var pageSteps = map[string][]string{
	"password": {"password", "cancel"},
	"pick":     {"pick", "other", "cancel"},
	"mfa":      {"mfa", "cancel"},
	"consent":  {"consent", "cancel"},
}

// handleCancel tells the app that the user declined to consent
// (MicrosoftDocs/azure-docs#114009,
// https://learn.microsoft.com/entra/identity-platform/v2-admin-consent#error-response)
// or canceled the sign-in, which has no AADSTS number
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#error-response).
func (s *Server) handleCancel(r *request, q *signInRequest) *response {
	if q.Page != "consent" {
		return s.redirectError(r, q, &aadstsError{
			code: "access_denied", message: "the user canceled the authentication", subcode: "cancel",
		})
	}
	aerr := newError(65004, "The user declined to consent.")
	if q.Admin {
		aerr.code = "consent_required"
	}
	return s.redirectError(r, q, aerr)
}

// handlePick continues with an account of the account picker.
func (s *Server) handlePick(r *request, q *signInRequest) *response {
	name := strings.ToLower(r.form.Get("username"))
	for _, a := range s.signedInAccounts(r) {
		if a.User == name && (q.MaxAge < 0 || r.now.Sub(a.At) <= q.MaxAge) {
			q.Auth = &a
			return s.continueSignIn(r, q)
		}
	}
	return s.passwordPage(r, q, name, nil)
}

// handlePassword checks the username and password.
func (s *Server) handlePassword(r *request, q *signInRequest) *response {
	name := strings.TrimSpace(r.form.Get("username"))
	u := s.registry.userByName[strings.ToLower(name)]
	if u == nil {
		return s.passwordPage(r, q, name, newError(50034, "This username does not exist."))
	}
	if !passwordMatches(u, r.form.Get("password")) {
		return s.passwordPage(r, q, name, newError(50126, "The password is wrong."))
	}
	if u.Disabled {
		return s.passwordPage(r, q, name, newError(50057, "This account is disabled."))
	}
	auth := s.newAuthentication(u, r.now)
	q.Auth = &auth
	return s.continueSignIn(r, q)
}

// handleConsent records the consent and continues.
func (s *Server) handleConsent(r *request, q *signInRequest) *response {
	u, aerr := s.activeUser(q.Auth)
	if aerr != nil {
		return s.failSignIn(r, q, aerr)
	}
	t := r.tenant
	if t == nil {
		t = s.registry.tenantByName[u.TenantID]
	}
	scopes, aerr := s.registry.parseScopes(q.Scope, t)
	if aerr != nil {
		return s.redirectError(r, q, aerr)
	}
	q.Granted = true
	items := s.pendingConsent(scopes, u, t, s.registry.appByID[q.Client], q.Prompt == "consent")
	if !q.Admin && u.objectIDIn(t) != "" && (u.isAdminOf(t) || !requiresAdmin(items)) {
		s.recordConsents(u, t, items)
	}
	return s.continueSignIn(r, q)
}
