package entratest

import (
	"net/url"
	"time"
)

// A Request is what the journal keeps of one request and its answer.
type Request struct {
	Time      time.Time  // when it arrived
	Method    string     // the HTTP method
	Host      string     // the host it was sent to
	Path      string     // the URL path
	Endpoint  string     // "token", "authorize" ... as in [Fault].Path; "" for an unknown path
	Tenant    string     // the tenant in the path: its ID if it is known, else as sent
	ClientID  string     // client_id, also from a Basic header or a client assertion
	GrantType string     // grant_type, of token requests
	Form      url.Values // query and form parameters; secrets, passwords, tokens, codes, assertions and verifiers are "REDACTED"
	Status    int        // the HTTP status; 0 if the connection was dropped
	Error     string     // the OAuth error, "" if none
	AADSTS    int        // the first error code, 0 if none
	Injected  bool       // a [Fault] made the answer
}

// A Match picks requests. The zero Match picks all.
type Match struct {
	Path      string // the endpoint, as in [Fault]; zero: any
	Tenant    string // a tenant's ID or domain; zero: any
	ClientID  string // zero: any
	GrantType string // zero: any
	Error     string // the OAuth error of the answer; zero: any, and none
	AADSTS    int    // the error code of the answer; zero: any, and none
}
