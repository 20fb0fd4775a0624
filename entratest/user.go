package entratest

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
