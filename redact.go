package entra

import (
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"regexp"
	"strings"
	"syscall"
	"unicode"
)

// secretParameters are those parameters of a token request that nothing may repeat
// (RFC 6749, RFC 7523, RFC 7636, and Entra's on-behalf-of flow).
var secretParameters = []string{
	"client_secret", "client_assertion", "assertion", "code", "code_verifier", "refresh_token", "password",
	"user_federated_identity_credential",
}

// A redactor takes out of texts what a token request carried and what looks like a
// token.
type redactor struct{ secrets func() []string } // a func, so that printing a redactor prints nothing

func newRedactor(form url.Values) redactor {
	var secrets []string
	for _, p := range secretParameters {
		for _, v := range form[p] {
			if v != "" {
				secrets = append(secrets, v, url.QueryEscape(v), url.PathEscape(v))
			}
		}
	}
	return redactor{func() []string { return secrets }}
}

const redacted = "[redacted]"

// jwtLike matches the start of every JWT and JWE: base64url of `{"`.
var jwtLike = regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=]*`)

// text returns s in one line of at most limit bytes, without secrets.
func (r redactor) text(s string, limit int) string {
	s = r.cut(strings.Join(strings.FieldsFunc(r.cut(s), func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == unicode.ReplacementChar
	}), " "))
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return s
}

func (r redactor) cut(s string) string {
	if r.secrets != nil {
		for _, secret := range r.secrets() {
			s = strings.ReplaceAll(s, secret, redacted)
		}
	}
	return jwtLike.ReplaceAllString(s, redacted)
}

// networkCause returns the operating system's error underneath err, or that of a
// certificate, if there is one.
func networkCause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	if dns, ok := errorAs[*net.DNSError](err); ok {
		return dns
	}
	if cert, ok := errorAs[x509.UnknownAuthorityError](err); ok {
		return cert
	}
	if cert, ok := errorAs[x509.HostnameError](err); ok {
		return cert
	}
	if cert, ok := errorAs[x509.CertificateInvalidError](err); ok {
		return cert
	}
	return nil
}

func errorAs[E error](err error) (e E, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}
