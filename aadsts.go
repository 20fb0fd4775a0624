package entra

import "slices"

// rejectsCredential reports whether Entra rejected the client's credential with e, so that
// another credential may work. Microsoft advises programs to react to the OAuth error code,
// because the numbers change ("Microsoft Entra authentication and authorization error
// codes"). The code for a rejected credential is invalid_client (RFC 6749, section 5.2), but
// Entra also uses it for other errors, and other codes for rejected credentials. In those
// cases the numbers decide.
func (e *Error) rejectsCredential() bool {
	if e.unavailable() || e.RetryAfter > 0 { // throttling says nothing about the credential
		return false
	}
	if e.Code == "invalid_client" {
		return !slices.ContainsFunc(otherClientErrors, e.Has)
	}
	return e.namesCredential()
}

// namesCredential reports whether an error number says that the credential is wrong for
// every request. invalid_client alone does not: Entra also uses it for the scopes of one
// request (AADSTS650053, AADSTS650057).
func (e *Error) namesCredential() bool { return slices.ContainsFunc(credentialErrors, e.Has) }

// spreading reports whether e says that no federated credential matches the assertion. While a
// new federated credential spreads, some replicas of Entra return it and others a token
// (kedacore/keda#8152).
func (e *Error) spreading() bool { return slices.ContainsFunc(spreadingErrors, e.Has) }

// The numbers are documented on that page, or were seen in public reports.
var (
	otherClientErrors = []int{
		50011,   // the redirect URI is not registered
		500112,  // the redirect URI differs from that of the authorization request
		700025,  // the app is registered as a public client
		7000112, // the app is disabled
		7000216, // a grant that requires a credential was sent without one
		7000218, // the same
	}
	spreadingErrors = []int{
		70021,  // no federated credential matches
		700211, // none for the assertion's issuer
		700213, // none for its subject
	}
	credentialErrors = []int{
		50012,   // the certificate or the signature of a client assertion
		70021,   // no federated credential matches; seen with invalid_request
		700024,  // the assertion is outside its validity period
		700027,  // the assertion's signature, or its certificate
		700211,  // no federated credential for the assertion's issuer
		700212,  // no federated credential for its audience
		700213,  // no federated credential for its subject
		7000215, // the secret is wrong
		7000222, // the secret has expired
	}
)

// Numbers of rejected on-behalf-of assertions that a new sign-in cannot fix.
const (
	aadstsInvalidAssertion  = 50013  // the API was called with a wrong token
	aadstsAssertionAudience = 500131 // the assertion is for another app or tenant
)
