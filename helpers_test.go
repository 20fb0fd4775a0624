package entra_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
)

// wire records every request as it was sent, and may answer in Entra's place.
type wire struct {
	next http.RoundTripper

	mu       sync.Mutex // guards the fields below
	requests []sent
	answer   func(*http.Request, url.Values) (*http.Response, error) // nil response: Entra answers
}

type sent struct {
	method, url string
	header      http.Header
	form        url.Values
}

func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	s := sent{method: req.Method, url: req.URL.String(), header: req.Header.Clone()}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req = req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
		if s.form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	w.mu.Lock()
	w.requests = append(w.requests, s)
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if resp, err := answer(req, s.form); resp != nil || err != nil {
			return resp, err
		}
	}
	return w.next.RoundTrip(req)
}

// tokenRequests returns the forms sent to token endpoints.
func (w *wire) tokenRequests() (forms []url.Values) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.requests {
		if s.method == http.MethodPost {
			forms = append(forms, s.form)
		}
	}
	return forms
}

func (w *wire) intercept(answer func(*http.Request, url.Values) (*http.Response, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// answerWith answers token requests with one response.
func answerWith(status int, contentType, body string, header ...string) func(*http.Request, url.Values) (*http.Response, error) {
	return func(req *http.Request, form url.Values) (*http.Response, error) {
		if req.Method != http.MethodPost {
			return nil, nil
		}
		h := http.Header{"Content-Type": {contentType}}
		for i := 0; i+1 < len(header); i += 2 {
			h.Set(header[i], header[i+1])
		}
		return &http.Response{StatusCode: status, Header: h, Body: io.NopCloser(bytes.NewReader([]byte(body))), Request: req}, nil
	}
}

// estate is the sample estate with its wire.
type estate struct {
	*entratest.Server
	wire *wire
}

func newEstate(change ...func(*entratest.Config)) *estate {
	cfg := entratest.Sample()
	for _, f := range change {
		f(&cfg)
	}
	s := entratest.NewServer(cfg)
	return &estate{s, &wire{next: s.Client().Transport}}
}

func (e *estate) httpClient() *http.Client { return &http.Client{Transport: e.wire} }

// config is that of one of the sample's apps in Contoso.
func (e *estate) config(app string) entra.Config {
	a := e.App(app)
	return entra.Config{
		TenantID: entratest.SampleTenant, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]),
		HTTPClient: e.httpClient(),
	}
}

func (e *estate) client(t testing.TB, app string) *entra.Client {
	t.Helper()
	return newClient(t, e.config(app))
}

func newClient(t testing.TB, cfg entra.Config) *entra.Client {
	t.Helper()
	c, err := entra.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// asError returns err's *entra.Error.
func asError(t testing.TB, err error) *entra.Error {
	t.Helper()
	var e *entra.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T: %v, want an *entra.Error", err, err)
	}
	return e
}

func tlsClient(ca *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
}

// oboFetch exchanges a fresh assertion of Alice's, as an API would.
func oboFetch(e *estate, scope string) func(context.Context, *entra.TokenRequest) (*entra.TokenResponse, error) {
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	return func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		return r.OnBehalfOf(ctx, assertion)
	}
}

// fastEntra answers every on-behalf-of request at once with a token of 1.5 KB that
// names the assertion it answers, so that what is left is our own work.
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

// cached returns what the cache has for a source.
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
