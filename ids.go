package entra

import (
	"regexp"
	"strings"

	"github.com/entratoken/entra/internal/guid"
)

var (
	domain = regexp.MustCompile(`^([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$`)
	host   = regexp.MustCompile(`^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)
	token  = regexp.MustCompile(`^[A-Za-z0-9_.-]+$`)
)

// dressed reports whether s is a GUID with something around it that does not belong
// there: white space, quotes, or the braces of a Windows registry.
func dressed(s string) bool { return guid.Valid(strings.Trim(s, " \t\r\n\"'`{}()<>")) }

// checkClientID says what is wrong with a client ID. It does not repeat the value, which
// may be a secret in the wrong field.
func checkClientID(id string) *Error {
	switch {
	case guid.Valid(id):
		return nil
	case id == "":
		return errorf("invalid_request", "Config.ClientID is missing; it is the Application (client) ID of the app registration, a GUID")
	case dressed(id):
		return errorf("invalid_request", "Config.ClientID has white space, quotes or braces around it; write the GUID alone")
	}
	return errorf("invalid_request", "Config.ClientID is not a GUID; it is the Application (client) ID of the app registration "+
		"(if the secret stands there, the two are swapped: renew the secret if anything has printed it as an ID)")
}

// checkTenant says what is wrong with a tenant that is neither a GUID nor a domain nor a
// name that stands for many. It does not repeat the value.
func checkTenant(id string) *Error {
	switch {
	case id == "":
		return errorf("invalid_request", "the tenant ID is missing; it is the Directory (tenant) ID, a GUID, or a domain of the tenant")
	case strings.Contains(id, "://") || strings.Contains(id, "/"):
		return errorf("invalid_request", "the tenant ID is neither a GUID nor a domain but an address or a part of one; "+
			"write the tenant alone, and the host of its authority, if it is not the public cloud's, into Config.Cloud")
	case dressed(id):
		return errorf("invalid_request", "the tenant ID has white space, quotes or braces around it; write the GUID alone")
	case strings.EqualFold(id, "adfs"):
		return errorf("invalid_request", "the tenant ID is \"adfs\", but AD FS is not supported; use an OpenID Connect library with golang.org/x/oauth2")
	}
	return errorf("invalid_request",
		"the tenant ID is neither a GUID nor a domain, or has white space around it; it is the Directory (tenant) ID of the app registration")
}
