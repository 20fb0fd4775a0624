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

// pages are the templates of the sign-in, one per name.
var pages = func() map[string]*template.Template {
	m := map[string]*template.Template{}
	for _, name := range []string{"password", "pick", "mfa", "consent", "error", "signedout"} {
		m[name] = template.Must(template.ParseFS(pageFiles, "pages/layout.html", "pages/"+name+".html"))
	}
	return m
}()

var formPost = template.Must(template.ParseFS(pageFiles, "pages/formpost.html"))

// pageData is what the templates show.
type pageData struct {
	Title, Tenant, App, Username, Error string

	Action, Context string // the form's target and the sealed sign-in
	Accounts        []account
	Items           []consentLine
	ForAll          bool

	Heading                           string // of an error page; "": Sign-in failed
	Number                            int
	TraceID, CorrelationID, Timestamp string
}

type account struct{ Username, Name, Initial string }

type consentLine struct{ Text, Detail string }

// page renders a page of the sign-in.
func page(status int, name string, data pageData) *answer {
	var buf bytes.Buffer
	if err := pages[name].ExecuteTemplate(&buf, "layout", data); err != nil {
		panic("entratest: " + err.Error()) // our own templates and types
	}
	return htmlAnswer(status, buf.Bytes(), "style-src 'unsafe-inline'")
}

// htmlAnswer is a page that loads nothing and cannot be framed.
func htmlAnswer(status int, body []byte, policy string) *answer {
	return &answer{
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

// signInPage is the data that every page of a sign-in shows. The name is that
// of its template.
func (s *Server) signInPage(r *request, q *signInRequest, name, title string) pageData {
	q.Page = name
	data := pageData{
		Title:   title,
		App:     s.estate.app[q.Client].Name,
		Action:  "/" + url.PathEscape(r.name) + "/login",
		Context: s.sealed("page", q),
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	return data
}

// passwordPage asks who signs in. The refusal is of the last attempt, or nil.
func (s *Server) passwordPage(r *request, q *signInRequest, username string, f *refusal) *answer {
	q.Auth = nil
	data := s.signInPage(r, q, "password", "Sign in to your account")
	data.Username = username
	if f != nil {
		data.Error = f.text
	}
	a := page(http.StatusOK, "password", data)
	a.refused = f
	return a
}

// pickPage lets the person choose between the accounts the browser knows.
func (s *Server) pickPage(r *request, q *signInRequest, sessions []authentication) *answer {
	data := s.signInPage(r, q, "pick", "Pick an account")
	for _, a := range sessions {
		u := s.estate.user[a.User]
		data.Accounts = append(data.Accounts, account{u.Username, u.Name, strings.ToUpper(string([]rune(u.Name)[:1]))})
	}
	return page(http.StatusOK, "pick", data)
}

// mfaPage asks for the second factor.
func (s *Server) mfaPage(r *request, q *signInRequest, u *User) *answer {
	data := s.signInPage(r, q, "mfa", "Approve sign-in request")
	data.Username = u.Username
	return page(http.StatusOK, "mfa", data)
}

// consentPage lists what the app would be allowed to do.
func (s *Server) consentPage(r *request, q *signInRequest, u *User, t *Tenant, items []consentItem) *answer {
	data := s.signInPage(r, q, "consent", "Permissions requested")
	data.Username, data.Tenant, data.ForAll = u.Username, t.Name, q.Admin
	data.Items = consentLines(items, s.estate.app[q.Client])
	return page(http.StatusOK, "consent", data)
}

// oidcTexts are how Entra's consent page words the OpenID Connect scopes
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

// errorPage shows what the app must not be told, or cannot be.
func errorPage(r *request, f *refusal) *answer {
	status := http.StatusBadRequest
	if f.status == http.StatusMethodNotAllowed {
		status = f.status
	}
	data := pageData{
		Title: "Sign in to your account", Number: f.aadsts, Error: f.text,
		TraceID: r.traceID, CorrelationID: r.correlationID, Timestamp: timestamp(r.now),
	}
	if r.tenant != nil {
		data.Tenant = r.tenant.Name
	}
	a := page(status, "error", data)
	a.refused = f
	return a
}

// formPostPage posts the parameters to the app.
func formPostPage(_ *request, target string, params url.Values) *answer {
	type param struct{ Name, Value string }
	data := struct {
		Target template.URL
		Params []param
		Nonce  string
	}{
		// A registered redirect URI: of whatever scheme the app registered.
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
	return htmlAnswer(http.StatusOK, buf.Bytes(), "script-src 'nonce-"+data.Nonce+"'")
}
