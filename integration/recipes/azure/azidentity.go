package azure

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	graph "github.com/microsoftgraph/msgraph-sdk-go-core"
	"github.com/microsoftgraph/msgraph-sdk-go-core/authentication"
)

// recipe azsecrets azidentity

func newSecrets(
	credential azcore.TokenCredential, vault string, opts *azsecrets.ClientOptions,
) (*azsecrets.Client, error) {
	return azsecrets.NewClient(vault, credential, opts)
}

// end recipe

// recipe azblob azidentity

func newBlobs(
	credential azcore.TokenCredential, account string, opts *azblob.ClientOptions,
) (*azblob.Client, error) {
	return azblob.NewClient(account, credential, opts)
}

// end recipe

// recipe msgraph azidentity

func newGraph(credential azcore.TokenCredential, httpClient *http.Client) (*graph.GraphRequestAdapterBase, error) {
	auth, err := authentication.NewAzureIdentityAuthenticationProvider(credential)
	if err != nil {
		return nil, err
	}
	return graph.NewGraphRequestAdapterBaseWithParseNodeFactoryAndSerializationWriterFactoryAndHttpClient(
		auth, graph.GraphClientOptions{}, nil, nil, httpClient)
}

// end recipe

var _, _, _ = newSecrets, newBlobs, newGraph
