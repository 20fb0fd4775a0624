// Package externalid recognizes issuers of Microsoft Entra External ID.
package externalid

import (
	"strings"

	"github.com/entratoken/entra/internal/guid"
)

// Tenant returns the tenant ID in the issuer of an external tenant, which has the form
// https://ID.ciamlogin.com/ID/v2.0 in lower case. It returns "" for other issuers.
func Tenant(issuer string) string {
	rest, https := strings.CutPrefix(issuer, "https://")
	id, _, _ := strings.Cut(rest, ".")
	if !https || !guid.ValidLower(id) || rest != id+".ciamlogin.com/"+id+"/v2.0" {
		return ""
	}
	return id
}
