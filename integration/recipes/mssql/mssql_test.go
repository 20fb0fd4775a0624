package mssql_test

import (
	"context"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/integration/recipes/mssql"
)

func TestNewDB(t *testing.T) {
	recipetest.Fit{Resource: recipetest.SQL, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		s := newServer(t)
		db, err := mssql.NewDB(client, "sqlserver://"+s.addr+"?encrypt=disable")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		db.SetMaxIdleConns(-1) // so that the next query needs a new connection
		return func(ctx context.Context) (string, error) {
			var connection int
			if err := db.QueryRowContext(ctx, "SELECT connection").Scan(&connection); err != nil {
				return "", err
			}
			return s.token(connection), nil
		}
	}}.Test(t)
}
