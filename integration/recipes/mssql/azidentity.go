package mssql

import (
	"context"
	"database/sql"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/microsoft/go-mssqldb"
)

// recipe go-mssqldb azidentity

func newDB(credential azcore.TokenCredential, connString string) (*sql.DB, error) {
	options := policy.TokenRequestOptions{Scopes: []string{"https://database.windows.net/.default"}}
	provider := func(ctx context.Context) (string, error) {
		token, err := credential.GetToken(ctx, options)
		return token.Token, err
	}
	connector, err := mssql.NewConnectorWithAccessTokenProvider(connString, provider)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// end recipe

var _ = newDB
