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

// maxAnswer bounds what is read of an API's answer.
const maxAnswer = 1 << 20

// Refused is an API's answer that is no success, and that no sign-in would change.
type Refused struct{ Status int }

func (r *Refused) Error() string {
	return fmt.Sprintf("the API answered with status %d (%s)", r.Status, http.StatusText(r.Status))
}

// Get calls an API with a token of s and returns its JSON. base carries the request; nil:
// [http.DefaultTransport]. Errors are those of s, a [*Refused], or the network's. Where the
// API refuses the token (status 401) and the transport could get none that it takes, only
// the user can help, and the error is an [*entra.Error] that says so.
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
		return nil, &entra.Error{Code: "login_required", StatusCode: resp.StatusCode, Description: "the API does not take the token"}
	}
	if resp.StatusCode != http.StatusOK {
		return nil, &Refused{resp.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	if !json.Valid(body) {
		return nil, fmt.Errorf("the API answered %d bytes that are not JSON", len(body))
	}
	return bytes.TrimSpace(body), nil
}
