// Package aadsts explains the AADSTS numbers in error responses of Microsoft Entra ID.
//
// Source: "Microsoft Entra authentication and authorization error codes".
package aadsts

import (
	"regexp"
	"strconv"
	"strings"
)

// Code explains an AADSTS number.
type Code struct {
	Meaning string // a short clause for logs, such as "the client secret has expired"

	fix string // sentences with placeholders
}

// Names are the values that a fix mentions. None of them is secret.
type Names struct {
	Tenant, Client string // IDs
	Host           string // of the authority
	Resource       string // the API that the token is for
}

// Lookup returns the explanation of a number and whether there is one.
func Lookup(number int) (Code, bool) {
	c, ok := codes[number]
	return c, ok
}

var leading = regexp.MustCompile(`^AADSTS(\d{1,9})`)

// Leading returns the number at the beginning of an error description, in a slice, or nil.
func Leading(description string) []int {
	m := leading.FindStringSubmatch(description)
	if m == nil {
		return nil
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return nil
	}
	return []int{n}
}

// Fix returns what to do about the error, as one or more sentences.
func (c Code) Fix(n Names) string {
	return strings.NewReplacer(
		"{tenant}", n.Tenant, "{client}", n.Client, "{host}", n.Host, "{resource}", n.Resource,
	).Replace(c.fix)
}

const (
	secrets   = "in the app registration, under Certificates & secrets"
	adminPage = "https://{host}/{tenant}/adminconsent?client_id={client}"
	oneSource = "Create one token source for each API and keep it. Requesting a new token for each call is the " +
		"usual cause."
	tryLater    = "Try again in a few minutes. If the error persists, check https://status.azure.com."
	interactive = "Sign the user in again with the claims challenge of the error. " +
		"An API returns the challenge to its client, which signs the user in."
)

var codes = map[int]Code{
	// The app and its tenant.
	90002: {"the tenant does not exist in this cloud",
		"The tenant does not exist at {host}. Check the Directory (tenant) ID for typing errors. " +
			"If the tenant is in another cloud, such as US Government or China, select it with -cloud or AZURE_AUTHORITY_HOST."},
	900023: {"the tenant is neither an ID nor a known domain",
		"Entra does not know this tenant. Use the Directory (tenant) ID on the Overview page of the app registration."},
	700016: {"the app does not exist in the tenant",
		"The app {client} does not exist in the tenant. Check that this is the Application (client) ID and not the " +
			"Object ID, and that the tenant is the app's. " +
			"An app of another tenant must be multi-tenant, and an administrator of this tenant must consent to it."},
	7000229: {"the app is not installed in the tenant",
		"The app exists, but does not have a service principal in tenant {tenant}. An administrator installs it by " +
			"consenting at " + adminPage},
	7000112: {"the app is disabled in the tenant",
		"The app is disabled in this tenant. Find out who disabled it and why. " +
			"To enable it, open its Properties in Enterprise applications and set \"Enabled for users to sign-in\" to Yes."},
	50194: {"the app is single-tenant and cannot use /common",
		"The app is for a single tenant, but the request used /common. Configure the tenant ID."},
	700025: {"the app is a public client and cannot authenticate",
		"The app is registered as a public client, which cannot use a credential. " +
			"In the app registration, under Authentication, set \"Allow public client flows\" to No."},

	// Secrets.
	7000215: {"the client secret is invalid",
		"The secret is not a secret of this app. Often the Secret ID was copied instead of the Value, the secret " +
			"belongs to another app or was deleted, or the shell or YAML truncated or quoted it. " +
			"Create a new client secret " + secrets + ", and copy its Value at once."},
	7000222: {"the client secret has expired",
		"The secret has expired. Create a new one " + secrets +
			", replace it where the app reads it, and then delete the old one. " +
			"A federated credential does not expire."},
	7000216: {"the request lacks a client credential", noCredential},
	7000218: {"the request lacks a client credential", noCredential},

	// Client assertions.
	700027: {"the client assertion is signed with an unknown or expired key",
		"The app does not trust the key that signed the assertion. Compare the certificate, " +
			"or the issuer of the federated credential, with those " + secrets + "."},
	700030: {"the certificate does not match a trusted subject name and issuer of the app",
		"Compare the certificate's subject with trustedCertificateSubjects in the app's manifest, or upload the " +
			"certificate itself."},
	700024: {"the client assertion has expired or is not valid yet",
		"By Entra's clock, the assertion has expired or is not valid yet. Check this machine's clock (step \"clock\") and " +
			"set it with NTP."},
	700023: {"the client assertion has the wrong audience",
		"The audience of the assertion is wrong. An assertion that the app signs itself must name the token endpoint. " +
			"A federated token must name the audience of the app's federated credential."},
	700021: {"the client assertion belongs to another app",
		"The issuer and subject of the assertion are not the client ID. Check the client ID, and that the federated token " +
			"is for this app."},
	50027: {"the client assertion is not a valid JWT",
		"Entra cannot parse the assertion. The file or callback must return only the token, without quotes, \"Bearer\" or " +
			"JSON around it."},
	50012: {"client authentication failed",
		"Entra rejected the app's credential. Compare the certificate with those " + secrets + "."},
	70021:  {"no federated credential of the app matches the token", federated},
	700211: {"no federated credential of the app matches the token's issuer", federated},
	700212: {"no federated credential of the app matches the token's audience", federated},
	700213: {"no federated credential of the app matches the token's subject", federated},

	// The API and permissions.
	500011: {"the API does not exist in the tenant",
		"The API \"{resource}\" does not exist in the tenant. Compare it with the App ID URI in the API's " +
			"registration, under Expose an API. " +
			"An API of another tenant must be installed in this one first. " +
			"Microsoft Graph is https://graph.microsoft.com in the public cloud, and has other hosts in other clouds."},
	50001: {"the API does not exist in the tenant",
		"The API \"{resource}\" does not exist or is not installed in the tenant. Check the scope for typing errors."},
	650057: {"the app's registration does not list the API",
		"The app's registration does not list this API. Under API permissions, add a permission of the API and grant " +
			"admin consent."},
	1002012: {"the scope is not the default scope of one API",
		"An app's own token needs the default scope of one API: the App ID URI followed by \"/.default\". " +
			"Permissions are granted to the app in advance and not requested."},
	70011: {"the scope is invalid",
		"The scope must be an App ID URI or a client ID followed by \"/.default\", and no other scope may follow."},
	501051: {"the app is not assigned to a role of the API",
		"The API requires an app role, and this app does not have one. " +
			"In the app registration, under API permissions, add an application permission of the API and grant admin consent."},
	65001: {"consent is missing",
		"No user or administrator has consented to this permission. " +
			"In the app registration, under API permissions, select Grant admin consent, or have an administrator open " +
			adminPage},
	53003: {"a Conditional Access policy blocks the request",
		"A Conditional Access policy blocks this app or user. Find the correlation ID in the sign-in logs (Service " +
			"principal sign-ins " +
			"for an app) and open the Conditional Access tab to see which policy. An administrator must exclude the app or " +
			"its network."},

	// Users, when an API requests a token on their behalf.
	50105: {"the user is not assigned to the API",
		"The user is not assigned to the API. In Enterprise applications, under Users and groups, assign the user or a " +
			"group of the user."},
	50034: {"the user does not exist in the tenant",
		"The user's account is not in this tenant. Check the tenant. A guest must be invited first."},
	50013: {"the user's token is not valid for this app",
		"Entra does not accept the assertion. It must be an access token for this app, not an ID token and not a token " +
			"for another API such as Microsoft Graph."},
	500131: {"the user's token is for another API",
		"The assertion is a token for another API. Its aud claim must be this app. The client must request a scope " +
			"of this app."},
	500133: {"the user's token has expired",
		"The assertion has expired. Get a new token for this app from its client."},
	50076: {"multi-factor authentication is required", interactive},
	50079: {"registration for multi-factor authentication is required", interactive},
	50158: {"an external security challenge is required", interactive},
	50173: {"the user's sessions were revoked",
		"The user's sessions were revoked, for example by a new password. The user must sign in again."},
	700082: {"the refresh token expired through inactivity",
		"The user was inactive for too long and must sign in again."},

	// Temporary errors.
	90033: {"Entra is temporarily unavailable", "Entra is temporarily unavailable. " + tryLater},
	90055: {"Entra throttles the tenant", "Entra throttles the tenant. Try again later, and request fewer tokens. " +
		oneSource},
	50196: {"the app requests the same token in a loop", "The app requests the same token in a loop. " + oneSource},
}

const (
	noCredential = "The request had no credential. Configure a secret, a certificate or a federated credential. " +
		"\"entra token -h\" lists the ways."
	federated = "No federated credential of the app matches the token. Its issuer, subject and audience, " +
		secrets + ", must equal the iss, sub and aud of the token exactly."
)
