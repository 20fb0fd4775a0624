package entra

import (
	"crypto/fips140"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"strings"
	"time"
)

// CredentialInfo describes a credential for logs, metrics and health checks. It contains
// nothing secret. Fields that are unknown or do not apply are zero.
type CredentialInfo struct {
	Kind     string // such as "client secret", "certificate" or "federated token"
	File     string // the path of the file that the credential is read from
	Variable string // the environment variable that configures the credential

	// Thumbprint is the SHA-1 thumbprint of the certificate in upper-case hexadecimal, as
	// the Entra admin center displays it. It is empty if GODEBUG=fips140=only prohibits SHA-1.
	Thumbprint string

	// Subject and Issuer are the distinguished names in the certificate, or the sub and iss
	// claims of the token that serves as the client assertion.
	Subject, Issuer string
	Audience        []string // the aud claim of the token that serves as the client assertion

	// NotAfter is when the certificate or the token expires.
	NotAfter time.Time

	// Warning says that the credential is valid but probably not the intended one, such as a
	// client secret that is a GUID. It is empty otherwise.
	Warning string
}

// Info describes the credential that c currently uses. It makes no network requests. The
// credentials of package credentials are described in full. A [CredentialFunc] or
// [CredentialChain] has the zero CredentialInfo, unless [Credential.WithInfo] sets it.
func (c Credential) Info() CredentialInfo {
	if c.info == nil {
		return CredentialInfo{}
	}
	return c.info()
}

// WithInfo returns a copy of c that is described by info, which is called for each call of
// [Credential.Info], possibly concurrently. The copy is [Credential.Equal] to c.
func (c Credential) WithInfo(info func() CredentialInfo) Credential {
	c.info = info
	return c
}

// certificateInfo describes a certificate credential. leaf is nil if it is unknown.
func certificateInfo(leaf *x509.Certificate) CredentialInfo {
	info := CredentialInfo{Kind: "certificate"}
	if leaf != nil {
		if !fips140.Enforced() {
			sum := sha1.Sum(leaf.Raw)
			info.Thumbprint = strings.ToUpper(hex.EncodeToString(sum[:]))
		}
		info.Subject, info.Issuer = leaf.Subject.String(), leaf.Issuer.String()
		info.NotAfter = leaf.NotAfter.UTC()
	}
	return info
}
