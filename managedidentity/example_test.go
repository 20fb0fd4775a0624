package managedidentity_test

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/managedidentity"
)

// fakeAzure is an HTTP client for the example, in which the machine has a system-assigned identity alone.
func fakeAzure(requests *int) *http.Client {
	return &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
		*requests++
		resp := &http.Response{StatusCode: http.StatusOK, Request: req}
		body := `{"access_token":"a-token","token_type":"Bearer","expires_in":"86399","resource":"https://vault.azure.net"}`
		if req.URL.Query().Has("client_id") {
			resp.StatusCode, body = 400, `{"error":"invalid_request","error_description":"Identity not found"}`
		}
		resp.Body = io.NopCloser(strings.NewReader(body))
		return resp, nil
	})}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// The first call of Token sends a request to the platform. Later calls return the cached token.
func ExampleNew() {
	requests := 0
	identity, err := managedidentity.New(managedidentity.Config{
		HTTPClient: fakeAzure(&requests), // leave out HTTPClient in production
	})
	if err != nil {
		log.Fatal(err)
	}
	vault := identity.TokenSource("https://vault.azure.net/.default")
	for range 3 {
		if _, err := vault.Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("requests to the platform:", requests)
	// Output: requests to the platform: 1
}

// The error for a user-assigned identity that is not assigned to the machine names its ID.
func ExampleIdentity_TokenSource_error() {
	requests := 0
	identity, err := managedidentity.New(managedidentity.Config{
		ClientID:   "33333333-3333-3333-3333-333333333333",
		HTTPClient: fakeAzure(&requests), // leave out HTTPClient in production
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = identity.TokenSource("https://vault.azure.net/.default").Token()
	var e *entra.Error
	if errors.As(err, &e) {
		for part := range strings.SplitSeq(e.Description, "; ") {
			fmt.Println(strings.ReplaceAll(part, ": the", ":\n  the"))
		}
	}
	// Output:
	// no token for the user-assigned identity with the client ID 33333333-3333-3333-3333-333333333333:
	//   the managed identity service (IMDS) did not return a token: Identity not found
	// assign this identity to the machine or app that runs the program, or correct the ID
}
