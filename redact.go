package entra

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
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

// newRedactor does its work when there is a text, which is when there is an error.
func newRedactor(form url.Values) redactor {
	return redactor{sync.OnceValue(func() (secrets []string) {
		for _, p := range secretParameters {
			for _, v := range form[p] {
				if len(v) >= minSecret {
					secrets = append(secrets, v, url.QueryEscape(v), url.PathEscape(v))
				}
			}
		}
		slices.Sort(secrets)
		return slices.Compact(secrets)
	})}
}

const (
	redacted  = "[redacted]"
	minSecret = 8 // nothing shorter is a secret, but it may be any word of a text
)

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

// networkCause returns what of a network error may be repeated and wrapped: the
// operating system's error, or that of name resolution or of a certificate. Other texts
// of net/http and of proxies repeat what was sent, what came, or passwords in addresses.
func networkCause(err error) error {
	if refusal, ok := errorAs[proxyRefusal](err); ok {
		return refusal
	}
	if errno, ok := errorAs[syscall.Errno](err); ok {
		return errno
	}
	if dns, ok := errorAs[*net.DNSError](err); ok {
		return dns
	}
	return certificateCause(err)
}

// proxyRefusal is the status with which a proxy refuses to connect to the authority.
type proxyRefusal int

func (r proxyRefusal) Error() string {
	text := fmt.Sprintf("the proxy in between refuses it with status %d", int(r))
	if r == http.StatusProxyAuthRequired {
		text += " and wants a user and a password, in HTTPS_PROXY or in the Transport of Config.HTTPClient"
	}
	return text
}

func certificateCause(err error) error {
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

// networkText describes a network error as far as it may be repeated.
func networkText(err error) string {
	cause := networkCause(err)
	if cause == nil {
		return "the connection or the proxy in between failed"
	}
	text := redactor{}.text(cause.Error(), 300) // whoever is in between chooses the names in a certificate
	switch op, ok := errorAs[*net.OpError](err); {
	case ok && op.Op == "proxyconnect": // net/http's word for not reaching the proxy, whose address may have a password
		text = "the proxy in between cannot be reached: " + text
	case ok && op.Addr != nil:
		text = op.Op + " " + op.Addr.String() + ": " + text
	}
	if certificateCause(err) != nil {
		text += "; if a proxy or a private cloud has its own authority, trust it in Config.HTTPClient"
	}
	return text
}

func errorAs[E error](err error) (e E, ok bool) {
	ok = errors.As(err, &e)
	return e, ok
}
