package neterr_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"

	"github.com/entratoken/entra/internal/neterr"
)

func TestDescribe(t *testing.T) {
	const (
		secret = "pa55w0rd"
		trust  = "; if a proxy or a private cloud uses its own certificate authority, trust it in the HTTPClient that sends the request"
	)
	wrap := func(err error) error {
		return &url.Error{Op: "Post", URL: "https://svc:" + secret + "@host/?code=" + secret, Err: err}
	}
	op := func(name string, err error) error {
		return &net.OpError{Op: name, Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}, Err: err}
	}
	dns := &net.DNSError{Err: "no such host", Name: "host.example", IsNotFound: true}
	far := &net.DNSError{Err: "no such host", IsNotFound: true,
		Name: "orders-production-westeurope-0123456789.privatelink.internal.contoso.example"}
	slow := &net.DNSError{Err: "i/o timeout", Name: "host.example", IsTimeout: true}
	named := &x509.Certificate{Subject: pkix.Name{CommonName: "\x1b[31meyJhbGciOi"},
		DNSNames: []string{"eyJhbGciOi.example"}}
	unknown := x509.UnknownAuthorityError{}
	hostname := x509.HostnameError{Certificate: named, Host: "host.example"}
	noAuthority := x509.CertificateInvalidError{Cert: named, Reason: x509.NotAuthorizedToSign}
	expired := x509.CertificateInvalidError{Cert: named, Reason: x509.Expired,
		Detail: "current time 2000-01-01T00:00:00Z is before 2026-11-27T00:00:00Z"}
	for name, test := range map[string]struct {
		err         error
		text        string
		cause       error
		certificate bool
	}{
		"canceled": {wrap(context.Canceled), "request to h was canceled", context.Canceled, false},
		"deadline": {wrap(context.DeadlineExceeded), "request to h timed out", context.DeadlineExceeded, false},
		"time-out of a read": {wrap(op("read", os.ErrDeadlineExceeded)), "request to h timed out", context.DeadlineExceeded,
			false},
		"time-out of a name": {wrap(slow), "request to h timed out", context.DeadlineExceeded, false},
		"connection refused": {wrap(op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED))),
			"request to h failed: dial 127.0.0.1:443: connection refused", syscall.ECONNREFUSED, false},
		"errno alone": {wrap(syscall.EPIPE), "request to h failed: broken pipe", syscall.EPIPE, false},
		"no such host": {wrap(&net.OpError{Op: "dial", Err: dns}),
			"request to h failed: lookup host.example: no such host", dns, false},
		"long host name": {wrap(&net.OpError{Op: "dial", Err: far}),
			"request to h failed: lookup orders-production-westeurope-0123456789.privatelink.internal.contoso.example: " +
				"no such host", far, false},
		"proxy not reached": {wrap(&net.OpError{Op: "proxyconnect", Net: "tcp", Addr: &net.UnixAddr{Name: secret},
			Err: op("dial", syscall.ECONNREFUSED)}), "request to h failed: cannot connect to the proxy: connection refused",
			syscall.ECONNREFUSED, false},
		"proxy rejects": {wrap(neterr.ProxyError(403)),
			"request to h failed: the proxy rejected the connection with status 403", neterr.ProxyError(403), false},
		"proxy wants a user": {wrap(neterr.ProxyError(407)),
			"request to h failed: the proxy rejected the connection with status 407; set its user and password in HTTPS_PROXY or in the HTTPClient that sends the request", neterr.ProxyError(407), false},
		"TLS alert": {wrap(&net.OpError{Op: "remote error", Err: tls.AlertError(40)}),
			"request to h failed: tls: handshake failure", tls.AlertError(40), false},
		"unknown authority": {wrap(&tls.CertificateVerificationError{Err: unknown}),
			"request to h failed: x509: certificate signed by unknown authority" + trust, unknown, true},
		"another host": {wrap(hostname),
			"request to h failed: x509: certificate is valid for [redacted], not host.example; " +
				"another server or a proxy responded, so check the name of the host, DNS and the proxy", hostname, true},
		"wrong clock": {wrap(&tls.CertificateVerificationError{Err: expired}),
			"request to h failed: x509: certificate has expired or is not yet valid: " +
				"current time 2000-01-01T00:00:00Z is before 2026-11-27T00:00:00Z; check the clock of this machine", expired, true},
		"invalid certificate": {wrap(noAuthority),
			"request to h failed: x509: certificate is not authorized to sign other certificates", noAuthority, true},
		"text of a proxy": {wrap(errors.New("Bad Gateway " + secret)),
			"request to h failed: the connection or a proxy failed", nil, false},
		"nil": {nil, "request to h failed: the connection or a proxy failed", nil, false},
	} {
		text, cause := neterr.Describe("h", test.err)
		if text != test.text {
			t.Errorf("%s: got %q, want %q", name, text, test.text)
		}
		if fmt.Sprintf("%T %[1]v", cause) != fmt.Sprintf("%T %[1]v", test.cause) {
			t.Errorf("%s: got the cause %T, want %T", name, cause, test.cause)
		}
		if got := neterr.Certificate(test.err); got != test.certificate {
			t.Errorf("%s: Certificate: got %v, want %v", name, got, test.certificate)
		}
	}
}

// Describe names time-outs by one error. Cause does not: it is for errors of which only a part may be repeated.
func TestCause(t *testing.T) {
	for name, test := range map[string]struct{ err, want error }{
		"nil":      {nil, nil},
		"other":    {errors.New("s3cret"), nil},
		"canceled": {fmt.Errorf("s3cret: %w", context.Canceled), context.Canceled},
		"both":     {errors.Join(syscall.EPIPE, context.DeadlineExceeded), context.DeadlineExceeded},
		"errno":    {fmt.Errorf("s3cret: %w", syscall.EPIPE), syscall.EPIPE},
		"proxy":    {errors.Join(syscall.EPIPE, neterr.ProxyError(407)), neterr.ProxyError(407)},
	} {
		if got := neterr.Cause(test.err); got != test.want {
			t.Errorf("%s: got %v, want %v", name, got, test.want)
		}
	}
}
