package azure_test

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	abstractions "github.com/microsoft/kiota-abstractions-go"
	kiota "github.com/microsoft/kiota-http-go"
	graph "github.com/microsoftgraph/msgraph-sdk-go-core"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/azure"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
)

const graphUsers = "https://graph.microsoft.com/v1.0/users"

// getGraph returns a function that sends a GET request with the middleware of the SDK, and returns the body.
func getGraph(
	t *testing.T, client *entra.Client, base http.RoundTripper,
) func(ctx context.Context, address string) (string, error) {
	t.Helper()
	middleware := graph.GetDefaultMiddlewaresWithOptions(&graph.GraphClientOptions{})
	adapter, err := azure.NewGraph(client, &http.Client{
		Transport: kiota.NewCustomTransportWithParentTransport(base, middleware...),
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, address string) (string, error) {
		u, err := url.Parse(address)
		if err != nil {
			return "", err
		}
		request := abstractions.NewRequestInformation()
		request.SetUri(*u)
		body, err := adapter.SendPrimitive(ctx, request, "[]byte", nil)
		b, _ := body.([]byte)
		return string(b), err
	}
}

func openGraph(t *testing.T, client *entra.Client, s *service) func(context.Context) (string, error) {
	t.Helper()
	get := getGraph(t, client, s)
	return func(ctx context.Context) (string, error) { return get(ctx, graphUsers) }
}

func TestNewGraph(t *testing.T) {
	recipetest.Fit{Resource: recipetest.Graph, InMemory: true, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		return openGraph(t, client, &service{resource: recipetest.Graph, tenant: client.TenantID()})
	}}.Test(t)
}

// Only Microsoft Graph can verify its own tokens. The fake Graph verifies the token, and then rejects the request
// because it is not a user's.
func TestGraphVerifiesTheToken(t *testing.T) {
	e := recipetest.New()
	_, err := getGraph(t, e.Client(t), e.Server.Client().Transport)(t.Context(), "https://graph.microsoft.com/v1.0/me")
	if got := status(err); got != http.StatusBadRequest { // a response to an invalid token is 401
		t.Errorf("got status %d (%v), want 400", got, err)
	}
}

// The token is sent only to Microsoft Graph.
func TestGraphTokenIsNotSentToAnotherHost(t *testing.T) {
	e := recipetest.New()
	client := e.Client(t)
	s := &service{resource: recipetest.Graph, tenant: client.TenantID()}
	_, err := getGraph(t, client, s)(t.Context(), "https://graph.microsoft.com.evil.example/v1.0/users")
	if got := status(err); got != http.StatusUnauthorized {
		t.Errorf("got status %d (%v), want 401", got, err)
	}
	if len(s.tokens) != 0 || e.TokenRequests() != 0 {
		t.Errorf("got %d requests with a token and %d token requests, want none", len(s.tokens), e.TokenRequests())
	}
}

// status returns the status code that the SDK reports.
func status(err error) int {
	var apiError *abstractions.ApiError
	if !errors.As(err, &apiError) {
		return 0
	}
	return apiError.ResponseStatusCode
}
