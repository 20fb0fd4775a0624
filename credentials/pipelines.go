package credentials

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/retry"
)

// AzurePipelinesOptions configures [AzurePipelines].
type AzurePipelinesOptions struct {
	// ServiceConnectionID is the ID of the service connection, a GUID. Defaults to the environment variable
	// AZURESUBSCRIPTION_SERVICE_CONNECTION_ID, which tasks such as AzureCLI@2 set.
	ServiceConnectionID string
	// SystemAccessToken returns the security token of the job. AzurePipelines calls it once. If nil, the environment
	// variable SYSTEM_ACCESSTOKEN is used.
	SystemAccessToken func() string
	// HTTPClient sends the requests to Azure DevOps. Its CheckRedirect and Jar are not used. If
	// nil, a client with time-outs and the proxy of the environment is used.
	HTTPClient *http.Client
}

// AzurePipelines returns a credential whose client assertion is the OpenID Connect token of a job of Azure Pipelines.
// The app registration, or managed identity, trusts the service connection in a federated credential. If opts is nil,
// the defaults are used.
//
// Azure Pipelines sets the environment variable SYSTEM_OIDCREQUESTURI. The token of the job is not in the environment
// unless the task maps it:
//
//	env:
//	  SYSTEM_ACCESSTOKEN: $(System.AccessToken)
//
// The tokens are valid for minutes. They are cached and replaced as [AssertionFunc] describes.
//
// AzurePipelines makes no network requests. Its error is an [*entra.Error] with the code "invalid_client".
//
// Sources: AzurePipelinesCredential of Microsoft's azidentity, and "Use predefined variables" and "Connect to Azure
// with an Azure Resource Manager service connection" in Microsoft's documentation of Azure Pipelines.
func AzurePipelines(opts *AzurePipelinesOptions) (entra.Credential, error) {
	return azurePipelines(os.Getenv, orZero(opts))
}

// serviceConnection is the variable that selects the service connection.
const serviceConnection = "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"

func azurePipelines(getenv func(string) string, o AzurePipelinesOptions) (entra.Credential, error) {
	connection := cmp.Or(o.ServiceConnectionID, getenv(serviceConnection))
	token := getenv("SYSTEM_ACCESSTOKEN")
	if o.SystemAccessToken != nil {
		token = o.SystemAccessToken()
	}
	address := getenv("SYSTEM_OIDCREQUESTURI")
	u, err := url.Parse(address)
	switch {
	case address == "":
		return entra.Credential{}, invalid("SYSTEM_OIDCREQUESTURI is not set; Azure Pipelines sets it in jobs")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		return entra.Credential{}, invalid("SYSTEM_OIDCREQUESTURI is not an https URL; " +
			"the token of the job is not sent elsewhere")
	case connection == "":
		return entra.Credential{}, invalid("%s is not set; run the program in a task with the service connection, "+
			"such as AzureCLI@2, or set AzurePipelinesOptions.ServiceConnectionID", serviceConnection)
	case !guid.Valid(connection):
		return entra.Credential{}, invalid("the ID of the service connection is not a GUID; " +
			"it is the resourceId in the URL of the service connection's page")
	case token == "":
		return entra.Credential{}, invalid("SYSTEM_ACCESSTOKEN is not set; map it in the env of the task: " +
			"SYSTEM_ACCESSTOKEN: $(System.AccessToken)")
	}
	q := u.Query()
	q.Set("api-version", "7.1")
	q.Set("serviceConnectionId", connection)
	u.RawQuery = q.Encode()
	client := httpclient.Restricted(o.HTTPClient)
	return newAssertion("Azure Pipelines token", func(ctx context.Context) (string, time.Time, error) {
		s, err := requestPipelinesToken(ctx, client, u, token)
		return s, time.Time{}, err
	}), nil
}

func requestPipelinesToken(ctx context.Context, client *http.Client, u *url.URL, token string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, jobTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), http.NoBody)
	if err != nil {
		return "", invalid("SYSTEM_OIDCREQUESTURI is not a URL")
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-TFS-FedAuthRedirect", "Suppress") // otherwise a rejected token is redirected to a sign-in
	resp, err := send(client, req)
	if err != nil {
		return "", err
	}
	var result struct{ OIDCToken string }
	switch {
	case resp.status == http.StatusUnauthorized:
		return "", badResponse(resp, "%s rejected SYSTEM_ACCESSTOKEN with HTTP status %d; "+
			"it is only valid while the job runs", u.Host, resp.status)
	case resp.status == http.StatusForbidden || resp.status == http.StatusNotFound:
		return "", badResponse(resp, "%s returned HTTP status %d for the service connection; check its ID, "+
			"that it uses workload identity federation, and that the pipeline may use it", u.Host, resp.status)
	case resp.status != http.StatusOK:
		return "", &requestError{
			badResponse(resp, "%s returned HTTP status %d instead of the job's token", u.Host, resp.status),
			retry.FromResponse(resp.status, resp.header),
		}
	case json.Unmarshal(resp.body, &result) != nil || result.OIDCToken == "":
		return "", badResponse(resp, "%s returned a response without the job's token", u.Host)
	}
	return result.OIDCToken, nil
}
