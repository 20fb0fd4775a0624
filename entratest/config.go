package entratest

import "time"

// Config describes an estate. Its slices and maps must not be changed once
// [NewServer] has it.
type Config struct {
	// Tenants are the directories. At least one is needed.
	Tenants []Tenant

	// Apps are the app registrations, of all tenants. None is allowed.
	Apps []App

	// Users are the accounts, of all tenants. None is allowed.
	Users []User

	// Host is the host name that issuers and discovery documents carry when a
	// request arrives through [Server.Client]. Zero: login.microsoftonline.com
	// for that host and its aliases, and each national or sovereign cloud's
	// own host for requests to it. Addresses given by [Server.StartTLS] always stand for
	// themselves.
	Host string

	// Lifetime gives the life of each access token, called once per token.
	// Zero: uniform between 60 and 90 minutes, which is what Entra does
	// (https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime),
	// longer for a resource with ContinuousAccess.
	// A life under a second counts as one second. It may be called
	// concurrently.
	Lifetime func() time.Duration

	// RefreshIn gives the refresh_in of an answer whose access token lives
	// for lifetime, called once per token. Zero, and a result of zero or
	// less: the answer has no refresh_in. It may be called concurrently.
	RefreshIn func(lifetime time.Duration) time.Duration

	// OnRequest is called after every request was answered, in the goroutine
	// that answered it, with what the journal keeps: for logs. Zero: nothing.
	// It may be called concurrently, and must not change the Form.
	OnRequest func(Request)
}

// A Tenant is a directory.
type Tenant struct {
	ID     string // a GUID, required
	Domain string // for example contoso.onmicrosoft.com; zero: the tenant is known by its ID alone
	Name   string // shown on the sign-in page; zero: Domain, else ID
}
