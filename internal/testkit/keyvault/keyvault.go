// Package keyvault has a fake of Azure Key Vault for tests. It is a package of its own, because it needs the library
// for PKCS#12.
package keyvault

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"time"

	"software.sslmate.com/src/go-pkcs12"
)

// A Server is a fake of Azure Key Vault with certificates. It serves the operations that read a certificate, its secret
// and its key, and that sign with the key. It may be used concurrently.
//
// Sources: "Azure Key Vault REST API reference", and "Azure Key Vault REST API Error Codes".
type Server struct {
	Host   string // of its identifiers, such as "contoso.vault.azure.net"
	Tenant string // named in its challenges

	mu           sync.Mutex // guards the fields below
	tokens       []string
	challenge    string // the WWW-Authenticate header of a rejected request
	certificates map[string][]*Version
	failures     map[string]Failure
	requests     []string
	bodies       []string
	intercept    func(http.ResponseWriter, *http.Request) bool
}

// A Version is one version of a certificate in a [Server].
type Version struct {
	ID          string
	Certificate *x509.Certificate
	Chain       []*x509.Certificate // of issuers
	Key         *rsa.PrivateKey
	PEM         bool // the secret is PEM instead of PKCS#12
	Disabled    bool
	NotExported bool // the secret has no private key
}

// A Failure is an error response of a [Server].
type Failure struct {
	Status     int
	Code       string // such as "Forbidden"
	Inner      string // such as "ForbiddenByRbac"
	Message    string
	RetryAfter string
}

// New returns an empty vault that accepts the given tokens.
func New(host, tenant string, tokens ...string) *Server {
	return &Server{
		Host: host, Tenant: tenant, tokens: tokens,
		challenge: `Bearer authorization="https://login.microsoftonline.com/` + tenant +
			`", resource="https://vault.azure.net"`,
		certificates: map[string][]*Version{}, failures: map[string]Failure{},
	}
}

// Accept replaces the accepted tokens, and the challenge unless it is empty.
func (v *Server) Accept(challenge string, tokens ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.tokens = tokens
	if challenge != "" {
		v.challenge = challenge
	}
}

// Add adds a version of a certificate, which becomes the latest.
func (v *Server) Add(name string, c Version) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.certificates[name] = append(v.certificates[name], &c)
}

// Remove removes all versions of a certificate.
func (v *Server) Remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.certificates, name)
}

// Fail sets the response to an operation: "certificates", "secrets", or "sign". With the zero Failure, it succeeds
// again.
func (v *Server) Fail(operation string, f Failure) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.failures[operation] = f
}

// Intercept sets a function that may respond to an authenticated request, and reports whether it did. If nil, there is
// none.
func (v *Server) Intercept(f func(http.ResponseWriter, *http.Request) bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.intercept = f
}

// Take returns the requests since the last call of Take: the method, the path and the query, and the status. The bodies
// are those of the requests to sign.
func (v *Server) Take() (requests, bodies []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	requests, bodies = v.requests, v.bodies
	v.requests, v.bodies = nil, nil
	return requests, bodies
}

// RoundTrip serves a request without a socket.
func (v *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || req.URL.Host != v.Host {
		return nil, fmt.Errorf("keyvault: %s://%s is not the vault", req.URL.Scheme, req.URL.Host)
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	if req.Body == nil {
		req = req.Clone(req.Context())
		req.Body = http.NoBody
	}
	v.ServeHTTP(w, req)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

// ServeHTTP serves a request.
func (v *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
	v.serve(rec, r)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.requests = append(v.requests, fmt.Sprintf("%s %s %d", r.Method, r.URL.RequestURI(), rec.status))
}

type statusRecorder struct {
	http.ResponseWriter
	status int
}

func (w *statusRecorder) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (v *Server) serve(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	tokens, challenge, intercept := v.tokens, v.challenge, v.intercept
	v.mu.Unlock()
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !slices.Contains(tokens, token) {
		w.Header().Set("WWW-Authenticate", challenge)
		fail(w, Failure{
			Status: 401, Code: "Unauthorized", Message: "AKV10000: Request is missing a Bearer or PoP token.",
		})
		return
	}
	if r.URL.Query().Get("api-version") == "" {
		fail(w, Failure{Status: 400, Code: "BadParameter", Message: "The api-version is missing."})
		return
	}
	if intercept != nil && intercept(w, r) {
		return
	}
	path := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	operation := path[0]
	if len(path) == 4 {
		operation = path[3]
	}
	v.mu.Lock()
	f := v.failures[operation]
	v.mu.Unlock()
	if f.Status != 0 {
		fail(w, f)
		return
	}
	path = append(path, "", "")
	c := v.find(path[1], path[2])
	kind := strings.TrimSuffix(path[0], "s")
	switch {
	case c == nil:
		fail(w, Failure{
			Status: 404, Code: strings.ToUpper(kind[:1]) + kind[1:] + "NotFound", Message: fmt.Sprintf(
				"A %s with (name/id) %s was not found in this key vault. If you recently deleted this %s you may be "+
					"able to recover it using the correct recovery command.", kind, path[1], kind),
		})
	case r.Method == http.MethodGet && operation == "certificates":
		v.write(w, v.certificate(path[1], c))
	case operation == "secrets" && c.Disabled, operation == "sign" && c.Disabled:
		fail(w, Failure{
			Status: 403, Code: "Forbidden", Inner: strings.ToUpper(kind[:1]) + kind[1:] + "Disabled",
			Message: "Operation get is not allowed on a disabled " + kind + ".",
		})
	case r.Method == http.MethodGet && operation == "secrets":
		v.write(w, v.secret(path[1], c))
	case r.Method == http.MethodPost && operation == "sign":
		v.sign(w, r, path[1], c)
	default:
		fail(w, Failure{Status: 405, Code: "MethodNotAllowed", Message: "The method is not allowed."})
	}
}

// find returns a version of a certificate, or the latest one.
func (v *Server) find(name, version string) *Version {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range slices.Backward(v.certificates[name]) {
		if version == "" || c.ID == version {
			return c
		}
	}
	return nil
}

func (v *Server) id(kind, name string, c *Version) string {
	return fmt.Sprintf("https://%s/%s/%s/%s", v.Host, kind, name, c.ID)
}

func (c *Version) attributes() map[string]any {
	return map[string]any{
		"enabled": !c.Disabled, "nbf": c.Certificate.NotBefore.Unix(), "exp": c.Certificate.NotAfter.Unix(),
		"created": c.Certificate.NotBefore.Unix(), "updated": c.Certificate.NotBefore.Unix(),
		"recoveryLevel": "Recoverable+Purgeable", "recoverableDays": 90,
	}
}

func (c *Version) contentType() string {
	if c.PEM {
		return "application/x-pem-file"
	}
	return "application/x-pkcs12"
}

func (v *Server) certificate(name string, c *Version) any {
	return map[string]any{
		"id": v.id("certificates", name, c), "kid": v.id("keys", name, c), "sid": v.id("secrets", name, c),
		"cer": base64.StdEncoding.EncodeToString(c.Certificate.Raw), "contentType": c.contentType(),
		"attributes": c.attributes(),
		"policy": map[string]any{
			"id":           fmt.Sprintf("https://%s/certificates/%s/policy", v.Host, name),
			"key_props":    map[string]any{"exportable": !c.NotExported, "kty": "RSA", "key_size": 2048, "reuse_key": false},
			"secret_props": map[string]any{"contentType": c.contentType()},
		},
	}
}

func (v *Server) secret(name string, c *Version) any {
	var value string
	switch {
	case c.PEM:
		var b bytes.Buffer
		if !c.NotExported {
			der, err := x509.MarshalPKCS8PrivateKey(c.Key)
			if err != nil {
				panic(err)
			}
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		}
		for _, cert := range append([]*x509.Certificate{c.Certificate}, c.Chain...) {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		}
		value = b.String()
	case c.NotExported:
		pfx, err := pkcs12.Modern.EncodeTrustStore([]*x509.Certificate{c.Certificate}, "")
		if err != nil {
			panic(err)
		}
		value = base64.StdEncoding.EncodeToString(pfx)
	default:
		pfx, err := pkcs12.Modern.Encode(c.Key, c.Certificate, c.Chain, "")
		if err != nil {
			panic(err)
		}
		value = base64.StdEncoding.EncodeToString(pfx)
	}
	return map[string]any{
		"id": v.id("secrets", name, c), "kid": v.id("keys", name, c), "value": value, "contentType": c.contentType(),
		"attributes": c.attributes(), "managed": true,
	}
}

func (v *Server) sign(w http.ResponseWriter, r *http.Request, name string, c *Version) {
	var request struct{ Alg, Value string }
	if json.NewDecoder(r.Body).Decode(&request) != nil {
		fail(w, Failure{Status: 400, Code: "BadParameter", Message: "The body is not JSON."})
		return
	}
	v.mu.Lock()
	v.bodies = append(v.bodies, request.Alg+" "+request.Value)
	v.mu.Unlock()
	digest, err := base64.RawURLEncoding.DecodeString(request.Value)
	if err != nil || len(digest) != crypto.SHA256.Size() {
		fail(w, Failure{Status: 400, Code: "BadParameter", Message: "Invalid length of 'value'."})
		return
	}
	var signature []byte
	switch request.Alg {
	case "PS256":
		signature, err = rsa.SignPSS(rand.Reader, c.Key, crypto.SHA256, digest,
			&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	case "RS256":
		signature, err = rsa.SignPKCS1v15(nil, c.Key, crypto.SHA256, digest)
	default:
		fail(w, Failure{Status: 400, Code: "BadParameter", Message: "The algorithm is not supported."})
		return
	}
	if err != nil {
		panic(err)
	}
	v.write(w, map[string]any{
		"kid": v.id("keys", name, c), "value": base64.RawURLEncoding.EncodeToString(signature),
	})
}

func (v *Server) write(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Date", time.Now().UTC().Format(http.TimeFormat))
	if err := json.NewEncoder(w).Encode(body); err != nil {
		panic(err)
	}
}

func fail(w http.ResponseWriter, f Failure) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	if f.RetryAfter != "" {
		w.Header().Set("Retry-After", f.RetryAfter)
	}
	w.WriteHeader(f.Status)
	e := map[string]any{"code": f.Code, "message": f.Message}
	if f.Inner != "" {
		e["innererror"] = map[string]any{"code": f.Inner}
	}
	if err := json.NewEncoder(w).Encode(map[string]any{"error": e}); err != nil {
		panic(err)
	}
}
