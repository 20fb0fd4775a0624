// Package purge ends sessions in the cache of a client.
package purge

import (
	"context"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
)

// Session ends the sessions of k, in which it sets the fields that belong to the client: authority, client ID and
// capabilities. If the store of the cache fails, the error is an [*entra.Error] with the code "temporarily_unavailable"
// and the description failed.
func Session(ctx context.Context, c *entra.Client, tenantID string, k cache.Key, failed string) error {
	k.Authority = "https://" + c.Cloud().Host() + "/" + strings.ToLower(tenantID)
	k.ClientID, k.Capabilities = c.ClientID(), strings.Join(c.Capabilities(), " ")
	if _, err := c.Cache().PurgeSession(ctx, k); err != nil {
		return &entra.Error{Code: "temporarily_unavailable", Description: failed, Err: err}
	}
	return nil
}
