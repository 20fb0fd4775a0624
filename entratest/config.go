package entratest

import (
	"crypto"
	"crypto/x509"
	"time"
)

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

// An App is an app registration. It can be a client, a resource, or both, as a
// middle tier is.
type App struct {
	// Name is what [Server.App] finds the app by and what the consent page
	// shows. Required, unique in the estate.
	Name string

	// ClientID is the application ID, a GUID. Required, unique in the estate.
	ClientID string

	// TenantID is the tenant the app is registered in. Required.
	TenantID string

	// ObjectID is the oid of the app's service principal in TenantID, a GUID.
	// Zero: derived from ClientID and the tenant, the same in every run.
	// In other tenants it is always derived.
	ObjectID string

	// MultiTenant makes the app usable in every tenant of the estate, as if
	// each had installed it. Zero: only in TenantID.
	MultiTenant bool

	// Public lets the app act without a credential in the authorization code
	// and refresh token grants. Zero: a confidential client.
	Public bool

	// Secrets are the client secrets that work. Zero: none does.
	Secrets []string

	// ExpiredSecrets are client secrets that no longer work: using one is
	// refused with AADSTS7000222 rather than AADSTS7000215. Zero: none.
	ExpiredSecrets []string

	// Certificates are the certificates whose keys may sign client
	// assertions. Zero: none.
	Certificates []*x509.Certificate

	// TrustedSubjects accept client assertions by any certificate of a
	// subject name and issuer, sent along in x5c. Zero: none.
	TrustedSubjects []TrustedSubject

	// Federated are the workload identities that may act as the app.
	// Zero: none.
	Federated []FederatedCredential

	// AppIDURI is the URI that scopes of this resource begin with, for
	// example api://orders. Zero: the resource is known as api://<ClientID>
	// and by its client ID.
	AppIDURI string

	// Scopes are the delegated permissions the app exposes. Zero: none.
	Scopes []string

	// AdminScopes are those of Scopes that only an administrator may grant.
	// Zero: users may grant all.
	AdminScopes []string

	// Roles are the app roles the app defines, for users and for apps.
	// Zero: none.
	Roles []string

	// RedirectURIs are where answers to the app may be sent. They are
	// compared exactly, except that a loopback host matches on any port
	// (https://learn.microsoft.com/entra/identity-platform/reply-url).
	// Zero: the app cannot sign users in.
	RedirectURIs []string

	// LogoutURL is the front-channel logout URL, fetched by the browser when
	// the user signs out. Zero: none.
	LogoutURL string

	// TokenVersion is the version of the access tokens for this resource, 1
	// or 2. Zero: 2. (An Entra registration whose manifest says nothing gets
	// version 1.)
	TokenVersion int

	// Permissions are what administrators granted to this app, for all users
	// and for itself. Zero: nothing; users may consent for themselves.
	Permissions []Permission

	// Required are the permissions that the registration lists: consent to
	// <resource>/.default asks for the scopes, consent of an administrator for
	// the roles, too. Zero: none.
	Required []Permission

	// KnownClients are the client IDs of apps bundled with this one: consent
	// to such a client asks for what this app needs, too, when the client
	// asks for .default. Zero: none.
	KnownClients []string

	// RequireMFA puts this resource behind a Conditional Access policy that
	// demands multifactor authentication: a grant for a user who has not
	// passed it is refused with interaction_required, AADSTS50076 and a
	// claims challenge. Zero: no policy.
	RequireMFA bool

	// RequireAssignment refuses users and apps that have no role of this app:
	// AADSTS50105 for a user, AADSTS501051 for an app. Zero: no assignment is
	// required.
	RequireAssignment bool

	// ContinuousAccess makes this resource one that evaluates access
	// continuously: a client that declares the capability cp1 gets tokens of
	// 24 to 28 hours with xms_cc
	// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
	// Zero: all clients get tokens of the usual life.
	ContinuousAccess bool

	// OmitIDType leaves the idtyp claim out of app-only access tokens for
	// this resource. Zero: they have idtyp "app". (In Entra it is an optional
	// claim, off until the registration asks for it.)
	OmitIDType bool

	// OptionalClaims are further claims in tokens for this app: "email",
	// "upn", "auth_time", "acct", "sid", "login_hint", "xms_cc". Others are
	// ignored.
	// Zero: none.
	OptionalClaims []string

	// GroupClaims puts the user's groups, or over 200 of them the overage
	// claim, in tokens for this app. Zero: no groups.
	GroupClaims bool

	// IDTokenGrant lets the authorization endpoint issue ID tokens (implicit
	// and hybrid flow). Zero: it does not.
	IDTokenGrant bool
}

// A Permission is a grant by an administrator to an app.
type Permission struct {
	Resource string   // App ID URI or client ID of the app that defines the permissions, required
	Scopes   []string // delegated permissions granted for every user; zero: none
	Roles    []string // app roles granted to the app itself; zero: none
}

// A TrustedSubject is a certificate subject that an app trusts, whatever the
// key: "subject name and issuer" authentication.
type TrustedSubject struct {
	Subject string         // the certificate's common name or one of its DNS names, required
	Roots   *x509.CertPool // who may have issued it, required
}

// A FederatedCredential lets tokens of another issuer act as the app.
// See https://learn.microsoft.com/entra/workload-id/workload-identity-federation.
type FederatedCredential struct {
	Issuer   string           // the iss of the token, required
	Subject  string           // the sub of the token, required
	Audience string           // the aud of the token; zero: api://AzureADTokenExchange
	Key      crypto.PublicKey // verifies the token: *rsa.PublicKey (RS256, PS256) or *ecdsa.PublicKey (P-256, ES256), required
}

// A User is an account.
type User struct {
	// Username is the user principal name, required, unique in the estate
	// without regard to case.
	Username string

	// Password signs the user in on the page. Zero: nobody can sign in as
	// this user with a password, only [Server.SignIn] can.
	Password string

	// TenantID is the user's home tenant, required.
	TenantID string

	// ObjectID is the user's oid in the home tenant, a GUID. Zero: derived
	// from Username, the same in every run.
	ObjectID string

	// Name is the display name, the name claim. Zero: Username.
	Name string

	// Email is the email claim, for apps that ask for it. Zero: no email
	// claim.
	Email string

	// Roles are the app roles assigned to the user: by App ID URI or client
	// ID of the resource, the values of the roles. They appear as roles in
	// tokens for that resource, also in its ID tokens. Zero: none.
	Roles map[string][]string

	// Groups are the object IDs of the groups the user belongs to. They
	// appear in tokens of apps with GroupClaims. Zero: none.
	Groups []string

	// Guest makes the user a guest in other tenants: by tenant ID, the object
	// ID of the guest there ("" is derived). Zero: a member at home only.
	Guest map[string]string

	// MFA says that the user has a second factor. [Server.SignIn] and the
	// sign-in page then satisfy a demand for multifactor authentication; a
	// user without one answers it with AADSTS50079. Zero: no second factor.
	MFA bool

	// Admin says that the user administers the home tenant, and may consent
	// for all its users. Zero: only for themselves.
	Admin bool

	// Disabled refuses every grant for the user with AADSTS50057.
	// Zero: the account works.
	Disabled bool
}
