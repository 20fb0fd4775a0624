package entra_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// respondWith returns a function that responds to token requests.
func respondWith(status int, contentType, body string, header ...string) func(*http.Request,
	url.Values) (*http.Response, error) {
	return func(req *http.Request, _ url.Values) (*http.Response, error) {
		if req.Method != http.MethodPost {
			return nil, nil
		}
		return testkit.Response(req, status, contentType, body, header...), nil
	}
}

// estate is the sample configuration of a fake Entra, with a recorder of requests.
type estate struct {
	*entratest.Server
	*testkit.Recorder
}

func newEstate(changes ...func(*entratest.Config)) *estate {
	s := testkit.Server(changes...)
	return &estate{s, testkit.NewRecorder(s.Client().Transport)}
}

func (e *estate) httpClient() *http.Client { return &http.Client{Transport: e.Recorder} }

// config returns the config of one of the sample's apps in Contoso.
func (e *estate) config(app string) entra.Config {
	a := e.App(app)
	return entra.Config{
		TenantID: entratest.SampleTenant, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]),
		HTTPClient: e.httpClient(),
	}
}

func (e *estate) client(t testing.TB, app string) *entra.Client {
	t.Helper()
	return testkit.Client(t, e.config(app))
}

func tlsClient(ca *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
}

// oboFetch returns a Fetch that exchanges a new assertion of Alice.
func oboFetch(e *estate, scope string) func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	return func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		return r.OnBehalfOf(ctx, assertion)
	}
}

// fastEntra responds to every on-behalf-of request at once with a token of 1.5 KB that
// names the assertion. So a benchmark measures our own work.
type fastEntra struct{ discovery []byte }

func newFastEntra(t testing.TB) *fastEntra {
	t.Helper()
	resp, err := newEstate().Server.Client().Get(discoveryURL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &fastEntra{b}
}

var filler = strings.Repeat("x", 1500)

func (f *fastEntra) RoundTrip(req *http.Request) (*http.Response, error) {
	body := f.discovery
	if req.Method == http.MethodPost {
		if err := req.ParseForm(); err != nil {
			return nil, err
		}
		id := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"oid":"o","tid":"t","sub":"s"}`)) + ".x"
		info := base64.RawURLEncoding.EncodeToString([]byte(`{"uid":"o","utid":"t"}`))
		body = fmt.Appendf(nil, `{"access_token":"%s.%s","token_type":"Bearer","expires_in":3600,"scope":"s","id_token":%q,"client_info":%q}`,
			req.PostForm.Get("assertion"), filler, id, info)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
}

// cached returns the description of the cached token.
func cached(t testing.TB, s *entra.TokenSource) entra.TokenInfo {
	t.Helper()
	info, ok := s.Cached()
	if !ok {
		t.Fatal("no cached token")
	}
	return info
}

// invalidate drops the cached token of a source, which must be usable.
func invalidate(t testing.TB, s *entra.TokenSource) {
	t.Helper()
	tok, err := s.Token()
	if err != nil {
		t.Fatal(err)
	}
	s.Invalidate(tok)
}
