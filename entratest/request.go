package entratest

import (
	"context"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A request is one to the server, read.
type request struct {
	ctx           context.Context
	http          *http.Request
	now           time.Time
	endpoint      string  // as in Fault.Path, "" if unknown
	tenantName          string  // the tenant as the path names it, in lower case
	tenant        *Tenant // nil for common and its like, and if unknown
	base          string  // scheme and host of the authority, for issuers and endpoints
	form          url.Values
	malformed     bool // the body could not be read as a form
	traceID       string
	correlationID string
	clientID      string // as sent, wherever it was
	secret        string // from the form or a Basic header
	basic         bool
	signInUser            *User // who signs in without a page, for SignIn
}

// maxBody bounds what is read of a request's body, in bytes.
const maxBody = 1 << 20

func (s *Server) parseRequest(hr *http.Request) *request {
	r := &request{
		ctx:           hr.Context(),
		http:          hr,
		now:           time.Now(),
		base:          s.baseURL(hr),
		traceID:       newGUID(),
		correlationID: hr.Header.Get("client-request-id"),
	}
	if !isGUID(r.correlationID) {
		r.correlationID = newGUID()
	}
	r.tenantName, r.endpoint = splitPath(hr.URL.Path)
	if t := s.registry.tenantByName[r.tenantName]; t != nil && t.servedBy(r.base) {
		r.tenant = t
	}
	r.form = hr.URL.Query()
	if hr.Method == http.MethodPost {
		r.parseForm()
	}
	r.clientID = r.form.Get("client_id")
	r.secret = r.form.Get("client_secret")
	if r.endpoint == "token" {
		r.parseClientAuth()
	}
	return r
}

// readForm reads the body. Parameters of a POST come from its body alone.
func (r *request) parseForm() {
	r.form = url.Values{}
	kind, _, err := mime.ParseMediaType(r.http.Header.Get("Content-Type"))
	if err != nil || kind != "application/x-www-form-urlencoded" || r.http.Body == nil {
		r.malformed = true
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.http.Body, maxBody+1))
	if err != nil || len(body) > maxBody {
		r.malformed = true
		return
	}
	if r.form, err = url.ParseQuery(string(body)); err != nil {
		r.form, r.malformed = url.Values{}, true
	}
}

// readClient finds the client's identity outside the form: in a Basic header
// (RFC 6749 section 2.3.1) or as the subject of a client assertion.
func (r *request) parseClientAuth() {
	if user, pass, ok := r.http.BasicAuth(); ok {
		id, err1 := url.QueryUnescape(user)
		secret, err2 := url.QueryUnescape(pass)
		if err1 != nil || err2 != nil {
			id, secret = user, pass
		}
		r.basic = true
		if r.clientID == "" {
			r.clientID = id
		}
		if !strings.EqualFold(r.clientID, id) || r.secret != "" && r.secret != secret {
			r.malformed = true // two clients, or two secrets
		}
		r.secret = secret
	}
	if r.clientID == "" {
		if t, err := parseJWT(r.form.Get("client_assertion")); err == nil {
			r.clientID = t.payload.stringClaim("sub")
		}
	}
}

// splitPath takes a path apart into the tenant's name and the endpoint.
func splitPath(path string) (tenant, endpoint string) {
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	tenant = strings.ToLower(tenant)
	switch strings.ToLower(rest) {
	case "oauth2/v2.0/token":
		return tenant, "token"
	case "oauth2/v2.0/authorize":
		return tenant, "authorize"
	case "oauth2/v2.0/logout":
		return tenant, "logout"
	case "login":
		return tenant, "login"
	case "v2.0/adminconsent", "adminconsent":
		return tenant, "adminconsent"
	case "discovery/v2.0/keys", "discovery/keys":
		return tenant, "keys"
	case "v2.0/.well-known/openid-configuration", ".well-known/openid-configuration":
		return tenant, "discovery"
	case "discovery/instance":
		return tenant, "instance"
	}
	return tenant, ""
}

// authority is the scheme and host that documents and issuers carry in answers
// to the request. A host of Microsoft's, or the configured one, was reached in
// process; any other is the address of a listener and stands for itself.
func (s *Server) baseURL(hr *http.Request) string {
	host := strings.ToLower(hr.Host)
	if host == "" {
		host = strings.ToLower(hr.URL.Host)
	}
	bare := strings.TrimSuffix(host, ":443")
	cloud := canonicalHost(bare)
	_, parent, _ := strings.Cut(bare, ".") // of a region's host
	switch {
	case s.host != "" && (cloud != "" || bare == s.host || parent == s.host):
		return "https://" + s.host
	case cloud != "":
		return "https://" + cloud
	}
	if !isHostPort(host) {
		host = "invalid"
	}
	if hr.TLS == nil && hr.URL.Scheme != "https" {
		return "http://" + host
	}
	return "https://" + host
}

// plainHost reports whether a Host header is nothing but a host and a port.
func isHostPort(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if ip := net.ParseIP(strings.Trim(name, "[]")); ip != nil {
		return true
	}
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") == ""
}
