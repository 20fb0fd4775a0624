package client

import (
	"os"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// recipe client azidentity

func newCredential() (*azidentity.ClientSecretCredential, error) {
	return azidentity.NewClientSecretCredential(
		"11111111-1111-4111-8111-111111111111",
		"aaaaaaaa-0000-4000-8000-00000000000d",
		os.Getenv("AZURE_CLIENT_SECRET"),
		nil,
	)
}

// end recipe

var _ = newCredential
