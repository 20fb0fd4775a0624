package nethttp_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/integration/recipes/nethttp"
	"github.com/entratoken/entra/internal/testkit"
)

const scope = recipetest.API + "/.default"

// echo responds with the token of each request.
func echo(w http.ResponseWriter, r *http.Request) {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), "Bearer ")
	_, _ = io.WriteString(w, token)
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestNewClient(t *testing.T) {
	recipetest.Fit{Resource: recipetest.API, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		server := httptest.NewServer(http.HandlerFunc(echo))
		t.Cleanup(server.Close)
		c := nethttp.NewClient(client, scope)
		return func(ctx context.Context) (string, error) { return get(ctx, c, server.URL) }
	}}.Test(t)
}

func TestNewClientWithBase(t *testing.T) {
	recipetest.Fit{Resource: recipetest.API, InMemory: true, Open: func(
		_ *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		base := testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			w := httptest.NewRecorder()
			echo(w, r)
			return w.Result(), nil
		})
		c := nethttp.NewClientWithBase(client, scope, base)
		return func(ctx context.Context) (string, error) { return get(ctx, c, "https://api-b.example") }
	}}.Test(t)
}

// The editor is called as generated clients call it: with the context of the call, before the request is sent.
func TestAddToken(t *testing.T) {
	recipetest.Fit{Resource: recipetest.API, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		server := httptest.NewServer(http.HandlerFunc(echo))
		t.Cleanup(server.Close)
		edit := nethttp.AddToken(client, scope)
		c := &http.Client{Transport: testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			r = r.Clone(r.Context())
			if err := edit(r.Context(), r); err != nil {
				return nil, err
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
		return func(ctx context.Context) (string, error) { return get(ctx, c, server.URL) }
	}}.Test(t)
}

// After a claims challenge, the same call sends a token that satisfies it.
func TestClaimsChallenge(t *testing.T) {
	const claims = `{"access_token":{"nbf":{"essential":true,"value":"1"}}}`
	var mu sync.Mutex // guards tokens
	var tokens []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, r.Header.Get("Authorization"))
		if len(tokens) == 1 {
			w.Header().Set("WWW-Authenticate",
				`Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(claims))+`"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer server.Close()
	e := recipetest.New()
	c := nethttp.NewClient(e.Client(t, entra.CapabilityCAE), scope)
	if _, err := get(t.Context(), c, server.URL); err != nil {
		t.Fatal(err)
	}
	if n := len(slices.Compact(tokens)); n != 2 {
		t.Errorf("got %d different tokens, want 2", n)
	}
	var sent []string
	for _, r := range e.Requests() {
		if r.Endpoint == entratest.EndpointToken {
			sent = append(sent, r.Form.Get("claims"))
		}
	}
	want := []string{
		`{"access_token":{"xms_cc":{"values":["cp1"]}}}`,
		`{"access_token":{"nbf":{"essential":true,"value":"1"},"xms_cc":{"values":["cp1"]}}}`,
	}
	if !slices.Equal(sent, want) {
		t.Errorf("got claims %q, want %q", sent, want)
	}
}
