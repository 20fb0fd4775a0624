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

// An endpoint is Entra without the work of Entra: it answers every request at once, in process, with
// a token that nobody has checked anything for. What is measured against it is the caller's work.
type endpoint struct {
	tokenSize int                              // of access tokens. 0: 20 bytes
	life      time.Duration                    // of tokens. 0: an hour
	refreshIn time.Duration                    // 0: none is sent
	before    func(*http.Request) (status int) // of a token request, if set; 0: a token is the answer
	asked     atomic.Int64                     // token requests
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
		return answer(http.StatusOK, discovery(req)), nil
	}
	n := e.asked.Add(1)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	req.Body.Close()
	if e.before != nil {
		if status := e.before(req); status != 0 {
			return answer(status, `{"error":"temporarily_unavailable","error_description":"AADSTS90055"}`), nil
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
	return answer(http.StatusOK, fmt.Sprintf(`{"access_token":%q,"token_type":"Bearer","expires_in":%d%s}`, token, int(life.Seconds()), more)), nil
}

func answer(status int, body string) *http.Response {
	return &http.Response{
		StatusCode: status, Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(strings.NewReader(body)),
	}
}

// discovery answers what MSAL asks before it asks for a token.
func discovery(req *http.Request) string {
	if strings.Contains(req.URL.Path, "discovery/instance") {
		return `{"tenant_discovery_endpoint":"` + authority + `/v2.0/.well-known/openid-configuration","metadata":[` +
			`{"preferred_network":"login.microsoftonline.com","preferred_cache":"login.windows.net","aliases":["login.microsoftonline.com","login.windows.net"]}]}`
	}
	base := "https://" + req.URL.Host + strings.TrimSuffix(req.URL.Path, "/v2.0/.well-known/openid-configuration")
	return `{"token_endpoint":"` + base + `/oauth2/v2.0/token","authorization_endpoint":"` + base + `/oauth2/v2.0/authorize",` +
		`"issuer":"` + base + `/v2.0"}`
}

// assertion is a token of a bit over 1.5 KB such as an API is called with, a different one for each n.
func assertion(n int) string {
	return fmt.Sprintf("eyJhbGciOiJSUzI1NiJ9.%s.%s%d",
		base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"o","sub":"s","scp":"access_as_user"}`)), filler[:1450], n)
}

func (e *endpoint) requests() int { return int(e.asked.Load()) }

// ask is a request for the peers that don't speak to Entra. A status means that it failed.
func (e *endpoint) ask(ctx context.Context) error {
	e.asked.Add(1)
	if e.before != nil {
		if status := e.before(nil); status != 0 {
			return fmt.Errorf("status %d", status)
		}
	}
	return nil
}
