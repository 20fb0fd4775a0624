package entratest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

const (
	tenant   = entratest.SampleTenant
	fabrikam = entratest.SampleOtherTenant
	daemon   = "aaaaaaaa-0000-4000-8000-00000000000d"
	webapp   = "aaaaaaaa-0000-4000-8000-0000000000ee"
	apiA     = "aaaaaaaa-0000-4000-8000-00000000000a"
	apiB     = "aaaaaaaa-0000-4000-8000-00000000000b"
	alice    = "alice@contoso.onmicrosoft.com"
	bob      = "bob@contoso.onmicrosoft.com"
	carol    = "carol@fabrikam.onmicrosoft.com"
	callback = "http://localhost/callback"
	verifier = "a-verifier-of-enough-characters-to-be-accepted-by-all"
	authHost = "https://login.microsoftonline.com/"
)

// response is a response of the token endpoint.
type response struct {
	status int
	header http.Header
	body   map[string]any
}

func (resp response) stringField(name string) string {
	s, _ := resp.body[name].(string)
	return s
}

// aadsts returns the first error number.
func (resp response) aadsts() int {
	codes, _ := resp.body["error_codes"].([]any)
	if len(codes) == 0 {
		return 0
	}
	n, _ := codes[0].(float64)
	return int(n)
}

func post(t testing.TB, client *http.Client, endpoint string, form url.Values) response {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, client, req)
}

// do sends a request whose response has a JSON object.
func do(t testing.TB, client *http.Client, req *http.Request) response {
	t.Helper()
	httpResp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer httpResp.Body.Close()
	data, err := io.ReadAll(httpResp.Body)
	if err != nil {
		t.Fatal(err)
	}
	resp := response{status: httpResp.StatusCode, header: httpResp.Header}
	if err := json.Unmarshal(data, &resp.body); err != nil {
		t.Fatalf("status %d, decode body: %v: %.200s", httpResp.StatusCode, err, data)
	}
	return resp
}

// tokenRequest posts to the token endpoint of a tenant. pairs are parameters.
func tokenRequest(t testing.TB, s *entratest.Server, tenant string, pairs ...string) response {
	t.Helper()
	return post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", form(pairs...))
}

func parseQuery(t testing.TB, text string) url.Values {
	t.Helper()
	q, err := url.ParseQuery(text)
	if err != nil {
		t.Fatal(err)
	}
	return q
}

func form(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

// wantError checks an error response.
func wantError(t testing.TB, resp response, status int, code string, aadsts int) {
	t.Helper()
	if resp.status != status || resp.stringField("error") != code || resp.aadsts() != aadsts {
		t.Fatalf("got %d %s %d, want %d %s %d: %s", resp.status, resp.stringField("error"), resp.aadsts(), status, code,
			aadsts, resp.stringField("error_description"))
	}
	if resp.stringField("access_token") != "" {
		t.Fatal("error response has a token")
	}
}

func wantToken(t testing.TB, resp response) claims {
	t.Helper()
	if resp.status != 200 {
		t.Fatalf("got %d %v", resp.status, resp.body)
	}
	return decode(t, resp.stringField("access_token"))
}

type claims map[string]any

func (c claims) stringClaim(name string) string {
	s, _ := c[name].(string)
	return s
}

func (c claims) joined(name string) string {
	var parts []string
	list, _ := c[name].([]any)
	for _, v := range list {
		s, _ := v.(string)
		parts = append(parts, s)
	}
	return strings.Join(parts, " ")
}

func decode(t testing.TB, raw string) claims { return decodePart(t, raw, 1) }

func decodePart(t testing.TB, raw string, n int) claims {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("not a token: %q", raw)
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	var c claims
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorizeURL returns webapp's authorization request. pairs replace parameters. An
// empty value removes one.
func authorizeURL(tenant string, pairs ...string) string {
	q := form(
		"client_id", webapp, "response_type", "code", "redirect_uri", callback,
		"scope", "api://api-a/access_as_user openid profile offline_access", "state", "a state", "nonce", "a nonce",
		"code_challenge", challenge(verifier), "code_challenge_method", "S256",
	)
	for i := 0; i < len(pairs); i += 2 {
		q.Set(pairs[i], pairs[i+1])
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		}
	}
	return authHost + tenant + "/oauth2/v2.0/authorize?" + q.Encode()
}

// signIn signs a user in to webapp and returns the code.
func signIn(t testing.TB, s *entratest.Server, user string, pairs ...string) string {
	t.Helper()
	cb, err := s.SignIn(t.Context(), authorizeURL("organizations", pairs...), user)
	if err != nil {
		t.Fatal(err)
	}
	code := cb.Query().Get("code")
	if code == "" {
		t.Fatalf("no code in callback: %s", cb)
	}
	return code
}

// redeem redeems a code of webapp. pairs replace parameters.
func redeem(t testing.TB, s *entratest.Server, code string, pairs ...string) response {
	t.Helper()
	f := []string{
		"grant_type", "authorization_code", "client_id", webapp, "client_secret", "webapp-secret", "code", code,
		"redirect_uri", callback, "code_verifier", verifier, "client_info", "1",
		"scope", "api://api-a/access_as_user openid offline_access profile",
	}
	return tokenRequest(t, s, "organizations", append(f, pairs...)...)
}

// userToken returns a user's access token for api-a.
func userToken(t testing.TB, s *entratest.Server, user string) string {
	t.Helper()
	resp := redeem(t, s, signIn(t, s, user))
	wantToken(t, resp)
	return resp.stringField("access_token")
}

// onBehalfOf exchanges a token for api-a for a token for api-b.
func onBehalfOf(t testing.TB, s *entratest.Server, assertion string, pairs ...string) response {
	t.Helper()
	f := []string{
		"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", apiA, "client_secret", "api-a-secret",
		"assertion", assertion, "requested_token_use", "on_behalf_of", "client_info", "1",
		"scope", "api://api-b/Orders.Read openid offline_access profile",
	}
	return tokenRequest(t, s, "organizations", append(f, pairs...)...)
}

// clientCredentials requests a token for api-b for the daemon.
func clientCredentials(t testing.TB, s *entratest.Server, pairs ...string) response {
	t.Helper()
	f := []string{
		"grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret",
		"scope", "api://api-b/.default openid offline_access profile",
	}
	return tokenRequest(t, s, tenant, append(f, pairs...)...)
}

// testKey and otherKey return the RSA keys of the tests.
var (
	testKey  = sync.OnceValue(newKey)
	otherKey = sync.OnceValue(newKey)
)

func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// certify returns a certificate for key, signed by parent. If parent is nil, it is
// self-signed.
func certify(t testing.TB, name string, key *rsa.PrivateKey, parent *x509.Certificate,
	signer *rsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true,
	}
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// sample returns the sample Config with one app changed.
func sample(app string, change func(*entratest.App)) entratest.Config {
	cfg := entratest.Sample()
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == app {
			change(&cfg.Apps[i])
		}
	}
	return cfg
}

// sign returns a token signed with RS256, or with PS256 if header says so.
func sign(t testing.TB, key *rsa.PrivateKey, header, payload map[string]any) string {
	t.Helper()
	h := map[string]any{"typ": "JWT", "alg": "RS256"}
	for k, v := range header {
		h[k] = v
	}
	hj, err1 := json.Marshal(h)
	pj, err2 := json.Marshal(payload)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	signed := base64.RawURLEncoding.EncodeToString(hj) + "." + base64.RawURLEncoding.EncodeToString(pj)
	sum := sha256.Sum256([]byte(signed))
	var sig []byte
	var err error
	if h["alg"] == "PS256" {
		sig, err = rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], nil)
	} else {
		sig, err = rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	}
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

// thumbprint returns the x5t of a certificate.
func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// leftHalfHash returns a c_hash.
func leftHalfHash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// ecCert returns a self-signed certificate of an ECDSA key.
func ecCert(t testing.TB, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// signEC returns a token signed with ES256 (RFC 7518, section 3.4).
func signEC(t testing.TB, key *ecdsa.PrivateKey, header, payload map[string]any) string {
	t.Helper()
	header["alg"] = "ES256"
	hj, err1 := json.Marshal(header)
	pj, err2 := json.Marshal(payload)
	signed := base64.RawURLEncoding.EncodeToString(hj) + "." + base64.RawURLEncoding.EncodeToString(pj)
	sum := sha256.Sum256([]byte(signed))
	r, s, err3 := ecdsa.Sign(rand.Reader, key, sum[:])
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	sig := make([]byte, 64)
	r.FillBytes(sig[:32])
	s.FillBytes(sig[32:])
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}
