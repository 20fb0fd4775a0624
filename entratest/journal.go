package entratest

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// A Request is an entry of the journal: a request and the outcome of its
// response.
type Request struct {
	Time      time.Time `json:"time"`                // when the request arrived
	Method    string    `json:"method"`              // the HTTP method
	Host      string    `json:"host"`                // the Host header
	Path      string    `json:"path"`                // the URL path
	Endpoint  string    `json:"endpoint,omitempty"`  // one of the Endpoint constants, or "" for an unknown path
	Tenant    string    `json:"tenant,omitempty"`    // the ID of the tenant in the path, or its name if it is unknown
	ClientID  string    `json:"clientId,omitempty"`  // client_id, also from a Basic header or a client assertion
	GrantType string    `json:"grantType,omitempty"` // grant_type of token requests

	// Form has the query and form parameters. The values of secrets, passwords,
	// tokens, codes, assertions and verifiers are "REDACTED".
	Form url.Values `json:"form,omitempty"`

	Status   int    `json:"status"`             // the HTTP status, or 0 if the connection was dropped
	Error    string `json:"error,omitempty"`    // the OAuth error code, or "" for success
	AADSTS   int    `json:"aadsts,omitempty"`   // the error number, or 0 for success
	Injected bool   `json:"injected,omitempty"` // whether a Fault made or truncated the response
}

// A Match selects requests that match each of its fields that is set. The zero
// Match selects all requests.
type Match struct {
	Endpoint  string // one of the Endpoint constants
	Tenant    string // ID or domain of a tenant
	ClientID  string // client_id
	GrantType string // grant_type
	Error     string // OAuth error code of the response
	AADSTS    int    // error number of the response
}

// A journal stores the last requests and counts all. Server.mu guards it.
type journal struct {
	requests []Request // a ring buffer when it is full
	start    int       // index of the oldest request
	counts   map[Match]int
}

const (
	maxRequests = 4096 // stored requests
	maxCounters = 4096 // counters of requests
	maxText     = 2048 // bytes of a stored text
	maxForm     = 8192 // bytes of the stored parameters of a request
)

// shownParams are the parameters whose values the journal stores. Others may be
// secret.
var shownParams = []string{
	"client_id", "grant_type", "scope", "redirect_uri", "response_type", "response_mode", "state",
	"prompt", "login_hint", "domain_hint", "max_age", "code_challenge", "code_challenge_method",
	"client_assertion_type", "requested_token_use", "client_info", "claims", "username", "resource",
	"api-version", "appid", "authorization_endpoint", "post_logout_redirect_uri", "ui_locales", "step", "nonce",
	"x-client-sku", "mkt", "x-client-ver", "x-client-os", "x-client-cpu", "sid", "logout_hint",
}

// parameterName matches the names that the journal stores. Secrets of Entra have digits.
var parameterName = regexp.MustCompile(`^[A-Za-z]+([_-][A-Za-z]+)*$`)

// redactForm returns form without secrets, in at most maxForm bytes. Parameters
// in shownParams have priority.
func redactForm(form url.Values) url.Values {
	clean, room := url.Values{}, maxForm
	keep := func(name, value string) {
		name, value = truncate(name, 64), truncate(value, maxText)
		if room -= len(name) + len(value); room >= 0 {
			clean[name] = append(clean[name], value)
		}
	}
	for name, values := range form {
		if slices.Contains(shownParams, strings.ToLower(name)) {
			for _, v := range values[:min(len(values), 8)] {
				keep(name, v)
			}
		}
	}
	for name := range form {
		switch {
		case slices.Contains(shownParams, strings.ToLower(name)):
		case parameterName.MatchString(name):
			keep(name, "REDACTED")
		default:
			keep("REDACTED", "REDACTED") // a body that is not a form makes its contents a name
		}
	}
	return clean
}

// truncate returns a copy of the first n bytes of s. A substring would keep the
// whole body of the request in memory.
func truncate(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }

// record adds a request to the journal and calls OnRequest.
func (s *Server) record(r *request, resp *response) {
	e := Request{
		Time: r.now, Method: r.http.Method, Host: r.http.Host, Path: r.http.URL.Path, Endpoint: r.endpoint,
		Tenant: r.tenantName, ClientID: r.clientID, Form: redactForm(r.form), Status: resp.status, Injected: resp.injected,
	}
	if r.tenant != nil {
		e.Tenant = r.tenant.ID
	}
	if r.endpoint == EndpointToken {
		e.GrantType = r.form.Get("grant_type")
	}
	if resp.err != nil {
		e.Error, e.AADSTS = resp.err.code, resp.err.number
	}
	if resp.drop {
		e.Status = 0
	}
	for _, text := range []*string{&e.Method, &e.Host, &e.Path, &e.Tenant, &e.ClientID, &e.GrantType} {
		*text = truncate(*text, maxText)
	}
	key := Match{
		Endpoint: e.Endpoint, Tenant: e.Tenant, ClientID: strings.ToLower(e.ClientID), GrantType: e.GrantType,
		Error: e.Error, AADSTS: e.AADSTS,
	}
	if s.onRequest != nil {
		defer s.onRequest(e)
	}
	st, retry, keys := s.newStep(e, r, resp)
	s.mu.Lock()
	defer s.mu.Unlock()
	j := &s.journal
	if len(j.requests) < maxRequests {
		j.requests = append(j.requests, e)
	} else {
		j.requests[j.start] = e
		j.start = (j.start + 1) % maxRequests
	}
	if j.counts == nil {
		j.counts = map[Match]int{}
	}
	if _, known := j.counts[key]; !known && len(j.counts) >= maxCounters {
		// Too many different requests: count this one by endpoint only.
		key = Match{Endpoint: e.Endpoint}
	}
	j.counts[key]++
	s.flows.add(st, retry, keys...)
}

// Requests returns the last 4096 requests, oldest first. It includes requests
// through [Server.Client], over TLS and by [Server.SignIn].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Concat(s.journal.requests[s.journal.start:], s.journal.requests[:s.journal.start])
	for i := range list {
		list[i].Form = maps.Clone(list[i].Form)
	}
	return list
}

// Count returns the number of matching requests since the server was created. It
// includes dropped requests and is not limited to those in [Server.Requests].
func (s *Server) Count(m Match) int {
	tenant := strings.ToLower(m.Tenant)
	if t := s.registry.tenantByName[tenant]; t != nil {
		tenant = t.ID
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for key, count := range s.journal.counts {
		if (m.Endpoint == "" || m.Endpoint == key.Endpoint) &&
			(tenant == "" || tenant == key.Tenant) &&
			(m.ClientID == "" || strings.EqualFold(m.ClientID, key.ClientID)) &&
			(m.GrantType == "" || m.GrantType == key.GrantType) &&
			(m.Error == "" || m.Error == key.Error) &&
			(m.AADSTS == 0 || m.AADSTS == key.AADSTS) {
			n += count
		}
	}
	return n
}

// TokenRequests returns the number of requests to the token endpoint, including
// dropped ones.
func (s *Server) TokenRequests() int { return s.Count(Match{Endpoint: EndpointToken}) }
