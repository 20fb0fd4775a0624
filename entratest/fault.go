package entratest

import (
	"net/http"
	"time"
)

// A Fault makes matching requests go wrong. The zero Fault matches every
// request and does nothing to it.
//
// Which requests: every set field of Path, Tenant, ClientID and GrantType must
// match. Of those, the first Skip are left alone and the next Times go wrong.
//
// What goes wrong: first the request waits for Delay. Then, if Drop is set,
// the connection breaks and there is no answer. Else, if any of Status,
// RetryAfter, ContentType, Body, Header or Error is set, that is the answer
// and the request has no effect. Else the request is served. Truncate cuts
// whatever body there is.
type Fault struct {
	// Path is the endpoint: "token", "authorize", "logout", "keys",
	// "discovery" (the OpenID configuration), "instance" (the discovery of
	// clouds). Zero: any.
	Path string
	// Tenant is a tenant's ID or domain, or as in the path of the request,
	// "common" for instance. Zero: any.
	Tenant string
	// ClientID is the client that asks. Zero: any.
	ClientID string
	// GrantType is the grant_type as it is sent, for example
	// client_credentials. Zero: any.
	GrantType string

	// Skip is how many matching requests pass before the fault begins.
	Skip int
	// Times is how many requests go wrong. Zero: all, until the fault is
	// removed.
	Times int

	// Delay is how long the answer takes. A request whose context ends
	// leaves at once. Zero: no delay.
	Delay time.Duration
	// Status is the HTTP status of the answer. Zero: 503 for an answer made
	// by one of the following fields.
	Status int
	// RetryAfter is the Retry-After header: seconds, or an HTTP date.
	// Zero: none.
	RetryAfter string
	// ContentType is the Content-Type of Body. Zero: text/html for a Body
	// that begins with "<", else application/json.
	ContentType string
	// Body is the body of the answer. Zero: an error as Entra would send it
	// with this status.
	Body string
	// Header has further headers of the answer. Zero: none.
	Header http.Header
	// Error is the OAuth error code of an answer with Entra's error body,
	// for example invalid_grant. Zero: by Status.
	Error string
	// AADSTS is the number in that body. Zero: by Status.
	AADSTS int
	// SubError is the suberror in that body. Zero: none.
	SubError string
	// Claims is the claims challenge in that body. Zero: none.
	Claims string

	// Drop breaks the connection instead of answering.
	Drop bool
	// Truncate is how many bytes of the body arrive, of those that its
	// Content-Length announces, before the connection breaks.
	// Zero: all of them.
	Truncate int
}
