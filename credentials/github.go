package credentials

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

const (
	maxBody    = 1 << 20          // of a response
	jobTimeout = 10 * time.Second // of one request for the token of a job, so that a retry follows within callTimeout
)

// GitHubActionsOptions configures [GitHubActions].
type GitHubActionsOptions struct {
	// Audience is the audience of the app's federated credential. Defaults to that of the
	// public cloud. The function AudienceFor returns those of other clouds.
	Audience string
	// HTTPClient sends the requests to GitHub. Its CheckRedirect and Jar are not used. If
	// nil, a client with time-outs and the proxy of the environment is used.
	HTTPClient *http.Client
}

// GitHubActions returns a credential whose client assertion is the OpenID Connect token of
// a GitHub Actions job. The app registration trusts the repository's branch, tag or
// environment in a federated credential. If opts is nil, the defaults are used.
//
// The job or its workflow needs the permission "id-token: write". GitHub then sets the
// environment variables ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN,
// which GitHubActions reads. GitHub's tokens are valid for minutes. They are cached and
// replaced as [AssertionFunc] describes.
//
// GitHubActions makes no network requests. Its error is an [*entra.Error] with the code
// "invalid_client".
//
// Source: "OpenID Connect reference" in GitHub's documentation of Actions.
func GitHubActions(opts *GitHubActionsOptions) (entra.Credential, error) {
	return gitHubActions(os.Getenv, orZero(opts))
}

func gitHubActions(getenv func(string) string, o GitHubActionsOptions) (entra.Credential, error) {
	address, token := getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if address == "" || token == "" {
		return entra.Credential{}, invalid("ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set; " +
			"GitHub sets both in jobs with the permission \"id-token: write\"")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return entra.Credential{}, invalid("ACTIONS_ID_TOKEN_REQUEST_URL is not an https URL; " +
			"the request token is not sent elsewhere")
	}
	q := u.Query()
	q.Set("audience", cmp.Or(o.Audience, Audience))
	u.RawQuery = q.Encode()
	client := httpclient.Restricted(o.HTTPClient)
	return newAssertion("GitHub Actions token", func(ctx context.Context) (string, time.Time, error) {
		s, err := requestGitHubToken(ctx, client, u, token)
		return s, time.Time{}, err
	}), nil
}

func requestGitHubToken(ctx context.Context, client *http.Client, u *url.URL, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", invalid("ACTIONS_ID_TOKEN_REQUEST_URL is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	resp, err := send(client, req)
	if err != nil {
		return "", err
	}
	var result struct{ Value string }
	switch {
	case resp.status == http.StatusUnauthorized || resp.status == http.StatusForbidden:
		return "", badResponse(resp, "%s rejected the request for the job's token with HTTP status %d; "+
			"the job needs the permission \"id-token: write\" and must still be running", u.Host, resp.status)
	case resp.status != http.StatusOK:
		return "", &requestError{
			badResponse(resp, "%s returned HTTP status %d instead of the job's token", u.Host, resp.status),
			retry.FromResponse(resp.status, resp.header),
		}
	case json.Unmarshal(resp.body, &result) != nil || result.Value == "":
		return "", badResponse(resp, "%s returned a response without the job's token", u.Host)
	}
	return result.Value, nil
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
