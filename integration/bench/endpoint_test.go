package bench_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	host      = "https://login.microsoftonline.com/"
	tenant    = "11111111-1111-1111-1111-111111111111"
	authority = host + tenant
	clientID  = "22222222-2222-2222-2222-222222222222"
	scope     = "api://next/.default"
)

// endpoint is a token endpoint in the process. It responds at once and checks nothing, so a benchmark measures only the
// work of the caller.
type endpoint struct {
	tokenSize     int                              // of access tokens; at least 20 bytes
	life          time.Duration                    // of tokens; defaults to an hour
	refreshIn     time.Duration                    // if zero, not sent
	before        func(*http.Request) (status int) // if set, called for a token request; if zero, the response has a token
	tokenRequests atomic.Int64
}

func (e *endpoint) client() *http.Client { return &http.Client{Transport: e} }

var (
	idToken    = "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"o","tid":"t","sub":"s"}`)) + ".x"
	clientInfo = base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"o","utid":"t"}`))
	filler     = strings.Repeat("x", 4096)
)

// RoundTrip implements [http.RoundTripper].
func (e *endpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method != http.MethodPost {
		return jsonResponse(http.StatusOK, discovery(req)), nil
	}
	n := e.tokenRequests.Add(1)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	if e.before != nil {
		if status := e.before(req); status != 0 {
			return jsonResponse(status, `{"error":"temporarily_unavailable","error_description":"AADSTS90055"}`), nil
		}
	}
	life := e.life
	if life == 0 {
		life = time.Hour
	}
	more := ""
	if bytes.Contains(body, []byte("on_behalf_of")) {
		more = fmt.Sprintf(`,"id_token":%q,"client_info":%q`, idToken, clientInfo)
	}
	if e.refreshIn > 0 {
		more += fmt.Sprintf(`,"refresh_in":%d`, int(e.refreshIn.Seconds()))
	}
	token := fmt.Sprintf("token%015d", n)
	token += filler[:max(e.tokenSize-len(token), 0)]
	return jsonResponse(http.StatusOK, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d%s}`, token,
		int(life.Seconds()), more)), nil
}

func jsonResponse(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

// discovery returns the documents that MSAL requests before a token.
func discovery(req *http.Request) string {
	if strings.Contains(req.URL.Path, "discovery/instance") {
		return `{"tenant_discovery_endpoint":"` + authority + `/v2.0/.well-known/openid-configuration","metadata":[` +
			`{"preferred_network":"login.microsoftonline.com","preferred_cache":"login.windows.net",` +
			`"aliases":["login.microsoftonline.com","login.windows.net"]}]}`
	}
	base := "https://" + req.URL.Host + strings.TrimSuffix(req.URL.Path, "/v2.0/.well-known/openid-configuration")
	return `{"token_endpoint":"` + base + `/oauth2/v2.0/token","authorization_endpoint":"` + base +
		`/oauth2/v2.0/authorize","issuer":"` + base + `/v2.0"}`
}

// assertion returns a token of about 1.5 KB, as a caller of an API sends it. It is different for each n.
func assertion(n int) string {
	return fmt.Sprintf("eyJhbGciOiJSUzI1NiJ9.%s.%s%d",
		base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"o","sub":"s","scp":"access_as_user"}`)), filler[:1450], n)
}

func (e *endpoint) requests() int { return int(e.tokenRequests.Load()) }

// send is a request of peers that do not support Entra. It fails if before returns a status.
func (e *endpoint) send(ctx context.Context) error {
	e.tokenRequests.Add(1)
	if e.before != nil {
		if status := e.before(nil); status != 0 {
			return fmt.Errorf("status %d", status)
		}
	}
	return nil
}
