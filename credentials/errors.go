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

// refuse makes the error of a credential that cannot be used. The text names files and
// variables, and never repeats what is in them.
func refuse(format string, args ...any) *entra.Error {
	return &entra.Error{Code: "invalid_client", Description: fmt.Sprintf(format, args...)}
}

// jwtLike matches the start of every JWT and JWE: base64url of `{"`.
var jwtLike = regexp.MustCompile(`eyJ[A-Za-z0-9_\-.=]*`)

// oneLine is what is repeated of a text that is not ours: printable, short, and without
// what looks like a token.
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

// unreachable makes the error of a request to somebody other than Entra that brought no
// answer. Of net/http's texts nothing is repeated: they have addresses and headers in
// them.
func unreachable(host string, err error) *entra.Error {
	e := &entra.Error{Code: entra.CodeRequestFailed, Description: host + " could not be asked: the connection failed"}
	var (
		timeout interface{ Timeout() bool }
		dns     *net.DNSError
		errno   syscall.Errno
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
	)
	switch {
	case errors.Is(err, context.Canceled):
		e.Description, e.Err = "the request to "+host+" was canceled", context.Canceled
	case errors.As(err, &timeout) && timeout.Timeout():
		e.Description, e.Err = host+" gave no answer in time", context.DeadlineExceeded
	case errors.As(err, &dns):
		e.Description, e.Err = host+" could not be asked: "+oneLine(dns.Error()), dns
	case errors.As(err, &unknown):
		e.Description, e.Err = host+" could not be asked: "+oneLine(unknown.Error()), unknown
	case errors.As(err, &name):
		e.Description, e.Err = host+" could not be asked: "+oneLine(name.Error()), name
	case errors.As(err, &errno):
		e.Description, e.Err = host+" could not be asked: "+errno.Error(), errno
	}
	return e
}
