// Package fleet simulates the token requests of many processes over days, in virtual time, to see
// what a rule for refreshing tokens does to the callers and to the token endpoint.
//
// A [World] is the fleet and the endpoint: how many processes start and when, how long tokens live,
// when the endpoint is down and how much it can take. A [Rule] is what each process does: when it
// refreshes, whether a caller waits for that, and what it does after a failure. [Run] plays a rule
// in a world and returns a [Result]. The rule of package cache is played by its own functions,
// [refresh.Policy.Schedule] and [refresh.Policy.RetryIn]; those of other libraries are modelled on their
// sources.
//
// The command in fleet/draw writes docs/fleet.md and its plots.
package fleet
