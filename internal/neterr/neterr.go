// Package neterr decides which part of a network error may be wrapped and repeated. The texts of net/http and of
// proxies can contain the request, the response, and passwords in URLs.
package neterr

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	"github.com/entratoken/entra/internal/redact"
)

// maxText bounds the text of a cause, in bytes.
const maxText = 300

// Cause returns the error in err's tree that is safe to wrap and to log, or nil if there is no such error. It
// is the error of a context, a proxy's status, or an error of the operating system, of name resolution, of a TLS
// alert, or of certificate verification.
func Cause(err error) error {
	for _, sentinel := range []error{context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, sentinel) {
			return sentinel
		}
	}
	if e, ok := errors.AsType[ProxyError](err); ok {
		return e
	}
	if e, ok := errors.AsType[syscall.Errno](err); ok {
		return e
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		return e
	}
	if e, ok := errors.AsType[tls.AlertError](err); ok {
		return e
	}
	return certificateCause(err)
}

// Certificate reports whether err says that the server's certificate was rejected. A retry cannot help then.
func Certificate(err error) bool { return certificateCause(err) != nil }

func certificateCause(err error) error {
	if e, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		return e
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok {
		return e
	}
	return nil
}

// Describe returns a text about the failure of a request to a host, and the cause that may be wrapped, which is nil if
// err contains none. A time-out of any kind has the cause [context.DeadlineExceeded].
func Describe(host string, err error) (text string, cause error) {
	if errors.Is(err, context.Canceled) {
		return "request to " + host + " was canceled", context.Canceled
	}
	if t, ok := errors.AsType[interface {
		error
		Timeout() bool
	}](err); ok && t.Timeout() {
		return "request to " + host + " timed out", context.DeadlineExceeded
	}
	return "request to " + host + " failed: " + describeCause(err), Cause(err)
}

func describeCause(err error) string {
	cause := Cause(err)
	if cause == nil {
		return "the connection or a proxy failed"
	}
	text := redact.Text(cause.Error(), maxText) // the server chooses the names in a certificate
	switch op, ok := errors.AsType[*net.OpError](err); {
	case ok && op.Op == "proxyconnect": // without the address, which may contain a password
		text = "cannot connect to the proxy: " + text
	case ok && op.Addr != nil:
		text = op.Op + " " + op.Addr.String() + ": " + text
	}
	return text + certificateAdvice(cause)
}

// certificateAdvice returns what to do about a rejected certificate, or "".
func certificateAdvice(cause error) string {
	switch e := cause.(type) {
	case x509.UnknownAuthorityError:
		return "; if a proxy or a private cloud uses its own certificate authority, " +
			"trust it in the HTTPClient that sends the request"
	case x509.HostnameError:
		return "; another server or a proxy responded, so check the name of the host, DNS and the proxy"
	case x509.CertificateInvalidError:
		if e.Reason == x509.Expired { // also before NotBefore
			return "; check the clock of this machine"
		}
	}
	return ""
}

// A ProxyError is the HTTP status with which a proxy rejected a CONNECT request.
type ProxyError int

// Error says how to fix status 407.
func (e ProxyError) Error() string {
	text := fmt.Sprintf("the proxy rejected the connection with status %d", int(e))
	if e == http.StatusProxyAuthRequired {
		text += "; set its user and password in HTTPS_PROXY or in the HTTPClient that sends the request"
	}
	return text
}
