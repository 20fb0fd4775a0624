package entratest_test

import (
	"cmp"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"html"
	"maps"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// An example is a documented request and its documented response.
type example struct {
	// at is a page and section of learn.microsoft.com/entra/identity-platform.
	at string
	// name says which request of the section is replayed.
	name string
	// send sends the request.
	send func(*documented) *replayed
	// kind is the form of the response, a key of documentedHeaders.
	kind   string
	status int
	// members are the members of the response: name and type, separated by commas. Types are
	// the functions of memberTypes, or "=" and the value. A member with a plus sign is not
	// documented, one with a minus sign is not sent, and "=a!b" means that b is documented. Each
	// of these must be a row of FIDELITY.md.
	members string
}

// The members that several examples have in common.
const (
	appTokenMembers  = "token_type =Bearer, expires_in number, access_token jwt, +ext_expires_in number"
	userTokenMembers = appTokenMembers + ", scope string, refresh_token string, id_token jwt"
	toApp            = "state =12345, "
	canceled         = toApp + "+state, error =access_denied, error_description =the user canceled the authentication, " +
		"+error_subcode =cancel"
)

// tokenError returns the members of an error of the token endpoint.
func tokenError(code string, number int) string {
	return fmt.Sprintf("error =%s, error_description aadsts, error_codes =[%d], timestamp timestamp, trace_id guid, "+
		"correlation_id guid, +error_uri url", code, number)
}

// appError returns the members of an error that is sent to the redirect URI.
func appError(code string) string {
	return toApp + "+state, error =" + code + ", error_description aadsts, +error_uri url"
}

// The pages.
const (
	pageCredentials = "v2-oauth2-client-creds-grant-flow"
	pageCode        = "v2-oauth2-auth-code-flow"
	pageOnBehalfOf  = "v2-oauth2-on-behalf-of-flow"
	pageDevice      = "v2-oauth2-device-code"
	pageOIDC        = "v2-protocols-oidc"
	pagePassword    = "v2-oauth-ropc"
	pageImplicit    = "v2-oauth2-implicit-grant-flow"
	pageUserInfo    = "userinfo"
	pageAdmin       = "v2-admin-consent"
	pageErrors      = "reference-error-codes"
)

var examples = []example{
	// Client credentials.
	{pageCredentials + "#first-case-access-token-request-with-a-shared-secret", "secret",
		daemonRequest("client_secret", "sampleCredentials"), "json", 200, appTokenMembers},
	{pageCredentials + "#first-case-access-token-request-with-a-shared-secret", "Basic",
		func(d *documented) *replayed {
			return d.post("/oauth2/v2.0/token", http.Header{"Authorization": {basic(daemon, "sampleCredentials")}},
				"grant_type", "client_credentials", "scope", "https://graph.microsoft.com/.default")
		}, "json", 200, appTokenMembers},
	{pageCredentials + "#second-case-access-token-request-with-a-certificate", "certificate",
		func(d *documented) *replayed { return daemonRequest(d.certificate(daemon)...)(d) }, "json", 200, appTokenMembers},
	{pageCredentials + "#third-case-access-token-request-with-a-federated-credential", "federated credential",
		func(d *documented) *replayed { return daemonRequest(d.federated()...)(d) }, "json", 200, appTokenMembers},
	{pageCredentials + "#error-response-1", "unknown resource",
		daemonRequest("client_secret", "sampleCredentials", "scope", "https://foo.microsoft.com/.default"), "json", 400,
		strings.NewReplacer("=invalid_resource", "=invalid_resource!invalid_scope", "[500011]", "[500011]![70011]").
			Replace(tokenError("invalid_resource", 500011))},
	{pageCredentials + "#request-the-permissions-from-a-directory-admin", "granted",
		func(d *documented) *replayed {
			return d.visit("https://login.microsoftonline.com/common/adminconsent?"+form("client_id", webapp, "state", "12345",
				"redirect_uri", myapp+"permissions").Encode(), "accept")
		}, "query", 302, toApp + "tenant guid, admin_consent =True"},
	{pageCredentials + "#error-response", "declined",
		func(d *documented) *replayed {
			return d.visit("https://login.microsoftonline.com/common/adminconsent?"+form("client_id", webapp, "state", "12345",
				"redirect_uri", myapp+"permissions").Encode(), "decline")
		}, "query", 302, strings.Replace(appError("consent_required"), "=consent_required",
			"=consent_required!permission_denied", 1) + ", +admin_consent =True"},

	// Authorization code.
	{pageCode + "#request-an-authorization-code", "query",
		authorize("accept", "response_type", "code", "response_mode", "query"), "query", 302,
		toApp + "code string, +session_state guid"},
	{pageCode + "#error-response", "canceled", authorize("cancel", "response_type", "code"), "query", 302, canceled},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "missing parameter",
		authorize("accept", "response_type", "", "response_mode", "query"), "query", 302, appError("invalid_request")},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "unknown client",
		authorize("accept", "client_id", "00001111-aaaa-2222-bbbb-3333cccc4444"), "page", 400, ""},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "declined consent",
		authorize("decline"), "query", 302, appError("access_denied")},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "unknown response type",
		authorize("accept", "response_type", "nothing"), "query", 302, appError("unsupported_response_type")},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "unknown resource",
		authorize("accept", "scope", "https://foo.microsoft.com/mail.read"), "query", 302, appError("invalid_resource")},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "silent without session",
		authorize("accept", "prompt", "none"), "query", 302, appError("login_required")},
	{pageCode + "#error-codes-for-authorization-endpoint-errors", "silent without consent",
		func(d *documented) *replayed {
			authorize("accept")(d)
			return authorize("accept", "prompt", "none", "scope", "https://graph.microsoft.com/Mail.Send")(d)
		}, "query", 302, appError("interaction_required") + ", +suberror =consent_required"},
	{pageCode + "#request-an-id-token-as-well-or-hybrid-flow", "hybrid",
		authorize("accept", "response_type", "code id_token", "response_mode", "fragment", "nonce", "abcde", "scope",
			"openid offline_access https://graph.microsoft.com/user.read"), "fragment", 302,
		toApp + "code string, id_token jwt, +session_state guid"},
	{pageCode + "#request-an-access-token-with-a-client_secret", "secret",
		redeemCode(webapp, "client_secret", "sampleCredentia1s"), "json", 200, userTokenMembers},
	{pageCode + "#request-an-access-token-with-a-certificate-credential", "certificate",
		func(d *documented) *replayed { return redeemCode(webapp, d.certificate(webapp)...)(d) }, "json", 200,
		userTokenMembers},
	{pageCode + "#redirect-uris-for-single-page-apps-spas", "single-page app", redeemScript, "cors", 200,
		userTokenMembers + ", +refresh_token_expires_in =86400"},
	{pageCode + "#redirect-uris-for-single-page-apps-spas", "no Origin",
		redeemCode(scriptID), "json", 400, tokenError("invalid_request", 9002327)},
	{pageCode + "#redirect-uris-for-single-page-apps-spas", "secret with Origin",
		func(d *documented) *replayed {
			return d.post("/oauth2/v2.0/token", http.Header{"Origin": {"http://localhost"}}, "client_id", daemon,
				"client_secret", "sampleCredentials", "grant_type", "client_credentials", "scope",
				"https://graph.microsoft.com/.default")
		}, "cors", 400, tokenError("invalid_request", 9002326)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "missing parameter",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", ""), "json", 400,
		tokenError("invalid_request", 900144)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "wrong verifier",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "code_verifier", strings.Repeat("x", 43)), "json", 400,
		tokenError("invalid_grant", 501481)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "expired code",
		func(d *documented) *replayed {
			code := authorize("accept")(d).text("code")
			time.Sleep(10*time.Minute + time.Second)
			return redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", code)(d)
		}, "json", 400, tokenError("invalid_grant", 70008)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "code redeemed twice",
		func(d *documented) *replayed {
			code := authorize("accept")(d).text("code")
			redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", code)(d)
			return redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", code)(d)
		}, "json", 400, tokenError("invalid_grant", 54005)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "unknown client",
		redeemCode("00001111-aaaa-2222-bbbb-3333cccc4444", "client_secret", "x", "code", "x"), "json", 400,
		tokenError("unauthorized_client", 700016)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "wrong secret",
		redeemCode(webapp, "client_secret", "wrong"), "json", 401, tokenError("invalid_client", 7000215)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "unknown grant type",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "grant_type", "nothing"), "json", 400,
		tokenError("unsupported_grant_type", 70003)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "unknown resource",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "scope", "https://foo.microsoft.com/mail.read"), "json",
		400, tokenError("invalid_resource", 500011)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "policy of the resource",
		func(d *documented) *replayed {
			code := authorize("accept", "scope", "https://graph.microsoft.com/mail.read")(d).text("code")
			return redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", code, "scope", "api://strict/access")(d)
		}, "json", 400, tokenError("interaction_required", 50076) + ", claims claims, +suberror =basic_action"},
	{pageCode + "#error-codes-for-token-endpoint-errors", "throttled",
		func(d *documented) *replayed {
			d.server.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 429, RetryAfter: "3"})
			return redeemCode(webapp, "client_secret", "sampleCredentia1s", "code", "x")(d)
		}, "json", 429, tokenError("temporarily_unavailable", 90055)},
	{pageCode + "#error-codes-for-token-endpoint-errors", "scope without consent",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "scope", "https://graph.microsoft.com/Mail.Send"), "json",
		400, strings.Replace(tokenError("invalid_grant", 65001), "=invalid_grant", "=invalid_grant!consent_required", 1) +
			", +suberror =consent_required"},
	{pageCode + "#error-response-1", "invalid scope",
		redeemCode(webapp, "client_secret", "sampleCredentia1s", "scope", "https://graph.microsoft.com/"), "json", 400,
		tokenError("invalid_scope", 70011)},
	{pageCode + "#refresh-the-access-token", "refresh", redeemRefresh(), "json", 200, userTokenMembers},
	{pageCode + "#refresh-the-access-token", "refresh for another resource",
		redeemRefresh("scope", "api://contoso.com/api/UseResource"), "json", 200, userTokenMembers},
	{pageCode + "#refresh-the-access-token", "two resources",
		redeemRefresh("scope", "https://graph.microsoft.com/mail.read api://contoso.com/api/UseResource"), "json", 200,
		strings.Replace(userTokenMembers, "scope string", "scope =https://graph.microsoft.com/Mail.Read", 1)},
	{pageCode + "#refresh-the-access-token", "invalid scope",
		redeemRefresh("scope", "https://graph.microsoft.com/"), "json", 400, tokenError("invalid_scope", 70011)},
	{pageCode + "#refresh-the-access-token", "single-page app after a day",
		func(d *documented) *replayed {
			token := redeemScript(d).text("refresh_token")
			time.Sleep(24 * time.Hour)
			return d.post("/oauth2/v2.0/token", http.Header{"Origin": {"http://localhost"}}, "client_id", scriptID,
				"grant_type", "refresh_token", "refresh_token", token)
		}, "cors", 400, tokenError("invalid_grant", 700084)},

	// On-behalf-of.
	{pageOnBehalfOf + "#first-case-access-token-request-with-a-shared-secret", "secret",
		onBehalf(nil, "client_secret", "sampleCredentia1s"), "json", 200, onBehalfMembers},
	{pageOnBehalfOf + "#first-case-access-token-request-with-a-shared-secret", "without offline_access",
		onBehalf(nil, "client_secret", "sampleCredentia1s", "scope", "https://graph.microsoft.com/user.read"), "json", 200,
		strings.Replace(onBehalfMembers, ", refresh_token string", "", 1)},
	{pageOnBehalfOf + "#second-case-access-token-request-with-a-certificate", "certificate",
		func(d *documented) *replayed { return onBehalf(nil, d.certificate(apiA)...)(d) }, "json", 200, onBehalfMembers},
	{pageOnBehalfOf + "#error-response-example", "user without second factor",
		onBehalf(&entratest.MintOptions{User: bob}, "client_secret", "sampleCredentia1s", "scope", "api://strict/access"),
		"json", 400, tokenError("interaction_required", 50079) + ", claims claims, +suberror =basic_action"},
	{pageOnBehalfOf + "#error-response-example", "user with second factor",
		onBehalf(nil, "client_secret", "sampleCredentia1s", "scope", "api://strict/access"), "json", 400,
		tokenError("interaction_required", 50076) + ", claims claims, +suberror =basic_action"},
	{pageOnBehalfOf + "#gaining-consent-for-the-middle-tier-application", "no consent",
		onBehalf(nil, "client_secret", "sampleCredentia1s", "scope", "https://graph.microsoft.com/Mail.Send"), "json", 400,
		tokenError("invalid_grant", 65001) + ", +suberror =consent_required"},
	{pageOnBehalfOf + "#client-limitations", "app-only token",
		onBehalf(&entratest.MintOptions{}, "client_secret", "sampleCredentia1s"), "json", 400,
		tokenError("unauthorized_client", 7000114)},
	{pageOnBehalfOf + "#client-limitations", "ID token",
		onBehalf(&entratest.MintOptions{User: alice, IDToken: true, Client: "api"}, "client_secret", "sampleCredentia1s"),
		"json", 400,
		tokenError("invalid_request", 240002)},
	{pageOnBehalfOf + "#first-case-access-token-request-with-a-shared-secret", "token for another app",
		onBehalf(&entratest.MintOptions{User: alice, Resource: "daemon", Scopes: []string{"x"}}, "client_secret",
			"sampleCredentia1s"), "json", 400, tokenError("invalid_grant", 500131)},
	{pageErrors + "#aadsts-error-codes", "expired assertion",
		onBehalf(&entratest.MintOptions{User: alice, Lifetime: -time.Minute}, "client_secret", "sampleCredentia1s"), "json",
		400, tokenError("invalid_grant", 500133)},
	{pageErrors + "#aadsts-error-codes", "assertion that is not a token",
		onBehalf(nil, "client_secret", "sampleCredentia1s", "assertion", "x"), "json", 400,
		tokenError("invalid_grant", 50013)},
	{pageOnBehalfOf + "#obtain-a-saml-token-by-using-an-obo-request-with-a-shared-secret", "SAML",
		onBehalf(nil, "client_secret", "sampleCredentia1s", "requested_token_type",
			"urn:ietf:params:oauth:token-type:saml2"), "json", 400, "-token_type, -scope, -expires_in, -ext_expires_in, " +
			"-expires_on, -resource, -access_token, -issued_token_type, -refresh_token, " +
			"+error =invalid_request, +error_description aadsts, +error_codes =[90023], +timestamp timestamp, +trace_id guid, " +
			"+correlation_id guid, +error_uri url"},

	// Device code.
	{pageDevice + "#device-authorization-request", "code", startDeviceCode, "json", 200,
		"device_code string, user_code string, verification_uri url, expires_in =900, interval =5, message string"},
	{pageDevice + "#expected-errors", "pending", device(func(*documented, string) {}), "json", 400,
		tokenError("authorization_pending", 70016)},
	{pageDevice + "#expected-errors", "declined", device(func(d *documented, code string) { d.enterCode(code, "cancel") }),
		"json", 400, tokenError("authorization_declined", 65004)},
	{pageDevice + "#expected-errors", "unknown code", pollDeviceCode("unknown"), "json", 400,
		tokenError("bad_verification_code", 70018)},
	{pageDevice + "#expected-errors", "expired", device(func(*documented, string) { time.Sleep(15 * time.Minute) }),
		"json", 400, tokenError("expired_token", 70019)},
	{pageDevice + "#successful-authentication-response", "token",
		device(func(d *documented, code string) { d.enterCode(code, "accept") }), "json", 200,
		strings.Replace(userTokenMembers, ", refresh_token string", "", 1)},

	// OpenID Connect.
	{pageOIDC + "#fetch-the-openid-configuration-document", "document",
		func(d *documented) *replayed { return d.get("/common/v2.0/.well-known/openid-configuration", nil) }, "document", 200,
		"authorization_endpoint url, token_endpoint url, token_endpoint_auth_methods_supported strings, jwks_uri url, " +
			"userinfo_endpoint =https://graph.microsoft.com/oidc/userinfo, subject_types_supported =[\"pairwise\"], " +
			moreDiscovery},
	{pageOIDC + "#send-the-sign-in-request", "form_post",
		authorize("accept", "response_type", "id_token", "response_mode", "form_post", "scope", "openid", "nonce", "678910"),
		"form", 200, toApp + "id_token jwt, +session_state guid"},
	{pageOIDC + "#error-response", "canceled",
		authorize("cancel", "response_type", "id_token", "response_mode", "form_post", "scope", "openid", "nonce", "678910"),
		"form", 200, canceled},
	{pageOIDC + "#enable-id-tokens", "not enabled",
		authorize("accept", "client_id", scriptID, "redirect_uri", myapp+"spa", "response_type", "id_token", "scope",
			"openid", "nonce", "678910"), "fragment", 302, strings.Replace(appError("unsupported_response_type"),
			"=unsupported_response_type", "=unsupported_response_type!unsupported_response", 1)},
	{pageOIDC + "#get-an-access-token-for-the-userinfo-endpoint", "id_token token",
		authorize("accept", "response_type", "id_token token", "response_mode", "form_post", "scope", "openid profile email",
			"nonce", "678910"), "form", 200, noImplicitToken},
	{pageOIDC + "#send-a-sign-out-request", "sign-out",
		func(d *documented) *replayed {
			authorize("accept")(d)
			return d.visit("https://login.microsoftonline.com/common/oauth2/v2.0/logout?"+form("post_logout_redirect_uri",
				myapp).Encode(), "")
		}, "query", 302, ""},
	{pageOIDC + "#send-a-sign-out-request", "POST",
		func(d *documented) *replayed {
			return d.send("POST", "/common/oauth2/v2.0/logout", nil, form("post_logout_redirect_uri", myapp))
		}, "query", 302, ""},
	{pageOIDC + "#send-a-sign-out-request", "without redirect URI",
		func(d *documented) *replayed {
			return d.visit("https://login.microsoftonline.com/common/oauth2/v2.0/logout", "")
		}, "page", 200, ""},
	{pageOIDC + "#single-sign-out", "other app",
		func(d *documented) *replayed {
			authorize("accept", "client_id", scriptID, "redirect_uri", myapp+"spa")(d)
			return d.visit("https://login.microsoftonline.com/common/oauth2/v2.0/logout", "")
		}, "frames", 200, "iss url, sid guid"},

	// Resource owner password credentials.
	{pagePassword + "#authorization-request", "token", passwordGrant(tenant), "json", 200, userTokenMembers},
	{pagePassword + "#authorization-request", "organizations", passwordGrant("organizations"), "json", 200,
		userTokenMembers},
	{pagePassword + "#authorization-request", "secret of a public client", passwordGrant(tenant, "client_secret", "x"),
		"json", 401, tokenError("invalid_client", 700025)},
	{pagePassword + "#error-response", "wrong password", passwordGrant(tenant, "password", "wrong"), "json", 400,
		tokenError("invalid_grant", 50126)},
	{pagePassword + "#error-response", "no consent",
		passwordGrant(tenant, "scope", "https://graph.microsoft.com/Mail.Send"), "json", 400,
		strings.Replace(tokenError("invalid_grant", 65001), "=invalid_grant", "=invalid_grant!consent_required", 1) +
			", +suberror =consent_required"},
	{pagePassword + "#error-response", "common", passwordGrant("common"), "json", 400,
		tokenError("invalid_request", 9001023)},
	{pagePassword + "#error-response", "consumers", passwordGrant("consumers"), "json", 400,
		tokenError("invalid_request", 9001023)},
	{pagePassword + "#authorization-request", "multifactor authentication",
		passwordGrant(tenant, "scope", "api://strict/access"), "json", 400,
		tokenError("interaction_required", 50076) + ", claims claims, +suberror =basic_action"},

	// UserInfo.
	{pageUserInfo + "#calling-the-api", "GET", userInfo("GET", "openid profile email"), "json", 200,
		"sub string, name =Alice Adams, family_name =Adams, given_name =Alice, " +
			"picture =https://graph.microsoft.com/v1.0/me/photo/$value, email =alice@contoso.example"},
	{pageUserInfo + "#calling-the-api", "POST", userInfo("POST", "openid profile email"), "json", 200,
		"sub string, name string, family_name string, given_name string, picture url, email string"},
	{pageUserInfo + "#userinfo-response", "without profile and email", userInfo("GET", "openid"), "json", 200,
		"sub string, picture url"},

	// Implicit grant.
	{pageImplicit + "#send-the-sign-in-request", "id_token",
		authorize("accept", "response_type", "id_token", "response_mode", "fragment", "scope", "openid", "nonce", "678910"),
		"fragment", 302, toApp + "id_token jwt, +session_state guid"},
	{pageImplicit + "#error-response", "canceled",
		authorize("cancel", "response_type", "id_token", "scope", "openid", "nonce", "678910"), "fragment", 302, canceled},
	{pageImplicit + "#acquire-access-tokens-silently", "token",
		authorize("accept", "response_type", "token", "response_mode", "fragment"), "fragment", 302,
		strings.Replace(noImplicitToken, "-id_token, ", "", 1)},
	{pageImplicit + "#error-response-1", "no session",
		authorize("accept", "response_type", "id_token", "scope", "openid", "nonce", "678910", "prompt", "none"), "fragment",
		302, strings.Replace(appError("login_required"), "=login_required",
			"=login_required!user_authentication_required", 1)},
	{pageImplicit + "#send-a-sign-out-request", "sign-out",
		func(d *documented) *replayed {
			return d.visit(authHost+tenant+"/oauth2/v2.0/logout?post_logout_redirect_uri="+myapp, "")
		}, "query", 302, ""},

	// Admin consent.
	{pageAdmin + "#request-the-permissions-from-a-directory-admin", "granted", adminConsent("accept"), "query", 302,
		toApp + "tenant guid, admin_consent =True, scope =https://graph.microsoft.com/Mail.Read " +
			"https://graph.microsoft.com/Mail.Send"},
	{pageAdmin + "#error-response", "declined", adminConsent("decline"), "query", 302,
		toApp + "admin_consent =True, error =consent_required, error_description aadsts, +error_uri url"},

	// Errors.
	{pageErrors + "#handling-error-codes-in-your-application", "sample",
		daemonRequest("client_secret", "sampleCredentials", "scope", "https://graph.microsoft.com/"), "json", 400,
		strings.NewReplacer("+error_uri url", "error_uri =https://login.microsoftonline.com/error?code=1002012",
			"=invalid_scope", "=invalid_scope", "[1002012]", "[1002012]![70011]").Replace(tokenError("invalid_scope", 1002012))},
	{pageErrors + "#lookup-current-error-code-information", "page",
		func(d *documented) *replayed {
			return d.visit("https://login.microsoftonline.com/error?code=50058", "")
		},
		"page", 200, ""},
}

const (
	onBehalfMembers = "token_type =Bearer, scope =https://graph.microsoft.com/User.Read, expires_in number, " +
		"ext_expires_in number, access_token jwt, refresh_token string"
	noImplicitToken = toApp + "-access_token, -token_type, -expires_in, -scope, -id_token, " +
		"+error =unsupported_response_type, +error_description aadsts, +error_uri url"
	// moreDiscovery are the members that the sample of the page leaves out. panva/wellknown has them.
	moreDiscovery = "issuer string, response_modes_supported strings, id_token_signing_alg_values_supported strings, " +
		"response_types_supported strings, scopes_supported strings, request_uri_parameter_supported boolean, " +
		"device_authorization_endpoint url, http_logout_supported boolean, frontchannel_logout_supported boolean, " +
		"end_session_endpoint url, claims_supported strings, kerberos_endpoint url, tenant_region_scope null, " +
		"cloud_instance_name string, cloud_graph_host_name string, msgraph_host string, rbac_url url"
)

// TestConformance replays the documented requests of Microsoft's pages and compares the responses
// with the documented ones, member by member.
func TestConformance(t *testing.T) {
	differences := documentedDifferences(t)
	used := map[string]bool{}
	for _, e := range examples {
		page, _, _ := strings.Cut(e.at, "#")
		t.Run(page+"/"+e.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := e.send(newDocumented(t))
				if a.kind == "" {
					t.Fatalf("https://learn.microsoft.com/entra/identity-platform/%s: no response", e.at)
				}
				if a.status != e.status || a.kind != e.kind {
					t.Errorf("got %s with status %d, want %s with status %d: %v", a.kind, a.status, e.kind, e.status, a.members)
				}
				a.compareHeaders(t, e.kind)
				for _, name := range compareMembers(t, a.members, e.members) {
					if used[name] = true; !slices.Contains(differences, name) {
						t.Errorf("FIDELITY.md does not list the difference %q", name)
					}
				}
			})
		})
	}
	for _, name := range differences {
		if !used[name] && !t.Failed() {
			t.Errorf("no example has the difference %q", name)
		}
	}
}

// documentedDifferences returns the names in the table of differences in FIDELITY.md. Each has a
// reason.
func documentedDifferences(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, found := strings.Cut(string(page), "\n## Differences from documented examples\n")
	if !found {
		t.Fatal("FIDELITY.md has no table of differences")
	}
	table, _, _ = strings.Cut(table, "\n## ")
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^\| (.+?) \| (.*?) \| (.*?) \|$`).FindAllStringSubmatch(table, -1) {
		for _, name := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(m[1], -1) {
			if names = append(names, name[1]); len(m[3]) < 10 {
				t.Errorf("no reason for the difference %s", name[1])
			}
		}
	}
	return names
}

// compareMembers compares the members of a response with the documented ones. It returns the names
// of the known differences.
func compareMembers(t *testing.T, got map[string]any, documented string) (differences []string) {
	t.Helper()
	rest := maps.Clone(got)
	for _, member := range strings.Split(documented, ", ") {
		name, kind, _ := strings.Cut(strings.TrimSpace(member), " ")
		if name == "" {
			continue
		}
		if missing, ok := strings.CutPrefix(name, "-"); ok {
			differences = append(differences, name)
			if _, sent := got[missing]; sent {
				t.Errorf("%s: got %v, want none", missing, got[missing])
			}
			continue
		}
		if added, ok := strings.CutPrefix(name, "+"); ok {
			differences = append(differences, name)
			if name = added; kind == "" {
				continue // the type is that of another entry
			}
		}
		v, sent := rest[name]
		if !sent {
			t.Errorf("%s: got none, want %s", name, kind)
			continue
		}
		delete(rest, name)
		want, other, different := strings.Cut(kind, "!")
		if different {
			differences = append(differences, name+"="+other)
		}
		if literal, ok := strings.CutPrefix(want, "="); ok {
			if s := text(v); s != literal {
				t.Errorf("%s: got %s, want %s", name, s, literal)
			}
		} else if is := memberTypes[want]; is == nil || !is(v) {
			t.Errorf("%s: got %v, want %s", name, v, want)
		}
	}
	for name, v := range rest {
		t.Errorf("%s: got %v, want none", name, v)
	}
	return differences
}

// text returns a string, or another value in JSON.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// memberTypes are the types of members.
var memberTypes = map[string]func(any) bool{
	"string":    func(v any) bool { s, ok := v.(string); return ok && s != "" },
	"number":    func(v any) bool { n, ok := v.(float64); return ok && n == float64(int(n)) },
	"boolean":   func(v any) bool { _, ok := v.(bool); return ok },
	"null":      func(v any) bool { return v == nil },
	"guid":      pattern(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
	"timestamp": pattern(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ$`),
	"url":       pattern(`^https://[a-z]+\.[a-z.]+(/.*)?$`),
	"jwt":       pattern(`^eyJ[\w-]+\.eyJ[\w-]+\.[\w-]{342}$`),
	"aadsts":    pattern(`^AADSTS\d{5,7}: .+ Trace ID: \S{36} Correlation ID: \S{36} Timestamp: [\d-]{10} [\d:]{8}Z$`),
	"claims":    pattern(`^\{"access_token":\{"polids":\{"essential":true,"values":\["[0-9a-f-]{36}"\]\}\}\}$`),
	"strings": func(v any) bool {
		list, ok := v.([]any)
		return ok && len(list) > 0 && !slices.ContainsFunc(list, func(v any) bool { _, ok := v.(string); return !ok })
	},
}

func pattern(expr string) func(any) bool {
	re := regexp.MustCompile(expr)
	return func(v any) bool { s, ok := v.(string); return ok && re.MatchString(s) }
}

// documentedHeaders are the headers of each kind of response. The pages do not show them: the first
// four are those of RFC 6749, section 5.1, and of Microsoft's responses.
var documentedHeaders = map[string]http.Header{
	"json": {"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store, no-cache"},
		"Pragma": {"no-cache"}, "X-Content-Type-Options": {"nosniff"}, "Access-Control-Allow-Origin": nil},
	"cors": {"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"no-store, no-cache"},
		"Access-Control-Allow-Origin": {"*"}},
	"document": {"Content-Type": {"application/json; charset=utf-8"}, "Cache-Control": {"max-age=86400, private"},
		"Access-Control-Allow-Origin": {"*"}},
	"query":    {"Cache-Control": {"no-store, no-cache"}},
	"fragment": {"Cache-Control": {"no-store, no-cache"}},
	"form":     {"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store, no-cache"}},
	"page":     {"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store, no-cache"}},
	"frames":   {"Content-Type": {"text/html; charset=utf-8"}, "Cache-Control": {"no-store, no-cache"}},
}

// A replayed is the response to a replayed request, in any of the documented forms.
type replayed struct {
	kind    string // a key of documentedHeaders
	status  int
	header  http.Header
	members map[string]any
}

func (a *replayed) text(name string) string { s, _ := a.members[name].(string); return s }

func (a *replayed) compareHeaders(t *testing.T, kind string) {
	t.Helper()
	for name, want := range documentedHeaders[kind] {
		if got := a.header.Values(name); !slices.Equal(got, want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	if !memberTypes["guid"](a.header.Get("x-ms-request-id")) {
		t.Errorf("x-ms-request-id: got %q", a.header.Get("x-ms-request-id"))
	}
	if id := a.header.Get("x-ms-request-id"); a.members["trace_id"] != nil && a.text("trace_id") != id {
		t.Errorf("trace_id: got %s, want %s", a.text("trace_id"), id)
	}
}

// scriptID is the client ID of a single-page app, and publicID that of a public client.
const (
	scriptID = "aaaaaaaa-0000-4000-8000-000000000050"
	publicID = "aaaaaaaa-0000-4000-8000-000000000051"
	myapp    = "http://localhost/myapp/"
)

// documented has apps like those of the pages.
type documented struct {
	t       *testing.T
	server  *entratest.Server
	browser *browser
	cert    *x509.Certificate // of testKey, registered with the confidential clients
}

func newDocumented(t *testing.T) *documented {
	cert := certify(t, "conformance", testKey(), nil, nil)
	cfg := entratest.Sample()
	graph := []entratest.Permission{{Resource: "https://graph.microsoft.com", Scopes: []string{"User.Read"}}}
	cfg.Apps = []entratest.App{
		{Name: "daemon", ClientID: daemon, TenantID: tenant, Secrets: []string{"sampleCredentials"},
			Certificates: []*x509.Certificate{cert}, Scopes: []string{"x"}, Federated: []entratest.FederatedCredential{{
				Issuer: "https://idp.example", Subject: "workload", Key: &testKey().PublicKey}}},
		{Name: "webapp", ClientID: webapp, TenantID: tenant, MultiTenant: true, Secrets: []string{"sampleCredentia1s"},
			Certificates: []*x509.Certificate{cert}, RedirectURIs: []string{myapp, myapp + "permissions"}, IDTokenGrant: true,
			Required: []entratest.Permission{{Resource: "api://contoso.com/api", Scopes: []string{"UseResource"}}},
			Permissions: []entratest.Permission{{Resource: "api://contoso.com/api", Scopes: []string{"UseResource"}},
				{Resource: "api://strict", Scopes: []string{"access"}}}},
		{Name: "api", ClientID: apiA, TenantID: tenant, MultiTenant: true, Secrets: []string{"sampleCredentia1s"},
			Certificates: []*x509.Certificate{cert}, AppIDURI: "api://contoso.com/api", Scopes: []string{"UseResource"},
			Permissions: append(graph, entratest.Permission{Resource: "api://strict", Scopes: []string{"access"}})},
		{Name: "strict", ClientID: apiB, TenantID: tenant, MultiTenant: true, AppIDURI: "api://strict",
			Scopes: []string{"access"}, RequireMFA: true},
		{Name: "spa", ClientID: scriptID, TenantID: tenant, MultiTenant: true, SPARedirectURIs: []string{myapp + "spa"},
			LogoutURL: "https://spa.example/logout"},
		{Name: "public", ClientID: publicID, TenantID: tenant, MultiTenant: true, Public: true,
			Permissions: append(graph, entratest.Permission{Resource: "api://strict", Scopes: []string{"access"}})},
	}
	for i := range cfg.Users {
		cfg.Users[i].Admin, cfg.Users[i].Roles = cfg.Users[i].Username == alice, nil
	}
	d := &documented{t: t, server: entratest.NewServer(cfg), cert: cert}
	d.browser = newBrowser(t, d.server)
	return d
}

// send sends a request. A path is one of the authority.
func (d *documented) send(method, target string, header http.Header, body url.Values) *replayed {
	d.t.Helper()
	if strings.HasPrefix(target, "/") {
		target = strings.TrimSuffix(authHost, "/") + target
	}
	req, err := http.NewRequest(method, target, strings.NewReader(body.Encode()))
	if err != nil {
		d.t.Fatal(err)
	}
	maps.Copy(req.Header, header)
	if body != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	d.browser.do(req)
	return d.received()
}

func (d *documented) get(path string, header http.Header) *replayed {
	d.t.Helper()
	return d.send(http.MethodGet, path, header, nil)
}

// post sends a form to an endpoint of the tenant.
func (d *documented) post(path string, header http.Header, pairs ...string) *replayed {
	d.t.Helper()
	return d.send(http.MethodPost, "/"+tenant+path, header, form(pairs...))
}

// received returns the response that the browser has received.
func (d *documented) received() *replayed {
	d.t.Helper()
	b := d.browser
	a := &replayed{status: b.status, header: b.header, members: map[string]any{}}
	params := url.Values{}
	switch kind := b.header.Get("Content-Type"); {
	case b.header.Get("Location") != "":
		a.kind, params = "query", b.url.Query()
		if b.url.Fragment != "" {
			a.kind, params = "fragment", parseQuery(d.t, b.url.Fragment)
		}
		if base, _, _ := strings.Cut(b.header.Get("Location"), "#"); !strings.HasPrefix(base, myapp) {
			d.t.Errorf("got Location %s", b.header.Get("Location"))
		}
	case strings.HasPrefix(kind, "application/json"):
		a.kind = "json"
		if err := json.Unmarshal([]byte(b.page), &a.members); err != nil {
			d.t.Fatal(err)
		}
		if b.header.Get("Access-Control-Allow-Origin") != "" {
			a.kind = "cors"
		}
		if strings.Contains(b.url.Path, ".well-known") {
			a.kind = "document"
		}
	case strings.Contains(b.page, `id="form"`):
		a.kind = "form"
		for _, in := range hiddenInput.FindAllStringSubmatch(b.page, -1) {
			params.Add(html.UnescapeString(in[1]), html.UnescapeString(in[2]))
		}
	case strings.Contains(b.page, "<iframe"):
		a.kind = "frames"
		src := regexp.MustCompile(`<iframe src="([^"]*)"`).FindStringSubmatch(b.page)[1]
		frame, err := url.Parse(html.UnescapeString(src))
		if err != nil {
			d.t.Fatal(err)
		}
		params = frame.Query()
	case strings.HasPrefix(kind, "text/html"):
		a.kind = "page"
	}
	for name, values := range params {
		a.members[name] = strings.Join(values, "\n")
	}
	return a
}

// visit opens a page as Alice. At the consent page she accepts or declines. With "cancel" she cancels
// the sign-in.
func (d *documented) visit(address, choice string) *replayed {
	d.t.Helper()
	b := d.browser.open(address)
	for range 5 {
		switch {
		case choice == "cancel" && strings.Contains(b.page, `name="step" value="cancel"`):
			b.press("cancel")
		case strings.Contains(b.page, `name="step" value="password"`):
			b.signIn(alice, "alice-password")
		case strings.Contains(b.page, `name="step" value="mfa"`):
			b.press("mfa")
		case strings.Contains(b.page, `name="step" value="consent"`) && choice == "decline":
			b.press("cancel")
		case strings.Contains(b.page, `name="step" value="consent"`):
			b.press("consent")
		}
	}
	return d.received()
}

// authorize sends the authorization request of webapp.
func authorize(choice string, pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		d.t.Helper()
		q := form("client_id", webapp, "response_type", "code", "redirect_uri", myapp, "scope",
			"openid offline_access https://graph.microsoft.com/mail.read", "state", "12345", "code_challenge",
			challenge(verifier), "code_challenge_method", "S256")
		for i := 0; i < len(pairs); i += 2 {
			if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "" {
				q.Del(pairs[i])
			}
		}
		return d.visit(authHost+tenant+"/oauth2/v2.0/authorize?"+q.Encode(), choice)
	}
}

// adminConsent sends the request of the page on admin consent.
func adminConsent(choice string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		return d.visit(authHost+"organizations/v2.0/adminconsent?"+form("client_id", webapp, "state", "12345", "scope",
			"https://graph.microsoft.com/Mail.Read https://graph.microsoft.com/Mail.Send", "redirect_uri",
			myapp+"permissions").Encode(), choice)
	}
}

// daemonRequest sends a client credentials request.
func daemonRequest(pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		return d.post("/oauth2/v2.0/token", nil, append([]string{"client_id", daemon, "scope",
			"https://graph.microsoft.com/.default", "grant_type", "client_credentials"}, pairs...)...)
	}
}

// redeemCode redeems a code of a client. A missing code is that of a new sign-in.
func redeemCode(client string, pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		d.t.Helper()
		f := form(append([]string{"client_id", client, "scope", "https://graph.microsoft.com/mail.read", "redirect_uri",
			myapp, "grant_type", "authorization_code", "code_verifier", verifier}, pairs...)...)
		if client == scriptID {
			f.Set("redirect_uri", myapp+"spa")
		}
		if !f.Has("code") {
			f.Set("code", authorize("accept", "client_id", client, "redirect_uri", f.Get("redirect_uri"))(d).text("code"))
		}
		return d.send(http.MethodPost, "/"+tenant+"/oauth2/v2.0/token", nil, f)
	}
}

// redeemScript redeems a code like a script of a single-page app.
func redeemScript(d *documented) *replayed {
	d.t.Helper()
	code := authorize("accept", "client_id", scriptID, "redirect_uri", myapp+"spa")(d).text("code")
	return d.post("/oauth2/v2.0/token", http.Header{"Origin": {"http://localhost"}}, "client_id", scriptID, "code", code,
		"scope", "https://graph.microsoft.com/mail.read", "redirect_uri", myapp+"spa", "grant_type", "authorization_code",
		"code_verifier", verifier)
}

// redeemRefresh redeems the refresh token of a sign-in.
func redeemRefresh(pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		d.t.Helper()
		token := redeemCode(webapp, "client_secret", "sampleCredentia1s")(d).text("refresh_token")
		return d.post("/oauth2/v2.0/token", nil, append([]string{"client_id", webapp, "client_secret", "sampleCredentia1s",
			"grant_type", "refresh_token", "refresh_token", token, "scope", "https://graph.microsoft.com/mail.read"},
			pairs...)...)
	}
}

// onBehalf sends the request of a middle tier. o describes its assertion, which is Alice's by default.
func onBehalf(o *entratest.MintOptions, pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		if o == nil {
			o = &entratest.MintOptions{User: alice}
		}
		token := *o
		token.Client, token.Resource = cmp.Or(o.Client, "webapp"), cmp.Or(o.Resource, "api")
		return d.post("/oauth2/v2.0/token", nil, append([]string{
			"grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "client_id", apiA, "assertion", d.server.Mint(token),
			"scope", "https://graph.microsoft.com/user.read offline_access", "requested_token_use", "on_behalf_of",
		}, pairs...)...)
	}
}

func startDeviceCode(d *documented) *replayed {
	return d.post("/oauth2/v2.0/devicecode", nil, "client_id", publicID, "scope", "user.read openid profile")
}

func pollDeviceCode(code string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		return d.post("/oauth2/v2.0/token", nil, "grant_type", "urn:ietf:params:oauth:grant-type:device_code", "client_id",
			publicID, "device_code", code)
	}
}

// device starts the device code flow, and sends the token request after the user's action.
func device(act func(d *documented, userCode string)) func(*documented) *replayed {
	return func(d *documented) *replayed {
		start := startDeviceCode(d)
		act(d, start.text("user_code"))
		return pollDeviceCode(start.text("device_code"))(d)
	}
}

// enterCode signs Alice in at the verification page.
func (d *documented) enterCode(userCode, choice string) {
	d.t.Helper()
	d.browser.open(authHost+"common/oauth2/deviceauth").press("", "otc", userCode)
	b := d.browser
	for range 4 {
		switch {
		case choice == "cancel" && strings.Contains(b.page, `name="step" value="cancel"`):
			b.press("cancel")
		case strings.Contains(b.page, `name="step" value="password"`):
			b.signIn(alice, "alice-password")
		case strings.Contains(b.page, `name="step" value="consent"`):
			b.press("consent")
		}
	}
}

// passwordGrant sends the request of the password grant.
func passwordGrant(in string, pairs ...string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		return d.send(http.MethodPost, "/"+in+"/oauth2/v2.0/token", nil, form(append([]string{"client_id", publicID, "scope",
			"user.read openid profile offline_access", "username", alice, "password", "alice-password", "grant_type",
			"password"}, pairs...)...))
	}
}

// userInfo sends a request to the UserInfo endpoint.
func userInfo(method, scopes string) func(*documented) *replayed {
	return func(d *documented) *replayed {
		token := d.server.Mint(entratest.MintOptions{Resource: "Microsoft Graph", User: alice,
			Scopes: strings.Fields(scopes)})
		return d.send(method, "https://graph.microsoft.com/oidc/userinfo", http.Header{"Authorization": {"Bearer " + token}},
			nil)
	}
}

// certificate returns the client authentication of an app by its certificate.
func (d *documented) certificate(client string) []string {
	now := time.Now()
	return []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion",
		sign(d.t, testKey(), map[string]any{"x5t": thumbprint(d.cert)}, map[string]any{
			"aud": authHost + tenant + "/oauth2/v2.0/token", "iss": client, "sub": client, "jti": "1", "nbf": now.Unix(),
			"exp": now.Add(time.Minute).Unix(),
		})}
}

// federated returns the client authentication of the daemon by a token of another issuer.
func (d *documented) federated() []string {
	return []string{"client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion",
		sign(d.t, testKey(), nil, map[string]any{
			"aud": "api://AzureADTokenExchange", "iss": "https://idp.example", "sub": "workload",
			"exp": time.Now().Add(time.Minute).Unix(),
		})}
}

// basic returns an Authorization header.
func basic(id, secret string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(id, secret)
	return r.Header.Get("Authorization")
}

// The numbers that the server sends are those of the page, except for the numbers in a row of
// FIDELITY.md.
func TestErrorNumbersAreDocumented(t *testing.T) {
	documented := strings.Fields(`28003 50001 50011 50013 50020 50027 50034 50049 50057 50058 50059 50076 50079 50105 50126
		50147 50173 50194 54005 65001 65004 70000 70003 70005 70007 70008 70011 70016 70018 70019 90002 90013 90014 90023
		90033 90055 90094 240002 500011 500133 501481 501491 650057 700005 700016 700022 700025 700027 700030 700054 700082
		700084 900144 900561 901002 7000114 7000215 7000218 7000222 9001023 9002313 9002332`)
	source, err := os.ReadFile("errors.go")
	if err != nil {
		t.Fatal(err)
	}
	var others []string
	for _, m := range regexp.MustCompile(`(?m)^\t(\d+): +\{"`).FindAllSubmatch(source, -1) {
		if number := string(m[1]); !slices.Contains(documented, number) {
			others = append(others, number)
		}
	}
	page, err := os.ReadFile("FIDELITY.md")
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile(`(?m)^\| Numbers that are not documented: ([\d, ]+) \|`).FindSubmatch(page)
	if want := strings.Join(others, ", "); row == nil || string(row[1]) != want {
		t.Errorf("got %s, want %s", row, want)
	}
}
