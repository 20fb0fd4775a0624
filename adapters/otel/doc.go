// Package entraotel exports the metrics and spans of package entra to OpenTelemetry. It is a module of its own, so that
// programs without OpenTelemetry do not depend on it.
//
//	telemetry, err := entraotel.New(entraotel.Config{})
//	// ...
//	shared, err := telemetry.NewCache(cache.Options{Size: 50_000})
//	client, err := entra.New(entra.Config{Cache: shared /* ... */})
//	verifier, err := verify.New(telemetry.Verify(verify.Config{ /* ... */ }))
//	site, err := signin.New(flow, telemetry.SignIn(signin.Config{ /* ... */ }))
//	telemetry.Credential("orders", credential)
//	telemetry.Token("ledger", clientcreds.TokenSource(client, scope))
//
// # Metrics
//
//	entra.token.request.duration          histogram, s: a request for a token, with its retries
//	entra.token.wait.duration             histogram, s: a caller without a usable cached token
//	entra.token.remaining_lifetime        gauge, s: time left of a token registered with Telemetry.Token
//	entra.token.throttled                 counter: responses with Retry-After
//	entra.cache.requests                  counter: calls for a token, by entra.cache.result (hit, miss)
//	entra.cache.sessions                  up-down counter: sessions in memory
//	entra.cache.evictions                 counter: sessions evicted by a bound
//	entra.cache.invalidations             counter: tokens that a resource rejected
//	entra.store.operation.duration        histogram, s: a call of the store, by entra.store.operation
//	entra.store.hits                      counter: tokens found in the store instead of a request
//	entra.store.unreadable                counter: records sealed with another key or changed
//	entra.store.unsaved                   up-down counter: sessions to save when the store is back
//	entra.store.down                      gauge: 1 while the circuit breaker of the store is open, otherwise 0
//	entra.verify.requests                 counter: tokens, by error.type (the verify.Reason)
//	entra.verify.denials                  counter: valid tokens that a rule denied, by error.type
//	entra.verify.duration                 histogram, s: the verification of a token that is not cached
//	entra.verify.key_fetch.duration       histogram, s: a fetch of the signing keys
//	entra.signin.starts                   counter: browsers sent to Entra
//	entra.signin.outcomes                 counter: by entra.signin.outcome, and by error.type (the signin.Kind)
//	entra.credential.remaining_lifetime   gauge, s: time left of a credential registered with Telemetry.Credential
//
// Metrics of tokens have the attributes entra.flow, server.address, entra.background, and error.type after a failure.
// Each attribute has a bounded number of values, and further values become "_OTHER". Tenants are not an attribute
// unless Config.Tenants is set.
//
// # Spans
//
// "entra.token acquire" covers the calls of the store and the token request. All callers that wait for the token share
// it. If the first of them waits, the span is a child of that caller's span. A refresh in the background outlives its
// caller, so its span is the root of a new trace, with a link to the caller's span. Wrap the transport of
// entra.Config.HTTPClient with otelhttp for spans of the HTTP requests inside.
//
// "entra.store load", "entra.store save" and "entra.store notify" cover calls of the store. "entra.verify" covers the
// verification of a token that is not cached; that of a cached token takes microseconds and has no span.
//
// # Personal data
//
// No attribute, span name or status contains a token, a secret, a user or a session. Spans have the tenant and the IDs
// with which Entra's logs name a request. Texts of errors are not exported.
package entraotel
