package hops

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/signin"
)

// maxResponse bounds the size of a response that Get reads, in bytes.
const maxResponse = 1 << 20

// StatusError is an error response of an API that a sign-in cannot fix.
type StatusError struct{ Status int }

func (e *StatusError) Error() string {
	return fmt.Sprintf("the API returned status %d (%s)", e.Status, http.StatusText(e.Status))
}

// Get calls an API with a token of s and returns its JSON response. base sends the request. If
// nil, [http.DefaultTransport] is used. The error is one of s, a [*StatusError], or a network
// error. If the API rejects the token with status 401, and the transport cannot acquire a token
// that the API accepts, the error is an [*entra.Error] that requires interaction.
func Get(ctx context.Context, s *entra.TokenSource, base http.RoundTripper, url string) (json.RawMessage, error) {
	client := http.Client{Transport: &entra.Transport{Source: s, Base: base}, Timeout: 15 * time.Second}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := signin.Challenge(resp); err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, &entra.Error{Code: "login_required", StatusCode: resp.StatusCode,
			Description: "the API rejected the token"}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &StatusError{resp.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse))
	if err != nil {
		return nil, err
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("the API returned %d bytes that are not JSON", len(body))
	}
	return bytes.TrimSpace(body), nil
}
