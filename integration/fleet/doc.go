// Package fleet simulates the token requests of many processes over days, in virtual time. It shows how a refresh rule
// affects callers and the token endpoint.
//
// A [World] describes the fleet and the endpoint: the number and start of the processes, the lifetime of tokens,
// outages and throttling. A [Rule] describes a process: when it refreshes, whether a caller waits for that, and how it
// retries. [Run] simulates a rule in a world and returns a [Result]. The rule of this module runs the functions of
// package cache, [refresh.Policy.Schedule] and [refresh.Policy.RetryIn], and for retries those of package entra,
// [refresh.WaitingRetryIn] and [refresh.Budget]. Those of other libraries are models of their source code.
//
// [RunShared] simulates processes that share one token in a [Store].
//
// The command in fleet/draw writes docs/fleet.md and its plots.
package fleet
