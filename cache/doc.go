// Package cache stores the access tokens that package entra acquires. It is bounded, sends one request for any
// number of callers, and refreshes tokens before they expire.
//
// Most programs use two parts of it. They share one cache among clients,
//
//	shared := cache.New(cache.Options{Size: 50_000})
//	a, err := entra.New(entra.Config{Cache: shared /* ... */})
//	b, err := entra.New(entra.Config{Cache: shared /* ... */})
//
// and they read its [Stats] and [Event] values, or use adapters/otel, which exports both to OpenTelemetry. [Key],
// [Handle] and [Response] are for package entra.
//
// # Contents
//
// A session belongs to one subject of one app ([Key]). It has an access token for each scope set, and the state that
// the flow needs for the next one, such as a refresh token. [Options].Size bounds the sessions. A session has at most
// 64 scope sets.
//
// # Eviction
//
// A full cache evicts from the partition that has the most sessions, where a partition is one flow of one app in one
// tenant. It evicts the session that was least recently used. Among partitions of the same size, it is the least
// recently used session of all. So a tenant with a million sessions evicts its own, a tenant well below its equal share
// loses none, and users do not evict the app's own tokens. A cache for 1024 sessions or more is divided into
// shards, each of which applies this rule to its own sessions.
//
// A user with a session for each browser ([Key].Session) has at most 64 of them, the most recently used ones.
// On-behalf-of sessions belong to assertions, whose users the cache does not know. Only their tenants are separate.
//
// The delegations of package obo ([Key].Delegation) have a partition of their own. Delegations do not evict sign-ins,
// and sign-ins do not evict delegations.
//
// An evicted session has lost its tokens and its refresh token, also for a TokenSource that used it before. With a
// Store, they are read from there again.
//
// # Refresh
//
// At first a token is fresh. From its refresh point on it is early: callers still get it at once, and one refresh runs
// in the background. From a minute before its expiry it is expired: callers wait for one request, or leave when
// their own context ends. The refresh point is the server's refresh_in, or a random point at 60 to 70 % of the
// lifetime. After a failure, and for an app's own token that callers waited for, it is a random point at 10 to 70 %.
// Nothing runs between calls: no goroutine watches the clock.
//
// A failed refresh is repeated by later calls, at random moments over the time that the old token has left. A failure
// without a usable token is cached for a back-off that grows with each failure. All callers get the cached error, so
// a thousand callers send one request.
//
// While callers wait, a transient failure is retried twice within their time ([Request.Wait]). A background refresh is
// not, since its old token is still served. Retry-After is honored even after [Handle.Invalidate].
//
// After three claims challenges of any text, an entry sends one a minute.
//
// # Store
//
// With [Options].Store, processes share their tokens and refresh tokens, and a restart loses none:
//
//	shared := cache.New(cache.Options{Store: store, Keys: []cache.SealKey{cache.NewSealKey(secret)}})
//
// A fetch first looks into the store, and one process at a time sends the request for a token. A cached token is
// returned without the store. A failing store delays a call by 250 ms once. The cache then works without it, and
// saves its sessions when the store is back. Only a call for a user whose tokens are not in memory calls a failing
// store up to three more times, because the user would have to sign in again. Records are sealed, and their names are
// hashes.
package cache
