// Package issuer describes services that issue tokens to a program without an app registration's credential, such as
// the metadata service of a machine. The packages of this module that acquire such tokens create an Issuer, and
// entra.ForIssuer binds it to the cache.
package issuer

import (
	"log/slog"
	"time"

	"github.com/entratoken/entra/cache"
)

// An Issuer issues the tokens of one identity.
type Issuer struct {
	Name     string       // in errors, logs and cache keys, such as "managed identity (IMDS)"
	Identity string       // in cache keys: one text for each identity of the issuer
	Cache    *cache.Cache // caches the tokens, but not in its store. Required
	Logger   *slog.Logger // if nil, nothing is logged

	// RetryIn returns how long to wait before a request that failed with err is repeated while callers wait. ok is
	// false if it is not. retries counts the earlier ones, and draw is a random number in [0, 1). err is an
	// *entra.Error. Required.
	RetryIn func(err error, retries int, draw float64) (wait time.Duration, ok bool)
	// Rejects reports whether err, an *entra.Error, says that the issuer does not know the identity. After eight such
	// errors in a row, one request at a time probes the issuer, and all others fail with the last error. Required.
	Rejects func(err error) bool
}
