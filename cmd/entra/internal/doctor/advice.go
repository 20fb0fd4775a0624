package doctor

import (
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// An answer is what went wrong, as far as advice depends on it.
type answer struct {
	code                   string // the OAuth error
	text                   string // the description
	codes                  []int  // AADSTS numbers
	status                 int
	retryAfter             time.Duration
	temporary              bool
	correlationID, traceID string
}

// facts are what advice may name. None is secret.
type facts struct {
	tenant, client, cloud, region, resource string

	cred         Credential
	assertion    *wire.Assertion // that was sent last; nil if none was
	asked        bool            // anybody was asked anything
	tried        bool            // the authority was asked something
	reached      bool            // and has answered
	sent         bool            // a token request was sent
	regionFailed bool            // the region's endpoint did not answer
}

// adviceFor returns what to do about an answer, "" if there is nothing more to say than it
// says itself. Of several numbers the first that is known decides: Entra writes the most
// specific one first.
//
// Source of the numbers: "Microsoft Entra authentication and authorization error codes".
func adviceFor(a *answer, f facts) string {
	if a == nil {
		return ""
	}
	for _, n := range a.codes {
		if advice, ok := byNumber[n]; ok {
			return advice(f)
		}
	}
	switch {
	case a.retryAfter > 0:
		return fmt.Sprintf("Entra wants to be left alone for %s. An app that asks for a new token for each call is the usual reason: keep one source.", a.retryAfter)
	case a.status == 429:
		return "Entra throttles the app. An app that asks for a new token for each call is the usual reason: keep one source."
	case f.regionFailed:
		return "The endpoint of region " + f.region + " did not answer. Check the region's name, and whether the tenant may use regional endpoints at all; leave the region out otherwise."
	case (f.reached || !f.tried) && !f.sent && a.ofCredential(f):
		return "What the app proves itself with could not be had, so Entra was not asked for a token. The text says who was asked for it: look there."
	case a.code == "invalid_response" && !f.sent:
		return "That is not Entra's: a proxy or a sign-in page of the network stands in between, or the cloud is not an authority. \"entra doctor\" says what answers there."
	case a.code == "request_failed" && f.reached && !f.sent:
		return "The connection broke while the authority answered. Try again; if it stays, a proxy or a firewall in between breaks it."
	case a.code == "request_failed" && !f.sent:
		return "The authority cannot be reached. \"entra doctor\" says where on the way it fails: name, connection, certificate or proxy."
	case a.code == "request_failed":
		return "The connection failed after the first requests had succeeded. Try again; if it stays, a proxy or a firewall does not let POST requests through."
	case a.code == "invalid_response":
		return "What came is not Entra's: a proxy or a firewall in between answers POST requests itself. Have " + f.cloud + " excepted, or set HTTPS_PROXY."
	case a.temporary:
		return "Entra is out of order for the moment. Try again in some minutes; see https://status.azure.com if it lasts."
	}
	return ""
}

// ofCredential reports whether what failed before a token was asked for is the credential,
// and somebody was asked for it: then another than the authority is named. What is wrong
// with a file or a variable the text says in full.
func (a *answer) ofCredential(f facts) bool {
	switch a.code {
	case "invalid_client":
		return f.asked
	case "request_failed", "invalid_response":
		return !strings.Contains(a.text, f.cloud)
	}
	return false
}

func always(text string) func(facts) string { return func(facts) string { return text } }

const certificatesAndSecrets = "In the app registration: Certificates & secrets"

var byNumber = map[int]func(facts) string{
	// Who is asking, and where.
	90002: func(f facts) string {
		return "There is no such tenant at " + f.cloud + ". Check the Directory (tenant) ID for typing errors, and whether the tenant is in another cloud (US Government, China ...), " +
			"which -cloud or AZURE_AUTHORITY_HOST names."
	},
	900023: always("The tenant is neither an ID nor a domain that Entra knows. Use the Directory (tenant) ID from the app's Overview page."),
	700016: func(f facts) string {
		return "The tenant has no app " + f.client + ". Check that the client ID is the Application (client) ID, not the Object ID, and that the tenant is the app's own. " +
			"An app of another tenant must be multi-tenant, and an administrator of this one must have consented to it."
	},
	7000229: func(f facts) string {
		return "The app exists but is not installed in tenant " + f.tenant + " (it has no service principal there). An administrator installs it by consenting: " +
			"https://" + f.cloud + "/" + f.tenant + "/adminconsent?client_id=" + f.client
	},
	7000112: always("The app is disabled in this tenant. In Enterprise applications, Properties: set \"Enabled for users to sign-in\" to yes, once you know who disabled it and why."),
	50194:   always("The app is for one tenant only, but was asked for at /common. Name the tenant."),
	700025:  always("The app is registered as a public client, which proves itself with nothing. In the app registration, Authentication: set \"Allow public client flows\" to no."),

	// Secrets.
	7000215: always("The secret is not one of this app. Usual reasons: the Secret ID was copied in place of the Value; the secret is of another app than the client ID; it was deleted; " +
		"or it was cut or quoted on the way (the shell, YAML). " + certificatesAndSecrets + ", New client secret; copy its Value at once."),
	7000222: always("The secret has expired. " + certificatesAndSecrets + ", New client secret: add one beside the old, replace it where the app reads it, then delete the old one. " +
		"A certificate or a federated credential does not have to be replaced by hand."),
	7000216: noCredential,
	7000218: noCredential,

	// Client assertions.
	700027: func(f facts) string {
		switch {
		case f.cred.Thumbprint != "":
			return "The app does not know the certificate with thumbprint " + f.cred.Thumbprint + ", or it has expired there. " + certificatesAndSecrets +
				", Certificates, Upload certificate: upload its public part (.cer, .pem) and compare the thumbprints."
		case f.assertion != nil && f.assertion.Thumbprint != "":
			return "The app does not know the certificate whose SHA-256 thumbprint is " + clean(f.assertion.Thumbprint, 100) + ". " + certificatesAndSecrets + ", Certificates: upload it."
		}
		return "The signature of the assertion is not by a key that the app trusts. " + certificatesAndSecrets + ": compare the certificate, or the federated credential's issuer, with what signs."
	},
	700030: always("No trusted subject name and issuer of the app matches the certificate. Compare the certificate's subject with trustedCertificateSubjects in the app's manifest, or upload the certificate itself."),
	700024: func(f facts) string {
		if f.assertion != nil && !f.assertion.Ends.IsZero() {
			if ended := time.Since(f.assertion.Ends); ended > 0 {
				return fmt.Sprintf("The assertion ended at %s (%s ago). If something was to renew it (a token file in Kubernetes), that does not; otherwise this machine's clock is wrong.",
					f.assertion.Ends.Format(time.RFC3339), ended.Round(time.Second))
			}
		}
		return "The assertion is outside its time by Entra's clock. Look at the step \"clock\": set this machine's with NTP."
	},
	700023: func(f facts) string {
		return "The audience of the assertion is wrong" + saysAudience(f) + ". One that the app signs itself is for the token endpoint; a federated one is for the audience in the app's federated credential."
	},
	700021: always("The assertion is another app's: its issuer and subject are not the client ID. Check the client ID, or that the federated token is the one meant for this app."),
	50027:  always("The assertion is not a JWT that Entra can read. Look at what the file or the callback returns: the bare token, without quotes, \"Bearer\" or JSON around it."),
	50012:  always("What the app proved itself with was refused. Compare the certificate with those under Certificates & secrets."),
	70021:  federated,
	700211: federated,
	700212: federated,
	700213: federated,

	// The resource and what is allowed.
	500011: func(f facts) string {
		return "The tenant has no API \"" + clean(f.resource, 200) + "\". Check the App ID URI under Expose an API of the API's registration for typing errors; an API of another tenant must be installed here first. " +
			"Microsoft Graph is https://graph.microsoft.com, with another host in other clouds."
	},
	50001: func(f facts) string {
		return "The tenant has no API \"" + clean(f.resource, 200) + "\", or it was not installed there. Check the scope for typing errors."
	},
	650057:  always("The app's registration does not list that API. In the app registration, API permissions: add a permission of it, then grant admin consent."),
	1002012: always("With client credentials the scope is the default scope of one API: <App ID URI>/.default. Permissions are granted to the app beforehand, not asked for."),
	70011:   always("The scope is not valid: an App ID URI or a client ID, then \"/.default\", and no other beside it."),
	501051:  always("The API wants apps to be assigned, and this one is not. Give the app one of the API's roles: API permissions, Application permissions, Grant admin consent."),
	65001: func(f facts) string {
		return "Nobody has consented to this. In the app registration: API permissions, Grant admin consent; or have an administrator open https://" + f.cloud + "/" + f.tenant + "/adminconsent?client_id=" + f.client
	},
	53003: always("A Conditional Access policy blocks the app: one for workload identities that restricts places or risk, or one for the user. " +
		"In the sign-in logs (Service principal sign-ins), find the correlation ID and look at the Conditional Access tab for which; an administrator must except the app or its network."),

	// Users, on behalf of whom an API asks.
	50105:  always("The user is not assigned to the API. In Enterprise applications, Users and groups: assign the user, or a group that the user is in."),
	50034:  always("The user's account is not in this tenant. Check the tenant; a guest must be invited first."),
	50013:  always("The assertion is not a token that Entra accepts here. It must be an access token (no ID token) that was issued for this very app; Graph's tokens are for Graph alone."),
	500131: always("The assertion is a token for another API. Its aud must be this app: have the client ask for a scope of this app's."),
	500133: always("The assertion has ended. Get a new token for this app from its client."),
	50076:  interaction,
	50079:  interaction,
	50158:  interaction,
	50173:  always("The user's sessions were revoked, by a new password for instance: the user must sign in again."),
	700082: always("The user has not been there for too long: the user must sign in again."),

	// What passes.
	90033: always("Entra is out of order for the moment. Try again in some minutes; see https://status.azure.com if it lasts."),
	90055: always("Entra throttles the tenant. Try again later, and ask for fewer tokens: keep one source for each API."),
	50196: always("The app asks for the same token over and over (a loop). Keep one source for each API in place of asking anew for each call."),
}

func noCredential(facts) string {
	return "The request had no credential. Give the app a secret, a certificate or a federated credential, and name it: see entra token -h."
}

func interaction(facts) string {
	return "The user must do something, such as confirm a second factor, which only a sign-in can ask for. An API answers its caller with the claims challenge; the caller signs the user in with it."
}

// federated: which of issuer, subject and audience is not as the app's federated
// credential has it.
func federated(f facts) string {
	if f.assertion == nil || f.assertion.Issuer == "" {
		return "No federated credential of the app matches the token. " + certificatesAndSecrets + ", Federated credentials: issuer, subject and audience must be exactly the token's iss, sub and aud."
	}
	return "No federated credential of the app matches the token, to the letter, case and slashes included. " + certificatesAndSecrets + ", Federated credentials must have issuer " +
		clean(f.assertion.Issuer, 200) + ", subject " + clean(f.assertion.Subject, 200) + ", audience " + clean(strings.Join(f.assertion.Audience, " "), 200) + "."
}

func saysAudience(f facts) string {
	if f.assertion == nil || len(f.assertion.Audience) == 0 {
		return ""
	}
	return " (" + clean(strings.Join(f.assertion.Audience, " "), 200) + ")"
}

// credentialAdvice says what to do about a credential that cannot be opened; its error
// says what is wrong.
func credentialAdvice(kind string) string {
	if kind == "" {
		return "Set one of AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH and AZURE_FEDERATED_TOKEN_FILE, or name a credential: see entra doctor -h."
	}
	return "Mend that first: nothing is sent to Entra without it. See entra doctor -h for the ways to name a credential."
}
