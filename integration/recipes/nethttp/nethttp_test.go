package nethttp_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/internal/echoapi"
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

// echoJSON is like echo, as openapi.yaml describes it.
func echoJSON(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/token" {
		http.NotFound(w, r)
		return
	}
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), "Bearer ")
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"value":%q}`, token)
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

// openGenerated returns a function that calls an operation of the generated client.
func openGenerated(t *testing.T, option echoapi.ClientOption) func(context.Context) (string, error) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(echoJSON))
	t.Cleanup(server.Close)
	c, err := echoapi.NewClientWithResponses(server.URL, option)
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context) (string, error) {
		resp, err := c.GetTokenWithResponse(ctx)
		if err != nil {
			return "", err
		}
		if resp.JSON200 == nil {
			return "", fmt.Errorf("got status %d and body %q, want a token", resp.StatusCode(), resp.Body)
		}
		return resp.JSON200.Value, nil
	}
}

func TestAddToken(t *testing.T) {
	recipetest.Fit{Resource: recipetest.API, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		return openGenerated(t, echoapi.WithRequestEditorFn(nethttp.AddToken(client, scope)))
	}}.Test(t)
}

func TestGeneratedClientWithNewClient(t *testing.T) {
	recipetest.Fit{Resource: recipetest.API, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		return openGenerated(t, echoapi.WithHTTPClient(nethttp.NewClient(client, scope)))
	}}.Test(t)
}

// After a claims challenge, the same call sends a token that satisfies it.
func TestClaimsChallenge(t *testing.T) {
	var mu sync.Mutex // guards tokens
	var tokens []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, r.Header.Get("Authorization"))
		if len(tokens) == 1 {
			w.Header().Set("WWW-Authenticate",
				`Bearer error="insufficient_claims", claims="`+base64.StdEncoding.EncodeToString([]byte(recipetest.Challenge))+`"`)
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
	e.WantChallenge(t)
}
