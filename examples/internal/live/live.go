// Package live reads from the environment which app of a real tenant an example is to be.
package live

import (
	"cmp"
	"log/slog"
	"os"

	"github.com/entratoken/entra"
)

// Config returns the app that ENTRA_TENANT_ID, ENTRA_CLIENT_ID and ENTRA_CLIENT_SECRET
// describe, and whether all three are set. ENTRA_CLOUD is the host of the authority in
// clouds other than the public one.
func Config() (entra.Config, bool) {
	secret := os.Getenv("ENTRA_CLIENT_SECRET")
	cfg := entra.Config{
		TenantID:   os.Getenv("ENTRA_TENANT_ID"),
		ClientID:   os.Getenv("ENTRA_CLIENT_ID"),
		Credential: entra.Secret(secret),
		Cloud:      entra.Cloud(os.Getenv("ENTRA_CLOUD")),
		Logger:     slog.Default(),
	}
	return cfg, cfg.TenantID != "" && cfg.ClientID != "" && secret != ""
}

// Get returns an environment variable, or other if it is not set.
func Get(name, other string) string { return cmp.Or(os.Getenv(name), other) }
