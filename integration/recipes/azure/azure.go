// Package azure has the recipes for the clients of the Azure SDK and of Microsoft Graph.
package azure

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	graph "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/authentication"

	"github.com/entratoken/entra"
	azcredential "github.com/entratoken/entra/adapters/azcore"
)

// recipe azsecrets

// NewSecrets returns a client of a vault such as https://contoso.vault.azure.net.
func NewSecrets(client *entra.Client, vault string, opts *azsecrets.ClientOptions) (*azsecrets.Client, error) {
	credential, err := azcredential.New(client, nil)
	if err != nil {
		return nil, err
	}
	return azsecrets.NewClient(vault, credential, opts)
}

// end recipe

// recipe azblob

// NewBlobs returns a client of a storage account such as https://contoso.blob.core.windows.net.
func NewBlobs(client *entra.Client, account string, opts *azblob.ClientOptions) (*azblob.Client, error) {
	credential, err := azcredential.New(client, nil)
	if err != nil {
		return nil, err
	}
	return azblob.NewClient(account, credential, opts)
}

// end recipe

// recipe msgraph

// NewGraph returns a request adapter for Microsoft Graph. If httpClient is nil, the SDK's own is used.
func NewGraph(client *entra.Client, httpClient *http.Client) (*graph.GraphRequestAdapterBase, error) {
	credential, err := azcredential.New(client, nil)
	if err != nil {
		return nil, err
	}
	auth, err := authentication.NewAzureIdentityAuthenticationProvider(credential)
	if err != nil {
		return nil, err
	}
	return graph.NewGraphRequestAdapterBaseWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		auth, graph.GraphClientOptions{}, nil, nil, httpClient)
}

// end recipe
