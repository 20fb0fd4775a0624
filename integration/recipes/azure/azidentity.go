package azure

import (
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
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

var _, _ = newSecrets, newBlobs
