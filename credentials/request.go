package credentials

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

const (
	maxBody    = 1 << 20          // of a response
	jobTimeout = 10 * time.Second // of one request for the token of a job, so that a retry follows within callTimeout
)

// A jobService issues the tokens of jobs, such as those of GitHub Actions.
type jobService struct {
	method string
	url    *url.URL
	token  string      // of the job, with which it requests another
	header http.Header // more members of the header of a request
	client *http.Client
	denied func(status int) string  // why the service rejected the job, or "" if status says nothing about that
	read   func(body []byte) string // the token in a response, or ""
}

// request returns a token of the job. Its expiry is that in the token.
func (s *jobService) request(ctx context.Context) (string, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, s.method, s.url.String(), http.NoBody)
	if err != nil {
		return "", time.Time{}, invalid("the URL for tokens of the job is invalid")
	}
	for name, values := range s.header {
		req.Header[name] = values
	}
	req.Header.Set("Authorization", "Bearer "+s.token)
	req.Header.Set("Accept", "application/json")
	resp, err := send(s.client, req)
	if err != nil {
		return "", time.Time{}, err
	}
	if reason := s.denied(resp.status); reason != "" {
		return "", time.Time{}, badResponse(resp, "%s %s", s.url.Host, reason)
	}
	if resp.status != http.StatusOK {
		return "", time.Time{}, &requestError{
			badResponse(resp, "%s returned HTTP status %d instead of the job's token", s.url.Host, resp.status),
			retry.FromResponse(resp.status, resp.header),
		}
	}
	token := s.read(resp.body)
	if token == "" {
		return "", time.Time{}, badResponse(resp, "%s returned a response without the job's token", s.url.Host)
	}
	return token, time.Time{}, nil
}

// A response is a response with its whole body.
type response struct {
	status int
	header http.Header
	body   []byte
	sent   redact.Secret[string] // the token of the request
}

// send returns the response to a request.
func send(client *http.Client, req *http.Request) (*response, error) {
	var body []byte
	resp, err := client.Do(req)
	if err == nil {
		defer resp.Body.Close()
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	}
	if err != nil {
		failed := requestFailed(req.URL.Host, err)
		if dns, ok := errors.AsType[*net.DNSError](err); ok && dns.IsNotFound {
			failed.Description += "; check the name of the host"
		}
		return nil, &requestError{failed, retry.FromError(err)}
	}
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	return &response{resp.StatusCode, resp.Header, body, redact.NewSecret(token)}, nil
}

func badResponse(resp *response, format string, args ...any) *entra.Error {
	return &entra.Error{
		Code: entra.CodeInvalidResponse, StatusCode: resp.status, Description: fmt.Sprintf(format, args...),
	}
}
