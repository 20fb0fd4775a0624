package entra

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	msalcache "github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

// msal returns an MSAL client for one exchange. If region is empty, it uses the global
// endpoint.
func (c *Client) msal(cred confidential.Credential, rt *refreshToken, region string) (confidential.Client, error) {
	if region == "" {
		region = "DisableMsalForceRegion" // otherwise MSAL reads one from the environment
	}
	options := []confidential.Option{
		confidential.WithHTTPClient(c.transport),
		// The developer chose the host, so MSAL need not check that it is an authority.
		confidential.WithInstanceDiscovery(false),
		confidential.WithClientCapabilities(c.capabilities),
		confidential.WithAzureRegion(region),
	}
	if rt != nil {
		options = append(options, confidential.WithCache(rt))
	}
	return confidential.New(c.authority, c.clientID, cred, options...)
}

// A refreshToken is a session's refresh token in the form in which MSAL redeems one: the
// accessor of an MSAL cache that contains nothing else, so that AcquireTokenSilent must
// redeem it. It never leaves this package.
type refreshToken struct {
	document redact.Secret[[]byte]
}

// newRefreshToken builds the smallest document in MSAL's cache format in which
// AcquireTokenSilent finds the refresh token of homeAccountID.
func newRefreshToken(c *Client, homeAccountID, token string) *refreshToken {
	type item map[string]string
	document, _ := json.Marshal(map[string]map[string]item{ // strings always marshal
		"RefreshToken": {"rt": {
			"home_account_id": homeAccountID,
			"environment":     c.cloud.Host(),
			"credential_type": "RefreshToken",
			"client_id":       c.clientID,
			"secret":          token,
		}},
		"AppMetadata": {"app": {
			"environment": c.cloud.Host(),
			"client_id":   c.clientID,
		}},
	})
	return &refreshToken{redact.NewSecret(document)}
}

// Replace gives MSAL the document. It implements MSAL's cache.ExportReplace.
func (r *refreshToken) Replace(_ context.Context, u msalcache.Unmarshaler, _ msalcache.ReplaceHints) error {
	return u.Unmarshal(r.document.Value())
}

// Export ignores what MSAL would store: the exchange has recorded the token response.
func (r *refreshToken) Export(context.Context, msalcache.Marshaler, msalcache.ExportHints) error {
	return nil
}

// maxBody bounds the requests that are sent and the responses that are read, in bytes.
const maxBody = 1 << 20

// An msalTransport is MSAL's HTTP client for all exchanges of a client, and of those made
// from it by WithTenant. It caches discovery documents, records responses in the exchange
// they belong to, follows no redirects, and sends requests only to the authority, over TLS.
type msalTransport struct {
	host      string
	region    *region
	client    *http.Client
	budget    *retry.Budget // shared by the clients made by WithTenant
	discovery *discovery
}

func newMSALTransport(cloud Cloud, region *region, client *http.Client, sessions func() int) *msalTransport {
	t := &msalTransport{
		host: cloud.Host(), region: region, client: httpclient.Restricted(client), budget: retry.NewBudget(),
	}
	t.discovery = newDiscovery(t, sessions, cloud.ExternalID())
	return t
}

// CloseIdleConnections is a method of MSAL's HTTPClient.
func (t *msalTransport) CloseIdleConnections() { t.client.CloseIdleConnections() }

// Do is a method of MSAL's HTTPClient.
func (t *msalTransport) Do(req *http.Request) (*http.Response, error) {
	x := exchangeFromContext(req.Context())
	err := t.allow(req.URL)
	var resp *response
	switch {
	case err != nil:
	case req.Method == http.MethodGet && strings.HasSuffix(req.URL.Path, "/.well-known/openid-configuration"):
		resp, err = t.discovery.get(req)
	case req.Method == http.MethodPost:
		resp, err = t.sendTokenRequest(req, x)
	default:
		err = errorf("invalid_request", "MSAL sent a %s request that is neither for a token nor for discovery", req.Method)
	}
	if err != nil {
		x.fail(err)
		return nil, err
	}
	return resp.http(req), nil
}

// sendTokenRequest sends a token request and records the response in x.
func (t *msalTransport) sendTokenRequest(req *http.Request, x *exchange) (*response, *Error) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxBody+1))
	req.Body.Close()
	if err != nil || len(body) > maxBody {
		return nil, errorf("invalid_request", "the token request is larger than %d bytes", maxBody)
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, errorf("invalid_request", "the token request is not a form")
	}
	if err := x.admit(form); err != nil {
		return nil, err
	}
	// GetBody lets net/http repeat a request that it has not begun to send.
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(body))
	x.attempted = true
	x.requestID = req.Header.Get("Client-Request-Id")
	resp, failed := t.send(req)
	if failed != nil {
		return nil, failed
	}
	x.receive(resp)
	return x.forMSAL(), nil
}

// A response is an HTTP response with its whole body.
type response struct {
	status int
	header http.Header
	body   []byte
}

func (r *response) http(req *http.Request) *http.Response {
	return &http.Response{
		Status: fmt.Sprintf("%d %s", r.status, http.StatusText(r.status)), StatusCode: r.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.header.Clone(), Body: io.NopCloser(bytes.NewReader(r.body)), ContentLength: int64(len(r.body)),
		Request: req,
	}
}

// send sends a request and reads the whole response.
func (t *msalTransport) send(req *http.Request) (*response, *Error) {
	requestID := req.Header.Get("Client-Request-Id")
	client := t.client
	if own := exchangeFromContext(req.Context()).candidate.transport; own != nil {
		client = httpclient.Restricted(&http.Client{Transport: own, Timeout: t.client.Timeout})
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, networkError(req, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil && req.Context().Err() != nil:
		return nil, networkError(req, err)
	case err != nil:
		return nil, &Error{
			Code: CodeRequestFailed, StatusCode: resp.StatusCode, CorrelationID: requestID, Err: neterr.Cause(err),
			Description: fmt.Sprintf("the response of %s ended early, after %d bytes", req.URL.Host, len(body)),
			connection:  connectionFailed,
		}
	case len(body) > maxBody:
		return nil, &Error{
			Code: CodeInvalidResponse, StatusCode: resp.StatusCode, CorrelationID: requestID,
			Description: fmt.Sprintf("the response of %s is larger than %d bytes", req.URL.Host, maxBody),
		}
	}
	return &response{resp.StatusCode, resp.Header, body}, nil
}

// networkError returns the error for a request without a response.
func networkError(req *http.Request, err error) *Error {
	text, cause := neterr.Describe(req.URL.Host, err)
	e := &Error{
		Code: CodeRequestFailed, Description: text, CorrelationID: req.Header.Get("Client-Request-Id"), Err: cause,
		connection: connectionFailed,
	}
	switch failed, _ := errors.AsType[*httpclient.Error](err); {
	case failed == nil:
	case failed.Unsent:
		e.connection = connectionMissing
	case failed.Stale:
		e.connection = connectionStale
	}
	return e
}

// allow rejects URLs to which no request with a secret may be sent, even if a
// discovery document contains them.
func (t *msalTransport) allow(u *url.URL) *Error {
	if u.Scheme != "https" {
		return errorf(CodeInvalidResponse, "the authority names a URL without TLS (%s://%s)", u.Scheme, u.Host)
	}
	if u.User != nil {
		return errorf(CodeInvalidResponse, "the authority %s names a URL that contains user information", t.host)
	}
	if u.Host == t.host {
		return nil
	}
	host := lowerHost(u.Host)
	if cloud := microsoftCloud(t.host); host == t.host || cloud != "" && cloud == microsoftCloud(host) {
		return nil
	}
	if r := t.region.known(); r != "" && host == regionalHost(r, t.host) {
		return nil
	}
	return errorf(CodeInvalidResponse, "the authority %s names a URL on another host, %s", t.host, u.Host)
}
