package credentials

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
)

// A vault sends requests to one Azure Key Vault.
type vault struct {
	base   url.URL // with the host alone
	domain string  // of the vaults of the cloud
	local  bool    // the vault is a fake on this machine
	source *entra.TokenSource
	client *http.Client
	budget *retry.Budget // of retries of signatures
}

// vaultDomains are the domains of the vaults of each cloud.
//
// Sources: "Azure Key Vault security worlds and geographic boundaries", and the Azure SDK.
var vaultDomains = map[entra.Cloud]string{
	entra.CloudPublic:              "vault.azure.net",
	entra.CloudUSGovernment:        "vault.usgovcloudapi.net",
	"login-us.microsoftonline.com": "vault.usgovcloudapi.net",
	entra.CloudChina:               "vault.azure.cn",
	entra.CloudBleu:                "vault.sovcloud-api.fr",
	entra.CloudDelos:               "vault.sovcloud-api.de",
}

// vaultDomain returns the domain of the vaults of a cloud, or "" if it is unknown.
func vaultDomain(cloud entra.Cloud) string { return vaultDomains[entra.Cloud(cloud.Host())] }

// newVault returns the vault at an address. Its error says why the vault may not get the tokens of source.
func newVault(source *entra.TokenSource, address string, cloud entra.Cloud, client *http.Client) (*vault, error) {
	domain := vaultDomain(cloud)
	if domain == "" {
		return nil, invalid("the domain of Key Vault in the cloud %s is not known", cloud.Host())
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" ||
		u.RawQuery != "" || u.Fragment != "" {
		return nil, invalid("the URL of the vault is not https with a host and without a path, "+
			"such as https://contoso.%s", domain)
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	local := strings.EqualFold(u.Hostname(), "localhost") || net.ParseIP(u.Hostname()).IsLoopback()
	if label, ok := strings.CutSuffix(host, "."+domain); !local && (!ok || !vaultLabel.MatchString(label)) {
		return nil, invalid("the host %q is not a vault of the cloud %s, which has the domain %s for vaults",
			redacted(u.Host), cloud.Host(), domain)
	}
	if source == nil {
		return nil, invalid("the source of tokens for the vault is nil")
	}
	want := "https://" + domain + "/.default"
	if got := source.Scopes(); len(got) != 1 || !strings.EqualFold(got[0], want) {
		return nil, invalid("the source of tokens for the vault has the scopes %q; it needs %q", got, want)
	}
	return &vault{
		base: url.URL{Scheme: "https", Host: host}, domain: domain, local: local, source: source,
		client: httpclient.Restricted(client), budget: retry.NewBudget(),
	}, nil
}

var vaultLabel = regexp.MustCompile(`^[0-9a-z-]{1,63}$`)

func (v *vault) host() string { return v.base.Host }

// A vaultOperation is a kind of request, with the access that it needs.
type vaultOperation struct {
	object     string // such as "certificate"
	permission string // in an access policy
	action     string // in Azure role-based access control
	role       string // the smallest built-in role with the action
}

var (
	readCertificateOperation = vaultOperation{
		"certificate", `"get" for certificates`, "certificates/read", "Key Vault Reader",
	}
	readSecretOperation = vaultOperation{
		"certificate", `"get" for secrets`, "secrets/getSecret/action", "Key Vault Certificate User",
	}
	signOperation = vaultOperation{
		"key of the certificate", `"sign" for keys`, "keys/sign/action", "Key Vault Crypto User",
	}
)

// vaultTimeout bounds one request, so that a retry follows within callTimeout.
const vaultTimeout = 8 * time.Second

// call sends a request about the certificate with that name, and decodes the response into result. The error is an
// [*entra.Error], or a *requestError if the request may be repeated.
func (v *vault) call(
	ctx context.Context, op *vaultOperation, name, path string, body, result any,
) error {
	token, err := v.source.TokenContext(ctx)
	if err != nil {
		return v.noToken(err)
	}
	resp, err := v.send(ctx, path, body, token)
	if err == nil && resp.status == http.StatusUnauthorized {
		if token, err = v.replace(ctx, resp, token); err != nil {
			return err
		}
		resp, err = v.send(ctx, path, body, token)
	}
	switch {
	case err != nil:
		return err
	case resp.status == http.StatusUnauthorized:
		return v.unauthorized(resp)
	case resp.status != http.StatusOK:
		return v.rejected(op, name, resp)
	case json.Unmarshal(resp.body, result) != nil:
		return &entra.Error{
			Code: entra.CodeInvalidResponse, StatusCode: resp.status,
			Description: fmt.Sprintf("%s did not return a %s but %s; check whether a proxy sent it", v.host(), op.object,
				httpclient.DescribeBody(resp.status, resp.header, len(resp.body))),
		}
	}
	return nil
}

// noToken returns the error for a failure to acquire a token for the vault.
func (v *vault) noToken(err error) error {
	own, ok := errors.AsType[*entra.Error](err)
	if !ok {
		own = &entra.Error{Code: entra.CodeRequestFailed, Description: "timed out", Err: err}
	}
	return prefixError("no token for "+v.host(), own)
}

// send sends a request: POST with a body, and GET without one.
func (v *vault) send(ctx context.Context, path string, body any, token *oauth2.Token) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, vaultTimeout)
	defer cancel()
	u := v.base
	u.Path, u.RawQuery = path, "api-version=7.4"
	method, content := http.MethodGet, []byte(nil)
	if body != nil {
		method = http.MethodPost
		content, _ = json.Marshal(body) //nolint:errchkjson // strings always marshal
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), bytes.NewReader(content))
	if err != nil {
		return nil, invalid("the URL of the vault is invalid")
	}
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return send(v.client, req)
}

// replace returns a token to use instead of one that the vault has rejected with r.
func (v *vault) replace(ctx context.Context, r *response, old *oauth2.Token) (*oauth2.Token, error) {
	source, rejection := v.source, v.unauthorized(r)
	if rejection.Code == entra.CodeInvalidResponse {
		return nil, rejection
	}
	if claims, ok := entra.ClaimsChallenge(r.header); ok {
		source = source.WithClaims(claims)
	} else {
		source.Invalidate(old)
	}
	token, err := source.TokenContext(ctx)
	if err != nil {
		return nil, v.noToken(err)
	}
	if token.AccessToken == old.AccessToken {
		return nil, rejection
	}
	return token, nil
}

// challengeParameter matches the parameters of a challenge that are read.
var challengeParameter = regexp.MustCompile(`(?i)\b(authorization|authorization_uri|resource|scope)="([^"]*)"`)

// challengeParameters returns the parameters of the challenges in h, up to the bounds of [entra.ClaimsChallenge].
func challengeParameters(h http.Header) map[string]string {
	parameters := map[string]string{}
	lines := h.Values("WWW-Authenticate")
	for _, line := range lines[:min(len(lines), 20)] {
		if len(line) > 32<<10 {
			continue
		}
		for _, m := range challengeParameter.FindAllStringSubmatch(line, 8) {
			parameters[strings.ToLower(m[1])] = m[2]
		}
	}
	return parameters
}

// unauthorized returns the error for a rejected token. Its challenge must name the domain of the vault as the resource.
// Otherwise another service has responded, no token is sent again, and the code is [entra.CodeInvalidResponse].
//
// Source: "Authentication, requests and responses" in the documentation of Azure Key Vault.
func (v *vault) unauthorized(r *response) *entra.Error {
	e, _ := v.failure(r, "rejected the token")
	parameters := challengeParameters(r.header)
	for _, name := range []string{"resource", "scope"} {
		resource, err := url.Parse(parameters[name])
		if parameters[name] != "" && !v.local && (err != nil || !strings.EqualFold(resource.Host, v.domain)) {
			e.Code = entra.CodeInvalidResponse
			e.Description = fmt.Sprintf("the challenge of %s names another resource than https://%s", v.host(), v.domain)
			return e
		}
	}
	address := parameters["authorization"] + parameters["authorization_uri"]
	if tenant := address[strings.LastIndex(address, "/")+1:]; guid.Valid(tenant) {
		e.Description += "; the vault accepts tokens of the tenant " + tenant
	}
	return e
}

// rejected returns the error for a response that is not a success.
func (v *vault) rejected(op *vaultOperation, name string, r *response) error {
	subject := fmt.Sprintf("the %s %q in %s", op.object, name, v.host())
	e, body := v.failure(r, fmt.Sprintf("rejected the request for the %s %q", op.object, name))
	inner := body.Error.Inner.Code
	switch {
	case strings.HasSuffix(inner, "Disabled"):
		e.Description = subject + " is disabled; enable its latest version"
	case strings.HasSuffix(inner, "Deleted") || strings.HasSuffix(inner, "DeletedButRecoverable"):
		e.Description = subject + " has been deleted; recover it"
	case strings.HasSuffix(inner, "Expired"):
		e.Description = subject + " has expired; renew it"
	case r.status == http.StatusNotFound && strings.HasSuffix(body.Error.Code, "NotFound"):
		e.Description = subject + " was not found; check the name, or recover the certificate if it was deleted"
	case inner == "ForbiddenByFirewall" || inner == "ForbiddenByConnection":
		e.Description = v.host() + " rejects requests from this network; add it to the firewall of the vault, " +
			"or use a private endpoint"
	case r.status == http.StatusForbidden:
		role := fmt.Sprintf("the role %q (Microsoft.KeyVault/vaults/%s)", op.role, op.action)
		policy := "the permission " + op.permission + " in an access policy"
		switch inner {
		case "ForbiddenByRbac":
			policy = ""
		case "AccessDenied":
			role = ""
		}
		e.Description = fmt.Sprintf("the identity of the token may not use %s; it needs %s", subject, join(role, policy))
	default:
		return &requestError{e, retry.FromResponse(r.status, r.header)}
	}
	return e
}

// join joins alternatives that are not empty.
func join(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + ", or " + b
}

// vaultErrorBody is an error response of Key Vault.
type vaultErrorBody struct {
	Error struct {
		Code, Message string
		Inner         struct{ Code string } `json:"innererror"`
	}
}

// failure returns the error for r, with the vault's own message, and the parsed body. That of a proxy is empty.
func (v *vault) failure(r *response, what string) (e *entra.Error, body vaultErrorBody) {
	e = &entra.Error{
		Code: "invalid_client", StatusCode: r.status, RetryAfter: httpclient.RetryAfter(r.header),
		Description: v.host() + " " + what,
	}
	if r.status == http.StatusRequestTimeout || r.status == http.StatusTooManyRequests || r.status >= 500 {
		e.Code = "temporarily_unavailable"
	}
	if json.Unmarshal(r.body, &body) == nil && body.Error.Message != "" {
		e.Description += ": " + redact.Text(body.Error.Message, maxText, r.sent.Value())
	} else {
		e.Description += " with " + httpclient.DescribeBody(r.status, r.header, len(r.body))
	}
	return e, body
}
