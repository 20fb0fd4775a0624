// Package clientsecret checks the text of a client secret.
package clientsecret

import (
	"strings"
	"unicode"

	"github.com/entratoken/entra/internal/guid"
)

// Problem returns why s is not a client secret, as a clause without its subject, or "" if it may be one.
func Problem(s string) string {
	invalid := func(c rune) bool { return unicode.IsControl(c) || c == unicode.ReplacementChar }
	switch {
	case s == "":
		return "is empty"
	case strings.ContainsFunc(s, invalid):
		return "contains a control character, such as a line feed, or invalid UTF-8; " +
			"it must be the secret's Value and nothing else"
	case strings.TrimSpace(s) != s:
		return "has white space around it; it must be the secret's Value and nothing else"
	}
	return ""
}

// Warning returns why a valid client secret is probably wrong, as a clause without its subject, or "". Entra
// generates secrets that are not GUIDs and do not contain white space. Until 2020 a program chose the text itself, and
// Azure CLI chose GUIDs (https://github.com/Azure/azure-cli/issues/5973).
func Warning(s string) string {
	switch {
	case guid.Valid(s):
		return "is a GUID, such as the ID of a secret, client or tenant; if Entra rejects it, use the secret's Value, " +
			"which the Entra admin center only shows when the secret is created"
	case strings.ContainsFunc(s, unicode.IsSpace):
		return "contains white space; if Entra rejects it, use the secret's Value and nothing else"
	}
	return ""
}
