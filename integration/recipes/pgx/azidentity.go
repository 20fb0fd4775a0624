package pgx

import (
	"context"
	"database/sql"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
)

// recipe pgx azidentity

func newPool(ctx context.Context, credential azcore.TokenCredential, connString string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	options := policy.TokenRequestOptions{Scopes: []string{"https://ossrdbms-aad.database.windows.net/.default"}}
	config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		token, err := credential.GetToken(ctx, options)
		if err != nil {
			return err
		}
		c.Password = token.Token
		return nil
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// end recipe

// recipe database/sql azidentity

func newDB(credential azcore.TokenCredential, connString string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	options := policy.TokenRequestOptions{Scopes: []string{"https://ossrdbms-aad.database.windows.net/.default"}}
	beforeConnect := func(ctx context.Context, c *pgx.ConnConfig) error {
		token, err := credential.GetToken(ctx, options)
		if err != nil {
			return err
		}
		c.Password = token.Token
		return nil
	}
	return stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(beforeConnect)), nil
}

// end recipe

var _, _ = newPool, newDB
