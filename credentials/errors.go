package credentials

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"syscall"
	"unicode"

	"github.com/entratoken/entra"
)

// invalid returns the error for a credential that cannot be used. The text names files and
// variables and never repeats their contents.
func invalid(format string, args ...any) *entra.Error {
	return &entra.Error{Code: "invalid_client", Description: fmt.Sprintf(format, args...)}
}

// jwtLike matches the start of every JWT and JWE: base64url of `{"`.
var jwtLike = regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=]*`)

// oneLine returns the printable part of s in one short line, without anything that looks
// like a token.
func oneLine(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == unicode.ReplacementChar
	}), " ")
	s = jwtLike.ReplaceAllString(s, "[redacted]")
	if len(s) > 200 {
		s = strings.ToValidUTF8(s[:200], "") + "..."
	}
	return s
}

// requestFailed returns the error for a request without a response. The texts of net/http
// are not repeated, because they contain URLs and headers.
func requestFailed(host string, err error) *entra.Error {
	e := &entra.Error{Code: entra.CodeRequestFailed, Description: "request to " + host + " failed"}
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
		errno   syscall.Errno
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
	)
	cause := ""
	switch {
	case errors.Is(err, context.Canceled):
		cause, e.Err = "canceled", context.Canceled
	case errors.As(err, &timeout) && timeout.Timeout():
		cause, e.Err = "timeout", context.DeadlineExceeded
	case errors.As(err, &dns):
		cause, e.Err = oneLine(dns.Error()), dns
	case errors.As(err, &unknown):
		cause, e.Err = oneLine(unknown.Error()), unknown
	case errors.As(err, &name):
		cause, e.Err = oneLine(name.Error()), name
	case errors.As(err, &errno):
		cause, e.Err = errno.Error(), errno
	}
	if cause != "" {
		e.Description += ": " + cause
	}
	return e
}
