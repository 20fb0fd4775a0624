package credentials

import (
	"bytes"
	"cmp"
	"context"
	"crypto/fips140"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/managedidentity"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/redact"
)

// ManagedIdentityOptions configures [ManagedIdentity]. At most one of ClientID, ObjectID
// and ResourceID may be set.
type ManagedIdentityOptions struct {
	// ClientID, ObjectID and ResourceID select a user-assigned identity by its client ID, by
	// its object (principal) ID, or by its path in Azure Resource Manager. If all are empty,
	// the platform selects the identity, as required on Service Fabric. Entra does not accept
	// a system-assigned identity here.
	ClientID, ObjectID, ResourceID string
	// Audience is the audience of the app's federated credential. Defaults to that of the
	// public cloud. The function AudienceFor returns those of other clouds.
	Audience string
	// HTTPClient sends the requests to the platform. Its CheckRedirect and Jar are not used.
	// If nil, a client with time-outs and without a proxy is used.
	HTTPClient *http.Client
}

// ManagedIdentity returns a credential whose client assertion is the token of a managed
// identity. The app registration trusts the identity in a federated credential. A program
// in Azure can then act as the app without a secret, in other tenants, too. If opts is nil,
// the defaults are used.
//
// MSAL detects the platform (virtual machine, App Service, container, Arc and others) from
// the environment. Tokens are cached and replaced as [AssertionFunc] describes.
//
// ManagedIdentity makes no network requests. Its error is an [*entra.Error] with the code
// "invalid_client".
//
// A program that calls an API as the identity itself does not need an app registration.
// Use ManagedIdentityCredential of azidentity for that.
//
// Source: "Configure an application to trust a managed identity" in Microsoft's
// documentation of Workload ID.
func ManagedIdentity(opts *ManagedIdentityOptions) (entra.Credential, error) {
	o := orZero(opts)
	id, selected := managedidentity.SystemAssigned(), 0
	if o.ClientID != "" {
		id, selected = managedidentity.UserAssignedClientID(o.ClientID), selected+1
	}
	if o.ObjectID != "" {
		id, selected = managedidentity.UserAssignedObjectID(o.ObjectID), selected+1
	}
	if o.ResourceID != "" {
		id, selected = managedidentity.UserAssignedResourceID(o.ResourceID), selected+1
	}
	if selected > 1 {
		return entra.Credential{}, invalid("ManagedIdentityOptions sets more than one of ClientID, ObjectID and ResourceID")
	}
	source, err := managedidentity.GetSource()
	if err != nil {
		return entra.Credential{}, invalid("cannot determine the source of managed identities from the environment")
	}
	if source == managedidentity.ServiceFabric && fips140.Enforced() {
		return entra.Credential{}, invalid("managed identities on Service Fabric need the SHA-1 thumbprint of its " +
			"certificate, but this program prohibits SHA-1 (GODEBUG=fips140=only)")
	}
	base := cmp.Or(o.HTTPClient, httpclient.Direct())
	platform := &platformClient{httpclient.Restricted(base), base}
	client, err := managedidentity.New(id, managedidentity.WithHTTPClient(platform))
	if err != nil {
		return entra.Credential{},
			invalid("MSAL does not support this selection of a managed identity on this platform (%s); "+
				"use a different one of ClientID, ObjectID and ResourceID, or none", source)
	}
	audience := cmp.Or(o.Audience, Audience)
	return newAssertion("managed identity token", func(ctx context.Context) (string, time.Time, error) {
		var r platformResult
		// MSAL caches tokens for the whole program and would return a rejected token again.
		// Claims bypass that cache. They are not sent.
		ctx = context.WithValue(ctx, platformKey{}, &r)
		result, err := client.AcquireToken(ctx, audience, managedidentity.WithClaims("{}"))
		if err != nil {
			return "", time.Time{}, r.error(err, string(source))
		}
		return result.AccessToken, result.ExpiresOn, nil
	}), nil
}

// platformResult is the outcome of a request to the platform. It is used because the text of
// MSAL's error contains the whole response.
type platformResult struct {
	notLocal bool // the request was not sent, because it would have left the local network
	sent     bool
	status   int // 0 without a response
	text     string
}

type platformKey struct{}

func (r *platformResult) error(err error, source string) error {
	service := "the managed identity service (" + source + ")"
	switch {
	case r.notLocal:
		return invalid("%s is not on a local network and does not use TLS, so no request was sent; "+
			"check the environment variables that the platform sets", service)
	case !r.sent:
		return invalid("MSAL could not send a request to %s; check the environment variables that the platform sets", service)
	case r.status == 0:
		return requestFailed(service, err)
	}
	e := invalid("%s did not return a token", service)
	if r.status == http.StatusOK {
		e.Code = entra.CodeInvalidResponse
		return e
	}
	e.StatusCode = r.status
	if r.text != "" {
		e.Description += ": " + r.text
	}
	return e
}

// platformClient is the HTTP client that MSAL uses for managed identities. It bounds
// responses and records the outcome of each request.
type platformClient struct {
	*http.Client
	base *http.Client // before httpclient.Restricted
}

var _ managedidentity.ClientConfigurer = (*platformClient)(nil)

// ConfigureClient lets MSAL pin the certificate of Service Fabric.
func (p *platformClient) ConfigureClient(augment func(*http.Client) (*http.Client, error)) error {
	c, err := augment(p.base) // needs an http.Transport
	if err != nil {
		return err
	}
	p.Client = httpclient.Restricted(c)
	return nil
}

// Do sends req.
func (p *platformClient) Do(req *http.Request) (*http.Response, error) {
	r, _ := req.Context().Value(platformKey{}).(*platformResult)
	if r == nil {
		r = new(platformResult) // MSAL's own request
	}
	if req.URL.Scheme != "https" && !isLocal(req.URL.Hostname()) {
		*r = platformResult{notLocal: true}
		return nil, errors.New("the managed identity service is not on a local network")
	}
	resp, err := p.Client.Do(req)
	*r = platformResult{sent: true}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	*r = platformResult{sent: true, status: resp.StatusCode, text: platformMessage(resp.StatusCode, body)}
	return resp, nil
}

// isLocal reports whether a host is this machine or on a private network. All platform
// services without TLS have such an address.
func isLocal(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsPrivate())
}

// platformMessage returns the message in an error response. It returns "" if the message
// repeats a secret of the environment, and redacts one that is escaped or split.
func platformMessage(status int, body []byte) string {
	var response struct {
		Description string `json:"error_description"`
		Message     string // App Service
	}
	if status == http.StatusOK || json.Unmarshal(body, &response) != nil {
		return ""
	}
	text := cmp.Or(response.Description, response.Message)
	secrets := []string{os.Getenv("IDENTITY_HEADER"), os.Getenv("MSI_SECRET")}
	for _, secret := range secrets { // redact.Text ignores short ones
		if secret != "" && strings.Contains(text, secret) {
			return ""
		}
	}
	return redact.Text(text, maxText, secrets...)
}
