// Package metadata requests tokens of managed identities from the service of the platform that a program runs on.
// MSAL detects the platform, builds the requests and checks the challenge of Azure Arc. This package bounds requests,
// responses and texts.
package metadata

import (
	"bytes"
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"github.com/entratoken/entra/internal/httpclient"
)

// Time-outs of the default HTTP client. The service is on this machine or its network, so a connection is quick, and a
// machine without the service is noticed soon.
const (
	dialTimeout    = 3 * time.Second
	overallTimeout = 25 * time.Second
)

// maxBody bounds the responses that are read, in bytes.
const maxBody = 1 << 20

// IMDS is the source of a program for which MSAL detects no other: the instance metadata service of a virtual machine.
const IMDS = "IMDS"

// Config selects an identity. At most one of the IDs may be set. Without any, it is the system-assigned identity.
type Config struct {
	ClientID, ObjectID, ResourceID string
	// HTTPClient sends the requests. An http.Transport is used without its proxy. If nil, a client with time-outs is
	// used.
	HTTPClient *http.Client
}

// A Client requests tokens of one identity. It caches nothing and is safe for concurrent use. MSAL stores a copy of
// each token in a cache for the whole program, which this package does not read.
type Client struct {
	source string
	config Config
	msal   managedidentity.Client
}

// New returns a client for cfg. It sends no request. The text of the error contains no value of cfg.
func New(cfg Config) (*Client, error) {
	id, selected := managedidentity.SystemAssigned(), 0
	if cfg.ClientID != "" {
		id, selected = managedidentity.UserAssignedClientID(cfg.ClientID), selected+1
	}
	if cfg.ObjectID != "" {
		id, selected = managedidentity.UserAssignedObjectID(cfg.ObjectID), selected+1
	}
	if cfg.ResourceID != "" {
		id, selected = managedidentity.UserAssignedResourceID(cfg.ResourceID), selected+1
	}
	if selected > 1 {
		return nil, errors.New("more than one of ClientID, ObjectID and ResourceID is set")
	}
	source, err := managedidentity.GetSource()
	if err != nil {
		return nil, errors.New("cannot determine the source of managed identities from the environment")
	}
	if source == managedidentity.ServiceFabric && fips140.Enforced() {
		return nil, errors.New("managed identities on Service Fabric need the SHA-1 thumbprint of its certificate, " +
			"but this program prohibits SHA-1 (GODEBUG=fips140=only)")
	}
	base := cfg.HTTPClient
	if base == nil {
		base = defaultClient()
	}
	base = withoutProxy(base)
	c := &Client{source: sourceName(source), config: cfg}
	c.msal, err = managedidentity.New(id, managedidentity.WithRetryPolicyDisabled(),
		managedidentity.WithHTTPClient(&sender{httpclient.Restricted(base), base}))
	if err != nil {
		return nil, fmt.Errorf("MSAL does not support this selection of a managed identity on this platform (%s); "+
			"use a different one of ClientID, ObjectID and ResourceID, or none", c.source)
	}
	return c, nil
}

func sourceName(s managedidentity.Source) string {
	if s == managedidentity.DefaultToIMDS {
		return IMDS
	}
	return string(s)
}

func defaultClient() *http.Client {
	t := httpclient.Transport()
	t.DialContext = (&net.Dialer{Timeout: dialTimeout}).DialContext
	return &http.Client{Transport: t, Timeout: overallTimeout}
}

// withoutProxy returns a copy of c that connects directly. Through a proxy, the service of another machine would
// respond, and the proxy could read the token. A transport of another type is used as it is.
func withoutProxy(c *http.Client) *http.Client {
	own := *c
	if own.Transport == nil {
		own.Transport = http.DefaultTransport
	}
	if t, ok := own.Transport.(*http.Transport); ok && t.Proxy != nil {
		t = t.Clone()
		t.Proxy = nil
		own.Transport = t
	}
	return &own
}

// Source returns the name of the platform: "IMDS", or the name of a source of MSAL.
func (c *Client) Source() string { return c.source }

// A Token is a token of a managed identity. No printed form contains it.
type Token struct {
	AccessToken string `json:"-"`
	ExpiresOn   time.Time
	RefreshIn   time.Duration // 0 if the response does not have refresh_in
}

// Format prints the expiry for every verb.
func (t Token) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "metadata.Token{expires_on=%s}", t.ExpiresOn)
}

// Token requests a token for an API.
func (c *Client) Token(ctx context.Context, scope string) (Token, *Failure) {
	x := &exchange{service: "the managed identity service (" + c.source + ")"}
	// MSAL's cache for the whole program would return a rejected token again. Claims bypass it. They are not sent.
	result, err := c.msal.AcquireToken(context.WithValue(ctx, exchangeKey{}, x), scope, managedidentity.WithClaims("{}"))
	if err != nil {
		return Token{}, c.failure(x, err)
	}
	var r response
	if json.Unmarshal(x.body, &r) != nil {
		return Token{}, x.fail(Malformed)
	}
	for _, id := range []struct{ requested, got string }{
		{c.config.ClientID, r.ClientID}, {c.config.ObjectID, r.ObjectID},
		{c.config.ResourceID, r.MSIResourceID}, {c.config.ResourceID, r.MIResourceID},
	} {
		if id.requested != "" && id.got != "" && !strings.EqualFold(id.requested, id.got) {
			return Token{}, x.fail(OtherIdentity)
		}
	}
	if r.TokenType != "" && !strings.EqualFold(r.TokenType, "Bearer") || result.AccessToken == "" {
		return Token{}, x.fail(Malformed)
	}
	expires := result.ExpiresOn
	if date, err := http.ParseTime(x.header.Get("Date")); err == nil && strings.Trim(string(r.ExpiresOn), `"nul`) != "" {
		expires = time.Now().Add(expires.Sub(date)) // expires_on is a time of the platform's clock
	}
	return Token{result.AccessToken, expires, time.Duration(r.RefreshIn)}, nil
}

// response is the part of a response that MSAL does not return.
type response struct {
	AccessToken   string          `json:"access_token"`
	TokenType     string          `json:"token_type"`
	ExpiresOn     json.RawMessage `json:"expires_on"` // if it is absent, null or "", MSAL reads expires_in
	RefreshIn     seconds         `json:"refresh_in"`
	ClientID      string          `json:"client_id"`
	ObjectID      string          `json:"object_id"`
	MSIResourceID string          `json:"msi_res_id"`
	MIResourceID  string          `json:"mi_res_id"`
}

// seconds is a number of seconds, which most platforms send as a string. Any other value counts as absent.
type seconds time.Duration

func (s *seconds) UnmarshalJSON(b []byte) error {
	n, err := strconv.ParseInt(strings.Trim(string(b), `"`), 10, 32)
	if err == nil && n > 0 {
		*s = seconds(time.Duration(n) * time.Second)
	}
	return nil
}

// An exchange records the requests for one token. It is used because the text of MSAL's error contains the whole
// request and response.
type exchange struct {
	service  string
	notLocal bool // a request was not sent, because it would have left the local network
	sent     bool
	err      error // of the last request
	status   int   // 0 without a response
	header   http.Header
	body     []byte
}

type exchangeKey struct{}

// sender is MSAL's HTTP client. It bounds responses and records the outcome of each request.
type sender struct {
	*http.Client
	base *http.Client // before httpclient.Restricted
}

var _ managedidentity.ClientConfigurer = (*sender)(nil)

// ConfigureClient lets MSAL pin the certificate of Service Fabric.
func (s *sender) ConfigureClient(augment func(*http.Client) (*http.Client, error)) error {
	c, err := augment(s.base) // needs an http.Transport
	if err != nil {
		return err
	}
	s.Client = httpclient.Restricted(c)
	return nil
}

var errNotLocal = errors.New("the managed identity service is not on a local network")

// Do sends req.
func (s *sender) Do(req *http.Request) (*http.Response, error) {
	x := req.Context().Value(exchangeKey{}).(*exchange)
	*x = exchange{service: x.service}
	if req.URL.Scheme != "https" && !isLocal(req.URL.Hostname()) {
		x.notLocal = true
		return nil, errNotLocal
	}
	x.sent = true
	resp, err := s.Client.Do(req)
	if err != nil {
		x.err = err
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	resp.Body.Close()
	if err != nil {
		x.err = err
		return nil, err
	}
	x.status, x.header, x.body = resp.StatusCode, resp.Header, body
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// isLocal reports whether a host is this machine or on a private network. All platform services without TLS have such
// an address.
func isLocal(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsPrivate())
}
