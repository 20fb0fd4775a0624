package pgx_test

import (
	"context"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/integration/recipes/pgx"
	"github.com/entratoken/entra/internal/testkit/servers"
)

const query = "SELECT current_setting('application_name')"

func TestNewPool(t *testing.T) {
	server := servers.Postgres(t)
	recipetest.Fit{Resource: recipetest.Postgres, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		g := newGateway(t, server)
		pool, err := pgx.NewPool(t.Context(), client, "postgres://app@"+g.addr+"/app")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		return func(ctx context.Context) (string, error) {
			pool.Reset() // so that the next query needs a new connection
			var application string
			if err := pool.QueryRow(ctx, query).Scan(&application); err != nil {
				return "", err
			}
			return g.token(application)
		}
	}}.Test(t)
}

func TestNewDB(t *testing.T) {
	server := servers.Postgres(t)
	recipetest.Fit{Resource: recipetest.Postgres, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		g := newGateway(t, server)
		db, err := pgx.NewDB(client, "postgres://app@"+g.addr+"/app")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		db.SetMaxIdleConns(-1)
		return func(ctx context.Context) (string, error) {
			var application string
			if err := db.QueryRowContext(ctx, query).Scan(&application); err != nil {
				return "", err
			}
			return g.token(application)
		}
	}}.Test(t)
}
