package entratest

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"
)

// A Request is what the journal keeps of one request and its answer.
type Request struct {
	Time      time.Time  `json:"time"`                // when it arrived
	Method    string     `json:"method"`              // the HTTP method
	Host      string     `json:"host"`                // the host it was sent to
	Path      string     `json:"path"`                // the URL path
	Endpoint  string     `json:"endpoint,omitempty"`  // "token", "authorize" ... as in [Fault].Path; "" for an unknown path
	Tenant    string     `json:"tenant,omitempty"`    // the tenant in the path: its ID if it is known, else as sent
	ClientID  string     `json:"clientId,omitempty"`  // client_id, also from a Basic header or a client assertion
	GrantType string     `json:"grantType,omitempty"` // grant_type, of token requests
	Form      url.Values `json:"form,omitempty"`      // query and form parameters; secrets, passwords, tokens, codes, assertions and verifiers are "REDACTED"
	Status    int        `json:"status"`              // the HTTP status; 0 if the connection was dropped
	Error     string     `json:"error,omitempty"`     // the OAuth error, "" if none
	AADSTS    int        `json:"aadsts,omitempty"`    // the first error code, 0 if none
	Injected  bool       `json:"injected,omitempty"`  // a [Fault] made the answer
}

// A Match picks requests. The zero Match picks all.
type Match struct {
	Endpoint  string // the endpoint, as in [Fault]; zero: any
	Tenant    string // a tenant's ID or domain; zero: any
	ClientID  string // zero: any
	GrantType string // zero: any
	Error     string // the OAuth error of the answer; zero: any, and none
	AADSTS    int    // the error code of the answer; zero: any, and none
}

// journal keeps the last requests and counts all. Server.mu guards it.
type journal struct {
	requests  []Request // a ring once it is full
	start int       // the oldest
	counts map[Match]int
}

const (
	maxRequests = 4096 // requests that the journal keeps
	maxCounters = 4096 // kinds of requests that are counted apart
	maxText     = 2048 // bytes of a parameter that the journal keeps
	maxForm     = 8192 // bytes of all of a request's parameters
)

// kept are the parameters that the journal shows. All others may hold a secret.
var shownParams = []string{
	"client_id", "grant_type", "scope", "redirect_uri", "response_type", "response_mode", "state",
	"prompt", "login_hint", "domain_hint", "max_age", "code_challenge", "code_challenge_method",
	"client_assertion_type", "requested_token_use", "client_info", "claims", "username", "resource",
	"api-version", "authorization_endpoint", "post_logout_redirect_uri", "ui_locales", "step", "nonce",
	"x-client-sku", "x-client-ver", "x-client-os", "x-client-cpu", "sid", "logout_hint",
}

// redacted is a form without its secrets, and without more than the journal
// has room for: the parameters that it shows come first.
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
		if !slices.Contains(shownParams, strings.ToLower(name)) {
			keep(name, "REDACTED")
		}
	}
	return clean
}

// clip is a copy of the first n bytes of s: a mere part of the request's body
// would keep all of it in memory.
func truncate(s string, n int) string { return strings.Clone(s[:min(len(s), n)]) }

// record writes the journal.
func (s *Server) record(r *request, resp *response) {
	e := Request{
		Time: r.now, Method: r.http.Method, Host: r.http.Host, Path: r.http.URL.Path, Endpoint: r.endpoint,
		Tenant: r.tenantName, ClientID: r.clientID, Form: redactForm(r.form), Status: resp.status, Injected: resp.injected,
	}
	if r.tenant != nil {
		e.Tenant = r.tenant.ID
	}
	if r.endpoint == "token" {
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
		// Somebody sends nonsense. Count it by endpoint.
		key = Match{Endpoint: e.Endpoint}
	}
	j.counts[key]++
}

// Requests are the last 4096 requests, oldest first, whether they came in
// process, over TLS or through [Server.SignIn].
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.Concat(s.journal.requests[s.journal.start:], s.journal.requests[:s.journal.start])
	for i := range list {
		list[i].Form = maps.Clone(list[i].Form)
	}
	return list
}

// Count is how many requests match, of all that were ever answered.
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

// TokenRequests is how many requests the token endpoint has answered, or
// dropped.
func (s *Server) TokenRequests() int { return s.Count(Match{Endpoint: "token"}) }
