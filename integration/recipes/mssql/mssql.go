// Package mssql has the recipe for Azure SQL.
package mssql

import (
	"database/sql"

	"github.com/microsoft/go-mssqldb"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
)

// recipe go-mssqldb

// NewDB returns a database whose connections authenticate with the app's token. connString must have encrypt=true.
func NewDB(client *entra.Client, connString string) (*sql.DB, error) {
	source := clientcreds.TokenSource(client, "https://database.windows.net/.default")
	connector, err := mssql.NewConnectorWithAccessTokenProvider(connString, source.AccessToken)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// end recipe
