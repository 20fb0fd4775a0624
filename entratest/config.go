package entratest

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"time"
)

// Config describes the tenants, apps and users of a [Server]. The caller must
// not change its slices and maps after the call to [NewServer].
type Config struct {
	// Tenants are the directories. At least one is required.
	Tenants []Tenant

	// Apps are the app registrations of all tenants. Microsoft Graph is added
	// if Apps does not contain it.
	Apps []App

	// Users are the accounts of all tenants.
	Users []User

	// Host is the host name in issuers and discovery documents for requests
	// through Server.Client. If empty, requests to login.microsoftonline.com
	// and its aliases see login.microsoftonline.com, and requests to another
	// cloud see that cloud's host. Requests to the address that
	// Server.StartTLS returned always see that address.
	Host string

	// Lifetime returns the lifetime of an access token. It is called once per
	// token and may be called concurrently. Results under one second count as
	// one second. If nil, lifetimes are uniform between 60 and 90 minutes, as
	// in Entra
	// (https://learn.microsoft.com/entra/identity-platform/access-tokens#token-lifetime),
	// or longer for a resource with ContinuousAccess. MSAL fails an on-behalf-of request
	// whose token expires within five minutes. To test refreshes, set RefreshIn instead.
	Lifetime func() time.Duration

	// RefreshIn returns the refresh_in of a token response, given the lifetime
	// of its access token. It is called once per token and may be called
	// concurrently. If RefreshIn is nil or returns zero or less, the response
	// omits refresh_in.
	RefreshIn func(lifetime time.Duration) time.Duration

	// SigningKeys are the first signing keys, RSA keys with self-signed certificates
	// such as NewSigningKey returns. The first one signs tokens, and all are
	// published. If empty, the server has a new key.
	SigningKeys []tls.Certificate

	// SealKey is the key of 32 bytes that encrypts codes, refresh tokens and cookies.
	// With the same SealKey, another server accepts them. If nil, it is random.
	SealKey []byte

	// OnRequest, if not nil, is called after each request with its entry in
	// the journal. It runs in the goroutine of the request and may be called
	// concurrently. It must not change the Form.
	OnRequest func(Request)
}

// A Tenant is a directory.
type Tenant struct {
	ID     string // a GUID; required
	Domain string // such as contoso.onmicrosoft.com; if empty, the tenant is only found by its ID
	Name   string // shown on the sign-in pages; defaults to Domain, then to ID

	// CustomURLDomain is a host such as login.contoso.com that serves the tenant as an
	// external tenant (Microsoft Entra External ID), next to NAME.ciamlogin.com. The
	// host of the issuer is still ID.ciamlogin.com. If empty, the tenant does not have
	// such a host.
	CustomURLDomain string
}

// An App is an app registration. It can be a client, a resource, or both.
type App struct {
	// Name identifies the app in calls such as Server.App. The consent page
	// shows it. Required and unique.
	Name string

	// ClientID is the application ID, a GUID. Required and unique.
	ClientID string

	// TenantID is the tenant in which the app is registered. Required.
	TenantID string

	// ObjectID is the oid of the app's service principal in TenantID, a GUID.
	// If empty, it is derived from ClientID and the tenant and is the same in
	// every run. In other tenants it is always derived.
	ObjectID string

	// MultiTenant makes the app available in every tenant of the Config, as if
	// each tenant had installed it. By default, it is available in TenantID only.
	MultiTenant bool

	// Public makes the app a public client. It uses the authorization code,
	// refresh token and password grants without a credential.
	// By default, the app is a confidential client.
	Public bool

	// Secrets are the valid client secrets.
	Secrets []string

	// ExpiredSecrets are client secrets that have expired. They are rejected
	// with AADSTS7000222, unknown secrets with AADSTS7000215.
	ExpiredSecrets []string

	// Certificates are the certificates whose keys may sign client assertions.
	Certificates []*x509.Certificate

	// TrustedSubjects allow client assertions signed with any certificate of a
	// given subject name and issuer. The assertion carries the certificate in x5c.
	TrustedSubjects []TrustedSubject

	// Federated are the federated identity credentials of the app.
	Federated []FederatedCredential

	// Blueprint makes the app an agent identity of Microsoft Entra Agent ID: the name of the
	// app that is its agent identity blueprint. The agent identity has no credentials of its
	// own and works in TenantID only. If empty, the app is not an agent identity.
	Blueprint string

	// AppIDURI is the identifier URI of this resource, such as api://orders.
	// It is the prefix of its scopes. Defaults to api://<ClientID>.
	AppIDURI string

	// Scopes are the delegated permissions that the app exposes.
	Scopes []string

	// AdminScopes are the elements of Scopes that only an administrator may
	// grant. Users may grant the others.
	AdminScopes []string

	// Roles are the app roles that the app defines, for users and for apps.
	Roles []string

	// RedirectURIs are the registered redirect URIs of the platform Web. The
	// redirect URI of a request must equal a registered one, of any platform. Only a
	// loopback URI may differ in its port
	// (https://learn.microsoft.com/entra/identity-platform/reply-url).
	// An app without a redirect URI cannot use the authorization endpoint.
	RedirectURIs []string

	// SPARedirectURIs are those of the platform single-page application. A code for
	// one of them is redeemed by a script: without a credential, with PKCE, and with
	// an Origin header. The refresh token is valid for 24 hours.
	SPARedirectURIs []string

	// PublicRedirectURIs are those of the platform mobile and desktop application. A
	// code for one of them is redeemed without a credential, even if the app has
	// one.
	PublicRedirectURIs []string

	// LogoutURL is the front-channel logout URL. The browser loads it when the
	// user signs out. If empty, the app is not notified.
	LogoutURL string

	// TokenVersion is the version of access tokens for this resource, 1 or 2: the
	// requestedAccessTokenVersion of the app manifest. Defaults to 1, as in Entra
	// (https://learn.microsoft.com/entra/identity-platform/access-tokens#token-formats).
	TokenVersion int

	// Permissions are the permissions of other apps that an administrator has
	// granted to this app, in all tenants. Users consent to further scopes
	// themselves.
	Permissions []Permission

	// Required are the permissions listed in the registration. Consent to
	// <resource>/.default covers their scopes, and the consent of an
	// administrator covers their roles, too.
	Required []Permission

	// KnownClients are the client IDs of apps bundled with this one. If such a
	// client requests .default, the user also consents to the Required
	// permissions of this app.
	KnownClients []string

	// RequireMFA protects the resource by a Conditional Access policy that
	// requires multifactor authentication. A grant without it is rejected with
	// interaction_required, AADSTS50076 and a claims challenge.
	RequireMFA bool

	// RequireAssignment rejects users and apps without a role of this app, with
	// AADSTS50105 for a user and AADSTS501051 for an app.
	RequireAssignment bool

	// ContinuousAccess makes the resource support continuous access evaluation.
	// Clients with the capability cp1 get tokens for it that are valid for 24
	// to 28 hours and have the claim xms_cc
	// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
	ContinuousAccess bool

	// OmitIDType leaves the idtyp claim out of app-only access tokens for this
	// resource. By default, they have idtyp "app". (In Entra it is an optional
	// claim that the registration must request.)
	OmitIDType bool

	// OptionalClaims are further claims in tokens for this app: "email", "upn",
	// "auth_time", "acct", "sid", "login_hint" and "xms_cc". Other names are
	// ignored.
	OptionalClaims []string

	// GroupClaims adds the user's groups to tokens for this app. A user in more
	// than 200 groups gets the overage claim instead.
	GroupClaims bool

	// CustomSigningKey signs tokens for this app with a key of its own in each
	// tenant, as in Entra if the service principal has a custom signing key for
	// claims mapping. Only the key document of the tenant with the query parameter
	// appid has it. Server.RotateKeys does not change it
	// (https://learn.microsoft.com/entra/identity-platform/jwt-claims-customization#configure-a-custom-signing-key).
	CustomSigningKey bool

	// IDTokenGrant allows ID tokens from the authorization endpoint (implicit
	// and hybrid flow).
	IDTokenGrant bool
}

// A Permission is a set of permissions of one resource for a client app.
type Permission struct {
	Resource string   // App ID URI or client ID of the resource; required
	Scopes   []string // delegated permissions, valid for every user
	Roles    []string // app roles of the client itself
}

// A TrustedSubject is a certificate subject name and issuer that an app trusts
// for client assertions, with any key.
type TrustedSubject struct {
	Subject string         // common name or a DNS name of the certificate; required
	Roots   *x509.CertPool // certificate authorities that may have issued it; required
}

// A FederatedCredential lets a token of another issuer authenticate the app.
// See https://learn.microsoft.com/entra/workload-id/workload-identity-federation.
type FederatedCredential struct {
	Issuer   string           // iss of the token; required
	Subject  string           // sub of the token; required
	Audience string           // aud of the token; defaults to api://AzureADTokenExchange
	Key      crypto.PublicKey // *rsa.PublicKey (RS256, PS256) or *ecdsa.PublicKey (P-256, ES256); required
}

// A User is an account.
type User struct {
	// Username is the user principal name. Required, and unique without regard
	// to case.
	Username string

	// Password is the password on the sign-in page and in the password grant.
	// If empty, the user cannot sign in with a password. Server.SignIn needs none.
	Password string

	// TenantID is the home tenant of the user. Required.
	TenantID string

	// ObjectID is the user's oid in the home tenant, a GUID. If empty, it is
	// derived from Username and is the same in every run.
	ObjectID string

	// Name is the display name, the name claim. Defaults to Username.
	Name string

	// Email is the email claim, for clients that request it. If empty, tokens
	// omit the email claim.
	Email string

	// Roles are the app roles assigned to the user, by App ID URI or client ID
	// of the resource. They appear in the roles claim of access tokens for that
	// resource and of its ID tokens.
	Roles map[string][]string

	// Groups are the object IDs of the user's groups. They appear in tokens for
	// apps with GroupClaims.
	Groups []string

	// Guest makes the user a guest in other tenants. It maps tenant IDs to the
	// object ID of the guest. If that is empty, it is derived from Username and
	// the tenant.
	Guest map[string]string

	// AgentIdentity makes the account the user account of an agent: the name of the agent
	// identity that acts as this user. If empty, it is the account of a person.
	AgentIdentity string

	// MFA gives the user a second factor. Server.SignIn and the sign-in page
	// then pass multifactor authentication. Without it, a sign-in that requires
	// multifactor authentication fails with AADSTS50079.
	MFA bool

	// Admin makes the user an administrator of the home tenant, who may consent
	// for all its users.
	Admin bool

	// Disabled rejects every grant for the user with AADSTS50057.
	Disabled bool
}
