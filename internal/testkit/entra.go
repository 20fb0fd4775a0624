package testkit

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
)

// Server returns a fake Entra with the sample configuration, after the given changes.
func Server(changes ...func(*entratest.Config)) *entratest.Server {
	cfg := entratest.Sample()
	for _, change := range changes {
		change(&cfg)
	}
	return entratest.NewServer(cfg)
}

// ClientConfig returns the configuration of an app of s, with its first secret. The client's requests go through
// transport.
func ClientConfig(s *entratest.Server, app string, transport http.RoundTripper) entra.Config {
	a := s.App(app)
	return entra.Config{
		TenantID: a.TenantID, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]),
		HTTPClient: &http.Client{Transport: transport},
	}
}

// Client returns a client, and fails the test if cfg is invalid.
func Client(t testing.TB, cfg entra.Config) *entra.Client {
	t.Helper()
	c, err := entra.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Error returns the [*entra.Error] in err's tree, and fails the test if there is none.
func Error(t testing.TB, err error) *entra.Error {
	t.Helper()
	e, ok := errors.AsType[*entra.Error](err)
	if !ok {
		t.Fatalf("got %T: %v, want an *entra.Error", err, err)
	}
	return e
}

// DecodeJWT decodes part number n of a JWT into v, without verifying the signature. The header is part 0, the claims
// are part 1.
func DecodeJWT(t testing.TB, token string, n int, v any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("got a token with %d parts, want 3", len(parts))
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[n])
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// Claims returns the claims of a JWT, without verifying it.
func Claims(t testing.TB, token string) (claims map[string]any) {
	t.Helper()
	DecodeJWT(t, token, 1, &claims)
	return claims
}
