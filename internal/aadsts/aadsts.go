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
	notGuest = "The account does not exist in the tenant. Invite the user to the tenant as a guest, " +
		"or sign in with another account."
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
	90072: {"the user is not a guest of the tenant", notGuest},
	16000: {"the user is not a guest of the tenant", notGuest},
	50076: {"multi-factor authentication is required", interactive},
	50079: {"registration for multi-factor authentication is required", interactive},
	50158: {"an external security challenge is required", interactive},
	50173: {"the user's sessions were revoked",
		"The user's sessions were revoked, for example by a new password. The user must sign in again."},
	700082: {"the refresh token expired through inactivity",
		"The user was inactive for too long and must sign in again."},

	// Sign-in requests.
	50011: {"the redirect URI is not registered",
		"Register the redirect_uri of the request under Authentication in the app registration. " +
			"Scheme, host, path and letter case must be equal. Only the port of http://localhost may differ."},
	500113: {"the app does not have a redirect URI",
		"Add a redirect URI under Authentication in the app registration."},
	50058: {"no user is signed in, so a silent sign-in is impossible",
		"With prompt=none, exactly one user must have a session. Sign the user in without prompt=none."},
	50147:  {"the PKCE challenge is missing or invalid", pkce},
	501491: {"the PKCE challenge is missing or invalid", pkce},
	700054: {"the app is not enabled for ID tokens from the authorization endpoint",
		"Use response_type=code. If the app needs the hybrid flow, select ID tokens under Authentication in the app " +
			"registration."},
	70005: {"the response type is not supported", "Use response_type=code with PKCE."},
	70007: {"the response mode is not supported", "Use response_mode=query or form_post with response_type=code."},
	65004: {"the user declined to consent",
		"The user selected Cancel. Explain the permissions and let the user try again, or have an administrator consent."},
	90094: {"only an administrator can consent to the permissions",
		"Have an administrator of the tenant open " + adminPage + ", or request permissions that users may grant."},
	50020: {"the account does not belong to the tenant",
		"The user's account is in another tenant. Use another account, invite the user as a guest, or make the app " +
			"multi-tenant and sign in at /organizations."},
	50057: {"the account is disabled", "An administrator must enable the user's account."},
	50126: {"the username or password is wrong", "Enter the username and password again, or reset the password."},
	90013: {"a form or parameter is invalid",
		"The sign-in page has expired, or its form was changed. Go back to the app and sign in again."},

	// Codes and refresh tokens.
	54005: {"the authorization code has already been redeemed",
		"A code can be redeemed once. Do not retry the request, and check that a proxy or a second replica does not repeat " +
			"the callback."},
	70008: {"the authorization code or refresh token has expired",
		"Sign the user in again. A code is valid for 10 minutes."},
	700084: {"the refresh token of a single-page app has expired",
		"It is valid for 24 hours and cannot be extended. Sign the user in again."},
	70000: {"the grant is not valid",
		"The code or token was issued to another client. Redeem it with the client ID of the authorization request."},
	700005: {"the authorization code is for another tenant",
		"Redeem the code at the tenant in which the user signed in, or at the path of the authorization request."},
	500112: {"the redirect URI differs from that of the authorization request",
		"Send the same redirect_uri to the token endpoint as to the authorization endpoint."},
	501481: {"the PKCE verifier does not match the challenge",
		"Keep the code_verifier with the state of each sign-in. Two sign-ins in one browser often overwrite each other's."},
	9002325: {"a single-page app must use PKCE", pkce},
	9002326: {"only a single-page app may redeem the code from a script", spaPlatform},
	9002327: {"the code of a single-page app must be redeemed from a script", spaPlatform},
	28003: {"the scope must not be empty for this code",
		"The authorization request named several APIs. Send the scopes of one of them when redeeming the code."},
	28000: {"the scopes are of several APIs",
		"An access token is for one API. Request a token for each API."},

	// The device code flow.
	70016: {"the user has not signed in yet",
		"Poll again after the interval of the response. This is not a failure."},
	70018: {"the device or user code is invalid", "Request a new code."},
	70019: {"the device code has expired", "Request a new code. It is valid for 15 minutes."},

	// Malformed requests.
	900144: {"a required parameter is missing",
		"Send the parameter that the message names, in the body of the request."},
	90014: {"a required field is missing", "Send the field that the message names."},
	90023: {"a parameter has a value that is not supported", "Correct the parameter that the message names."},
	900561: {"the endpoint does not accept the HTTP method",
		"Send token requests with POST, and sign-in requests with GET."},
	901002:  {"the parameter resource is not supported", "Endpoints of version 2.0 use scope instead of resource."},
	9002313: {"the request is malformed", "Send each parameter once, form-encoded in the body."},
	70003: {"the grant type is not supported",
		"Use authorization_code, refresh_token, client_credentials or a grant that Microsoft documents."},
	50059: {"the request does not name a tenant",
		"An app without a user must use the ID of its tenant in the URL, not common or organizations."},
	50049:  {"the authority is unknown", "Check the host of the authority for typing errors."},
	700022: {"the scopes are of several APIs", "An access token is for one API. Request a token for each API."},
	650053: {"the API does not expose the scope",
		"Compare the scope with those under Expose an API in the API's registration."},
	240002: {"an ID token cannot be exchanged for an access token",
		"Send the access token for this app, not the ID token."},
	7000114: {"an app-only token cannot be exchanged on behalf of a user",
		"Use client credentials for calls without a user."},
	9001023: {"the password grant is not supported at common", "Use the ID of the user's tenant in the URL."},
	9002332: {"the app does not accept personal accounts", "Sign in at the app's tenant or at /organizations."},

	// Temporary errors.
	90033: {"Entra is temporarily unavailable", "Entra is temporarily unavailable. " + tryLater},
	90055: {"Entra throttles the tenant", "Entra throttles the tenant. Try again later, and request fewer tokens. " +
		oneSource},
	50196: {"the app requests the same token in a loop", "The app requests the same token in a loop. " + oneSource},
}

const (
	noCredential = "The request had no credential. Configure a secret, a certificate or a federated credential. " +
		"\"entra token -h\" lists the ways."
	pkce = "Send a code_challenge with code_challenge_method=S256, and its code_verifier when redeeming the code. " +
		"Both have 43 to 128 characters."
	spaPlatform = "A redirect URI of the platform Single-page application is for scripts, and one of the platform " +
		"Web is for servers. Move the URI to the other platform under Authentication in the app registration."
	federated = "No federated credential of the app matches the token. Its issuer, subject and audience, " +
		secrets + ", must equal the iss, sub and aud of the token exactly."
)
