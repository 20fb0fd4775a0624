package credentials

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/entratoken/entra"
)

const maxBody = 1 << 20 // of what is read of any answer

// GitHubActionsConfig says how a job of GitHub Actions gets its token. Its zero value is
// right for the public cloud.
type GitHubActionsConfig struct {
	// Audience is that of the app's federated credential. Zero: [Audience].
	Audience string
	// HTTPClient asks GitHub; its redirect policy and cookie jar are not used. Zero: a
	// client of its own, which takes proxies from the environment.
	HTTPClient *http.Client
}

// GitHubActions is the OpenID Connect token of a GitHub Actions job as a client assertion:
// the app registration trusts the repository's branch, tag or environment in a federated
// credential. The job or its workflow needs the permission "id-token: write"; with it
// GitHub sets ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN, which are
// read here. Tokens live for minutes only; they are held and replaced as [AssertionFunc]
// says.
//
// The error is an [*entra.Error] with the code "invalid_client". GitHub is not asked yet.
//
// Source: "OpenID Connect reference" in GitHub's documentation of Actions.
func GitHubActions(cfg GitHubActionsConfig) (entra.Credential, error) {
	address, token := os.Getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), os.Getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN")
	if address == "" || token == "" {
		return entra.Credential{}, refuse("the environment lacks ACTIONS_ID_TOKEN_REQUEST_URL or ACTIONS_ID_TOKEN_REQUEST_TOKEN; " +
			"GitHub sets both in jobs with the permission \"id-token: write\"")
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return entra.Credential{}, refuse("ACTIONS_ID_TOKEN_REQUEST_URL is not an address with https; the request token is sent nowhere else")
	}
	q := u.Query()
	q.Set("audience", cmp.Or(cfg.Audience, Audience))
	u.RawQuery = q.Encode()
	client := ownClient(cfg.HTTPClient, http.ProxyFromEnvironment)
	return newAssertion(func(ctx context.Context) (string, time.Time, error) {
		s, err := askGitHub(ctx, client, u, token)
		return s, time.Time{}, err
	}), nil
}

func askGitHub(ctx context.Context, client *http.Client, u *url.URL, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return "", refuse("ACTIONS_ID_TOKEN_REQUEST_URL is not an address")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return "", unreachable(u.Host, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return "", unreachable(u.Host, err)
	}
	var answer struct {
		Value string `json:"value"`
	}
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return "", answered(resp, "%s refused a token for the job (HTTP status %d); it needs the permission \"id-token: write\" and must be running still", u.Host, resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return "", answered(resp, "%s answered the request for a token with HTTP status %d", u.Host, resp.StatusCode)
	case json.Unmarshal(body, &answer) != nil || answer.Value == "":
		return "", answered(resp, "%s answered the request for a token without one", u.Host)
	}
	return answer.Value, nil
}

func answered(resp *http.Response, format string, args ...any) *entra.Error {
	return &entra.Error{Code: entra.CodeInvalidResponse, StatusCode: resp.StatusCode, Description: fmt.Sprintf(format, args...)}
}

// ownClient returns a client that follows no redirects, since what it sends is for one
// host alone: a copy of c, or one of its own.
func ownClient(c *http.Client, proxy func(*http.Request) (*url.URL, error)) *http.Client {
	own := http.Client{Timeout: askTimeout}
	if c != nil {
		own = *c
	} else {
		t, ok := http.DefaultTransport.(*http.Transport)
		if !ok { // somebody replaced it; its settings are not ours to guess
			t = &http.Transport{ForceAttemptHTTP2: true}
		}
		t = t.Clone()
		t.Proxy = proxy
		own.Transport = t
	}
	own.Jar = nil
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &own
}
