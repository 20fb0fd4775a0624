// Package pgx has the recipes for PostgreSQL.
package pgx

import (
	"context"
	"database/sql"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	postgresstore "github.com/entratoken/entra/stores/postgres"
)

// recipe pgx

// NewPool returns a pool whose connections authenticate with the app's token. connString must have
// sslmode=verify-full.
func NewPool(ctx context.Context, client *entra.Client, connString string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	source := clientcreds.TokenSource(client, "https://ossrdbms-aad.database.windows.net/.default")
	config.BeforeConnect = postgresstore.BeforeConnect(source)
	return pgxpool.NewWithConfig(ctx, config)
}

// end recipe

// recipe database/sql

// NewDB is like NewPool for package database/sql.
func NewDB(client *entra.Client, connString string) (*sql.DB, error) {
	config, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	source := clientcreds.TokenSource(client, "https://ossrdbms-aad.database.windows.net/.default")
	return stdlib.OpenDB(*config, stdlib.OptionBeforeConnect(postgresstore.BeforeConnect(source))), nil
}

// end recipe
