package credentials

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/httpclient"
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
	service := jobService{
		method: http.MethodPost, url: u, token: token, client: httpclient.Restricted(o.HTTPClient),
		// Without this, the response to a rejected token is a redirect to a sign-in.
		header: http.Header{"X-Tfs-Fedauthredirect": {"Suppress"}},
		denied: func(status int) string {
			switch status {
			case http.StatusUnauthorized:
				return fmt.Sprintf("rejected SYSTEM_ACCESSTOKEN with HTTP status %d; it is only valid while the job runs", status)
			case http.StatusForbidden, http.StatusNotFound:
				return fmt.Sprintf("returned HTTP status %d for the service connection; check its ID, "+
					"that it uses workload identity federation, and that the pipeline may use it", status)
			}
			return ""
		},
		read: func(body []byte) string {
			var result struct{ OIDCToken string }
			if json.Unmarshal(body, &result) != nil {
				return ""
			}
			return result.OIDCToken
		},
	}
	return newAssertion("Azure Pipelines token", service.request), nil
}
