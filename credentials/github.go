package credentials

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/httpclient"
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
	service := jobService{
		method: http.MethodGet, url: u, token: token, client: httpclient.Restricted(o.HTTPClient),
		denied: func(status int) string {
			if status != http.StatusUnauthorized && status != http.StatusForbidden {
				return ""
			}
			return fmt.Sprintf("rejected the request for the job's token with HTTP status %d; "+
				"the job needs the permission \"id-token: write\" and must still be running", status)
		},
		read: func(body []byte) string {
			var result struct{ Value string }
			if json.Unmarshal(body, &result) != nil {
				return ""
			}
			return result.Value
		},
	}
	return newAssertion("GitHub Actions token", service.request), nil
}
