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
)

// maxAnswer bounds what is read of an API's answer.
const maxAnswer = 1 << 20

// Refused is an API's answer that is no success.
type Refused struct {
	Status int
	Claims string // the claims challenge, as JSON, or ""
}

func (r *Refused) Error() string {
	return fmt.Sprintf("the API answered with status %d (%s)", r.Status, http.StatusText(r.Status))
}

// Get calls an API with a token of s and returns its JSON. base carries the request; nil:
// [http.DefaultTransport]. Errors are those of s, a [*Refused], or the network's.
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
	if resp.StatusCode != http.StatusOK {
		claims, _ := entra.ClaimsChallenge(resp.Header)
		return nil, &Refused{resp.StatusCode, claims}
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
