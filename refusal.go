package entra

import "slices"

// refusesCredential reports whether e, an answer of Entra, is about what the app proved
// itself with, so that another credential may do better. Microsoft would have programs
// react to the OAuth error code and not to the numbers, which change ("Microsoft Entra
// authentication and authorization error codes"). invalid_client means the credential
// (RFC 6749, section 5.2), but for some numbers; and some numbers mean it under other codes.
func (e *Error) refusesCredential() bool {
	if e.Temporary() || e.RetryAfter > 0 { // whatever it says, Entra wants to be left alone
		return false
	}
	if e.Code == "invalid_client" {
		return !slices.ContainsFunc(notOfCredentials, e.Has)
	}
	return slices.ContainsFunc(ofCredentials, e.Has)
}

// namesCredential reports whether e says by its number that the credential is what is wrong,
// whatever it was sent for. invalid_client alone does not: Entra says so of scopes, too
// (AADSTS650053, AADSTS650057), and those are one request's.
func (e *Error) namesCredential() bool { return slices.ContainsFunc(ofCredentials, e.Has) }

// The numbers are those of that page, and what is not on it was seen in public reports.
var (
	notOfCredentials = []int{
		50011,   // the redirect URI is not registered
		500112,  // the redirect URI is not the one that the code was sent to
		700025,  // the app is registered as a public client
		7000112, // the app is disabled
		7000216, // a grant that needs a credential was sent without
		7000218, // the same
	}
	ofCredentials = []int{
		50012,   // the certificate or the signature of a client assertion
		70021,   // no federated credential matches; was seen with invalid_request
		700024,  // the assertion is used outside its time
		700027,  // the assertion's signature, or its certificate
		700211,  // no federated credential for the assertion's issuer
		700212,  // nor for its audience
		700213,  // nor for its subject
		7000215, // the secret is wrong
		7000222, // the secret has expired
	}
)
