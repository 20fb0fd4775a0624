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

// answer is what came back from the token endpoint.
type answer struct {
	status int
	header http.Header
	body   map[string]any
}

func (a answer) text(name string) string {
	s, _ := a.body[name].(string)
	return s
}

// aadsts is the first error code.
func (a answer) aadsts() int {
	codes, _ := a.body["error_codes"].([]any)
	if len(codes) == 0 {
		return 0
	}
	n, _ := codes[0].(float64)
	return int(n)
}

func post(t testing.TB, client *http.Client, endpoint string, form url.Values) answer {
	t.Helper()
	resp, err := client.PostForm(endpoint, form)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header}
	if err := json.Unmarshal(data, &a.body); err != nil {
		t.Fatalf("%d: %v: %.200s", resp.StatusCode, err, data)
	}
	return a
}

// ask posts to the token endpoint of a tenant; the pairs are parameters.
func ask(t testing.TB, s *entratest.Server, tenant string, pairs ...string) answer {
	t.Helper()
	return post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", form(pairs...))
}

func form(pairs ...string) url.Values {
	f := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		f.Set(pairs[i], pairs[i+1])
	}
	return f
}

// wantError checks an error answer as Entra makes them.
func wantError(t testing.TB, a answer, status int, code string, aadsts int) {
	t.Helper()
	if a.status != status || a.text("error") != code || a.aadsts() != aadsts {
		t.Fatalf("got %d %s %d, want %d %s %d: %s", a.status, a.text("error"), a.aadsts(), status, code, aadsts, a.text("error_description"))
	}
	if a.text("access_token") != "" {
		t.Fatal("an error with a token")
	}
}

func wantToken(t testing.TB, a answer) claims {
	t.Helper()
	if a.status != 200 {
		t.Fatalf("%d %v", a.status, a.body)
	}
	return decode(t, a.text("access_token"))
}

type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

func (c claims) list(name string) string {
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
		t.Fatalf("no token: %q", raw)
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

// authorizeURL is webapp's request; the pairs override parameters, and remove
// them if empty.
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

// signIn returns the code of a sign-in to webapp.
func signIn(t testing.TB, s *entratest.Server, user string, pairs ...string) string {
	t.Helper()
	cb, err := s.SignIn(t.Context(), authorizeURL("organizations", pairs...), user)
	if err != nil {
		t.Fatal(err)
	}
	code := cb.Query().Get("code")
	if code == "" {
		t.Fatalf("no code: %s", cb)
	}
	return code
}

// redeem is webapp's redemption of a code; the pairs override parameters.
func redeem(t testing.TB, s *entratest.Server, code string, pairs ...string) answer {
	t.Helper()
	f := []string{
		"grant_type", "authorization_code", "client_id", webapp, "client_secret", "webapp-secret", "code", code,
		"redirect_uri", callback, "code_verifier", verifier, "client_info", "1",
		"scope", "api://api-a/access_as_user openid offline_access profile",
	}
	return ask(t, s, "organizations", append(f, pairs...)...)
}

// userToken is a user's access token for api-a.
func userToken(t testing.TB, s *entratest.Server, user string) string {
	t.Helper()
	a := redeem(t, s, signIn(t, s, user))
	wantToken(t, a)
	return a.text("access_token")
}

// onBehalfOf is api-a's exchange for a token for api-b.
func onBehalfOf(t testing.TB, s *entratest.Server, assertion string, pairs ...string) answer {
	t.Helper()
	f := []string{
		"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", apiA, "client_secret", "api-a-secret",
		"assertion", assertion, "requested_token_use", "on_behalf_of", "client_info", "1",
		"scope", "api://api-b/Orders.Read openid offline_access profile",
	}
	return ask(t, s, "organizations", append(f, pairs...)...)
}

// credentials is the daemon's request for a token for api-b.
func credentials(t testing.TB, s *entratest.Server, pairs ...string) answer {
	t.Helper()
	f := []string{
		"grant_type", "client_credentials", "client_id", daemon, "client_secret", "daemon-secret",
		"scope", "api://api-b/.default openid offline_access profile",
	}
	return ask(t, s, tenant, append(f, pairs...)...)
}

// testKey and otherKey are RSA keys of the tests.
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

// certify makes a certificate for key, signed by parent, or itself if nil.
func certify(t testing.TB, name string, key *rsa.PrivateKey, parent *x509.Certificate, signer *rsa.PrivateKey) *x509.Certificate {
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

// sample is the sample estate with the app changed.
func sample(app string, change func(*entratest.App)) entratest.Config {
	cfg := entratest.Sample()
	for i := range cfg.Apps {
		if cfg.Apps[i].Name == app {
			change(&cfg.Apps[i])
		}
	}
	return cfg
}

// sign makes a token with RS256.
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

// thumbprint is the x5t of a certificate.
func thumbprint(c *x509.Certificate) string {
	sum := sha1.Sum(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// halfHash is a c_hash.
func halfHash(raw string) string {
	sum := sha256.Sum256([]byte(raw))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// ecCert is a certificate of an ECDSA key.
func ecCert(t testing.TB, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
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

// signEC makes a token with ES256 (RFC 7518 section 3.4).
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
