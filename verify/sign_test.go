package verify_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math/big"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra/verify"
)

// IDs that the tests share.
const (
	tenantA  = "aaaaaaaa-0000-4000-8000-000000000001"
	tenantB  = "bbbbbbbb-0000-4000-8000-000000000002"
	apiID    = "11111111-0000-4000-8000-00000000000a"
	otherID  = "22222222-0000-4000-8000-00000000000b"
	clientID = "33333333-0000-4000-8000-00000000000c"
	userOID  = "44444444-0000-4000-8000-00000000000d"
	apiURI   = "api://tasks"
	host     = "login.microsoftonline.com"
)

var b64 = base64.RawURLEncoding

// testKeys are made once, because that is slow.
var testKeys [5]func() *rsa.PrivateKey

func init() {
	for i := range testKeys {
		testKeys[i] = sync.OnceValue(func() *rsa.PrivateKey {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				panic(err)
			}
			return key
		})
	}
}

// object is a JSON object. Methods with and without return changed copies.
type object map[string]any

func (o object) with(name string, value any) object {
	c := maps.Clone(o)
	c[name] = value
	return c
}

func (o object) without(names ...string) object {
	c := maps.Clone(o)
	for _, n := range names {
		delete(c, n)
	}
	return c
}

func (o object) text() string {
	text, err := json.Marshal(map[string]any(o))
	if err != nil {
		panic(err)
	}
	return string(text)
}

// kid returns the ID of key n.
func kid(n int) string { return "key-" + strconv.Itoa(n) }

func headerOf(n int) object { return object{"typ": "JWT", "alg": "RS256", "kid": kid(n)} }

// userV2 returns the claims of a user's v2.0 access token.
func userV2() object {
	now := time.Now().Unix()
	return object{
		"iss": "https://" + host + "/" + tenantA + "/v2.0", "aud": apiID, "ver": "2.0",
		"tid": tenantA, "oid": userOID, "sub": "pairwise-subject",
		"azp": clientID, "azpacr": "1", "scp": "Tasks.Read Tasks.Write", "uti": "uti-1",
		"name": "Ada Example", "preferred_username": "ada@contoso.example",
		"iat": now, "nbf": now, "exp": now + 4500,
	}
}

// userV1 returns the claims of a user's v1.0 access token.
func userV1() object {
	c := userV2().without("azp", "azpacr", "preferred_username")
	maps.Copy(c, object{
		"iss": "https://sts.windows.net/" + tenantA + "/", "aud": apiURI, "ver": "1.0",
		"appid": clientID, "appidacr": "1", "upn": "ada@contoso.example", "unique_name": "ada@contoso.example",
		"amr": []string{"pwd", "mfa"}, "idp": "https://sts.windows.net/" + tenantB + "/",
	})
	return c
}

// appV2 returns the claims of an app-only v2.0 access token.
func appV2() object {
	c := userV2().without("scp", "name", "preferred_username")
	return c.with("sub", userOID).with("roles", []string{"Tasks.Read.All"}).with("idtyp", "app")
}

// idV2 returns the claims of an ID token of a sign-in with nonce "n-1".
func idV2() object {
	return userV2().without("azp", "azpacr", "scp").with("nonce", "n-1")
}

// sign returns a token that key n signed.
func sign(n int, header, claims object) string { return signText(n, header.text(), claims.text()) }

// signText returns a token with any header and payload that key n signed. It uses PS256 if the header
// has it, and RS256 otherwise.
func signText(n int, header, payload string) string {
	signed := b64.EncodeToString([]byte(header)) + "." + b64.EncodeToString([]byte(payload))
	sum := sha256.Sum256([]byte(signed))
	var signature []byte
	var err error
	if bytes.Contains([]byte(header), []byte(`"PS256"`)) {
		signature, err = rsa.SignPSS(rand.Reader, testKeys[n](), crypto.SHA256, sum[:],
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	} else {
		signature, err = rsa.SignPKCS1v15(nil, testKeys[n](), crypto.SHA256, sum[:])
	}
	if err != nil {
		panic(err)
	}
	return signed + "." + b64.EncodeToString(signature)
}

// jwk returns key n as published for all tenants.
func jwk(n int) object {
	public := testKeys[n]().PublicKey
	return object{
		"kty": "RSA", "use": "sig", "kid": kid(n), "issuer": "https://" + host + "/{tenantid}/v2.0",
		"n": b64.EncodeToString(public.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(public.E)).Bytes()),
	}
}

// authority is the key endpoint of an authority. It is an http.RoundTripper.
type authority struct {
	mu      sync.Mutex
	respond func(*http.Request) (*http.Response, error)

	fetches atomic.Int64
	lastURL atomic.Pointer[string]
}

func newAuthority(keys ...object) *authority {
	a := new(authority)
	a.publish(keys...)
	return a
}

// publish sets the keys in the response.
func (a *authority) publish(keys ...object) {
	a.respondWith(http.StatusOK, object{"keys": keys}.text())
}

// respondWith sets the response.
func (a *authority) respondWith(status int, body string) {
	a.do(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{},
			Body: io.NopCloser(bytes.NewReader([]byte(body)))}, nil
	})
}

func (a *authority) do(respond func(*http.Request) (*http.Response, error)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.respond = respond
}

func (a *authority) RoundTrip(r *http.Request) (*http.Response, error) {
	a.fetches.Add(1)
	u := r.URL.String()
	a.lastURL.Store(&u)
	a.mu.Lock()
	respond := a.respond
	a.mu.Unlock()
	return respond(r)
}

func (a *authority) client() *http.Client { return &http.Client{Transport: a} }

// config returns a Config for tokens of tenant A.
func (a *authority) config() verify.Config {
	return verify.Config{Audiences: []string{apiID, apiURI}, Tenants: []string{tenantA}, HTTPClient: a.client()}
}

func mustNew(t testing.TB, cfg verify.Config) *verify.Verifier {
	t.Helper()
	v, err := verify.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// reason returns the reason of an error, or "" for nil.
func reason(t testing.TB, err error) verify.Reason {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *verify.Error
	if !errors.As(err, &e) {
		t.Fatalf("got a %T, want an *Error: %v", err, err)
	}
	return e.Reason
}

func accept(t testing.TB, v *verify.Verifier, raw string) *verify.Claims {
	t.Helper()
	got, err := v.Verify(context.Background(), raw)
	if err != nil {
		t.Fatalf("a valid token was rejected: %v", err)
	}
	return got.Claims()
}

// advance moves the clock of a synctest bubble forward.
func advance(d time.Duration) { <-time.After(d) }
