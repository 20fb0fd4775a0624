// Package azure has the recipes for the clients of the Azure SDK.
package azure

import (
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"

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
