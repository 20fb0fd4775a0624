// Package cache keeps the access tokens that package entra acquires: bounded in
// memory, asked for once however many callers want them, and refreshed before they
// end.
//
// Most programs meet it in two places only. They share one cache between clients,
//
//	shared := cache.New(cache.Options{Size: 50_000})
//	a, err := entra.New(entra.Config{Cache: shared /* ... */})
//	b, err := entra.New(entra.Config{Cache: shared /* ... */})
//
// and they read its [Stats]. The rest, [Key], [Handle] and [Fetch], is what entra
// itself builds on.
//
// # What is held
//
// A session is everything held about one subject of one app ([Key]): one access
// token per scope set, and whatever the flow keeps to get the next one, such as a
// refresh token. [Options].Size bounds the number of sessions, and a session bounds
// its scope sets.
//
// # How the bound is shared
//
// When the cache is full, the partition that holds the most sessions loses the one
// that it used least recently; among partitions of one size it is the session used
// least recently of all. A partition is one flow of one app in one tenant. So a tenant
// that makes a million sessions pushes out its own, one that holds much less than its
// equal share of the bound loses none, and users do not push out the app's own tokens. A
// large cache is divided into shards, each of which applies the rule to the sessions that
// it holds.
//
// A user whose browsers have a session each ([Key].Session) has the 64 of them that were
// used last: who signs in again and again pushes out his own. On behalf of a user there is
// a session for each assertion, whose user the cache does not know: there only the tenants
// are kept apart.
//
// # When a token is refreshed
//
// A token is fresh at first; then early, when it is still served
// at once while one refresh runs in the background; and at last expired, when
// callers wait for the one refresh or leave when their own context ends. Nothing
// runs between calls: there is no goroutine that watches the clock.
//
// A refresh that fails is tried again by later reads, at moments spread over the time for
// which the old token is still served: nobody waits for it. A failure with no token to
// serve is remembered for a back-off that grows with every failure and given to everybody
// who asks, so that a thousand callers make one request, not a thousand.
package cache
