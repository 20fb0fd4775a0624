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

// A request is a parsed request to the server.
type request struct {
	ctx           context.Context
	http          *http.Request
	now           time.Time
	endpoint      string  // an Endpoint constant, or "" if unknown
	tenantName    string  // the tenant in the path, in lower case
	tenant        *Tenant // nil if unknown, and for common, organizations and consumers
	base          string  // scheme and host of the authority, for issuers and endpoints
	form          url.Values
	malformed     bool // the body could not be read as a form
	traceID       string
	correlationID string
	clientID      string // from the form, a Basic header or an assertion
	secret        string // from the form or a Basic header
	basic         bool
	signIn        *signInRequest // the sign-in that this request starts or continues, or nil
	signInUser    *User          // for SignIn: the user to sign in without pages
}

// maxBody is the maximum size of a request's body, in bytes.
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
	r.tenantName, r.endpoint = splitPath(hr.URL.Path)
	if t := s.registry.tenantByName[r.tenantName]; t != nil && s.registry.servedBy(t, r.base) {
		r.tenant = t
	}
	r.form = hr.URL.Query()
	if hr.Method == http.MethodPost {
		r.parseForm()
	}
	if r.correlationID == "" {
		r.correlationID = r.form.Get("client-request-id") // as a browser sends it
	}
	if !isGUID(r.correlationID) {
		r.correlationID = newGUID()
	}
	r.clientID = r.form.Get("client_id")
	r.secret = r.form.Get("client_secret")
	if r.endpoint == EndpointToken {
		r.parseClientAuth()
	}
	return r
}

// parseForm reads the body. The parameters of a POST come from its body only. A body
// that is not a form is ignored (microsoftgraph/microsoft-graph-docs#20272).
func (r *request) parseForm() {
	r.form = url.Values{}
	contentType, _, _ := strings.Cut(r.http.Header.Get("Content-Type"), ";")
	kind, _, err := mime.ParseMediaType(contentType)
	if err != nil || kind != "application/x-www-form-urlencoded" || r.http.Body == nil {
		return // Entra reports a missing parameter, not a wrong content type
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

// parseClientAuth reads the client's identity outside the form: from a Basic
// header (RFC 6749, section 2.3.1) or the subject of a client assertion.
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

// splitPath splits a path into the tenant's name and the endpoint.
func splitPath(path string) (tenant, endpoint string) {
	switch lower := strings.ToLower(path); {
	case lower == "/oidc/userinfo":
		return "", EndpointUserInfo
	case strings.HasPrefix(lower, "/v1.0/"):
		return "", EndpointGraph
	}
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	tenant = strings.ToLower(tenant)
	switch strings.ToLower(rest) {
	case "oauth2/v2.0/token":
		return tenant, EndpointToken
	case "oauth2/v2.0/authorize":
		return tenant, EndpointAuthorize
	case "oauth2/v2.0/logout":
		return tenant, EndpointLogout
	case "oauth2/v2.0/devicecode":
		return tenant, EndpointDeviceCode
	case "oauth2/deviceauth":
		return tenant, EndpointDeviceAuth
	case "login":
		return tenant, EndpointLogin
	case "v2.0/adminconsent", "adminconsent":
		return tenant, EndpointAdminConsent
	case "discovery/v2.0/keys", "discovery/keys":
		return tenant, EndpointKeys
	case "v2.0/.well-known/openid-configuration", ".well-known/openid-configuration":
		return tenant, EndpointDiscovery
	case "discovery/instance":
		return tenant, EndpointInstance
	}
	if name, _, _ := strings.Cut(rest, "/"); strings.EqualFold(name, "userrealm") {
		return tenant, EndpointUserRealm
	}
	return tenant, ""
}

// baseURL returns the scheme and host for documents and issuers in the response.
// Requests to a host of Microsoft or to Config.Host come from Server.Client. Any
// other host is the address of a listener, which documents and issuers repeat.
func (s *Server) baseURL(hr *http.Request) string {
	host := strings.ToLower(hr.Host)
	if host == "" {
		host = strings.ToLower(hr.URL.Host)
	}
	bare := strings.TrimSuffix(host, ":443")
	cloud := s.registry.canonicalHost(bare)
	if c := graphCloud(bare); c != nil {
		cloud = c.hosts[0]
	}
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

// bareHost returns the host of the request in lower case, without the default port.
func (r *request) bareHost() string {
	return strings.TrimSuffix(strings.ToLower(r.http.Host), ":443")
}

// isHostPort reports whether a Host header is a host with an optional port.
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
