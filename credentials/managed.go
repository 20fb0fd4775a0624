package credentials

import (
	"bytes"
	"cmp"
	"context"
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
)

// ManagedIdentityConfig says which managed identity of an Azure resource is meant. At
// most one of the three IDs is set.
type ManagedIdentityConfig struct {
	// ClientID, ObjectID or ResourceID names a user-assigned identity: by its client ID, by
	// its object (principal) ID, or by its path in Azure Resource Manager. Zero, all
	// three: the identity that the platform gives without a name, which is right on Service
	// Fabric. Entra does not accept the system-assigned identity of a resource here.
	ClientID, ObjectID, ResourceID string
	// Audience is that of the app's federated credential. Zero: [Audience]. In Azure for
	// US Government it is api://AzureADTokenExchangeUSGov, in Azure operated by 21Vianet
	// api://AzureADTokenExchangeChina.
	Audience string
	// HTTPClient asks the platform; its redirect policy and cookie jar are not used. Zero:
	// a client of its own, which uses no proxy.
	HTTPClient *http.Client
}

// ManagedIdentity is the token of a managed identity as a client assertion: the app
// registration trusts the identity in a federated credential, so that a program in Azure
// acts as the app without any secret, in other tenants, too. Where the token comes from
// (virtual machine, App Service, container, Arc ...) is found out by MSAL from the
// environment. It is held and replaced as [AssertionFunc] says.
//
// This is for an app registration. A program that calls an API as the identity itself
// needs no app and no Entra client, but azidentity's ManagedIdentityCredential.
//
// The error is an [*entra.Error] with the code "invalid_client". The platform is not asked
// yet.
//
// Source: "Configure an application to trust a managed identity" in Microsoft's
// documentation of Workload ID.
func ManagedIdentity(cfg ManagedIdentityConfig) (entra.Credential, error) {
	id, named := managedidentity.SystemAssigned(), 0
	if cfg.ClientID != "" {
		id, named = managedidentity.UserAssignedClientID(cfg.ClientID), named+1
	}
	if cfg.ObjectID != "" {
		id, named = managedidentity.UserAssignedObjectID(cfg.ObjectID), named+1
	}
	if cfg.ResourceID != "" {
		id, named = managedidentity.UserAssignedResourceID(cfg.ResourceID), named+1
	}
	if named > 1 {
		return entra.Credential{}, refuse("ManagedIdentityConfig has more than one of ClientID, ObjectID and ResourceID; leave one")
	}
	source, err := managedidentity.GetSource()
	if err != nil {
		return entra.Credential{}, refuse("the environment does not say where managed identities come from")
	}
	client, err := managedidentity.New(id, managedidentity.WithHTTPClient(&platform{ownClient(cfg.HTTPClient, nil)}))
	if err != nil {
		return entra.Credential{}, refuse("MSAL does not accept the managed identity on this platform (%s): name none or another of ClientID, ObjectID and ResourceID", source)
	}
	audience := cmp.Or(cfg.Audience, Audience)
	return newAssertion(func(ctx context.Context) (string, time.Time, error) {
		var r refusal
		// Claims make MSAL ask and not look into its own cache, which is one for the whole
		// program and would give a refused token again. They are not sent.
		result, err := client.AcquireToken(context.WithValue(ctx, refusalKey{}, &r), audience, managedidentity.WithClaims("{}"))
		if err != nil {
			return "", time.Time{}, r.describe(err, string(source))
		}
		return result.AccessToken, result.ExpiresOn, nil
	}), nil
}

// A refusal is what the platform answered, for which MSAL has but a text with all of it.
type refusal struct {
	far    bool // it is not near, and was not asked
	asked  bool
	status int // 0: there was no answer
	text   string
}

type refusalKey struct{}

func (r *refusal) describe(err error, source string) error {
	switch {
	case r.far:
		return refuse("the managed identity service (%s) is said to be far away and without TLS, so it was not asked; look at the variables that the platform sets for it", source)
	case !r.asked:
		return refuse("MSAL could not ask the managed identity service (%s); look at the variables that the platform sets for it", source)
	case r.status == 0:
		return unreachable("the managed identity service ("+source+")", err)
	}
	e := &entra.Error{Code: "invalid_client", Description: "the managed identity service (" + source + ") gave no token"}
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

// A platform is the HTTP client through which MSAL asks for managed identities.
type platform struct{ *http.Client }

// ConfigureClient lets MSAL pin the certificate of Service Fabric.
func (p *platform) ConfigureClient(augment func(*http.Client) (*http.Client, error)) error {
	c, err := augment(p.Client)
	if err != nil {
		return err
	}
	p.Client = c
	return nil
}

// Do bounds what MSAL reads, and notes what is refused and why.
func (p *platform) Do(req *http.Request) (*http.Response, error) {
	r, _ := req.Context().Value(refusalKey{}).(*refusal)
	if req.URL.Scheme != "https" && !near(req.URL.Hostname()) {
		if r != nil {
			*r = refusal{far: true}
		}
		return nil, errors.New("the managed identity service is far away")
	}
	resp, err := p.Client.Do(req)
	if r != nil {
		*r = refusal{asked: true}
	}
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if r != nil {
		*r = refusal{asked: true, status: resp.StatusCode, text: reason(resp.StatusCode, body)}
	}
	return resp, nil
}

// near reports whether a host is this machine or on a network of its own, as the services
// of all platforms are that speak without TLS.
func near(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && (a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsPrivate())
}

// reason is what a refusal says for people, unless it repeats what was sent.
func reason(status int, body []byte) string {
	var answer struct {
		Description string `json:"error_description"`
		Message     string `json:"message"` // App Service
	}
	if status == http.StatusOK || json.Unmarshal(body, &answer) != nil {
		return ""
	}
	text := cmp.Or(answer.Description, answer.Message)
	for _, name := range []string{"IDENTITY_HEADER", "MSI_SECRET"} {
		if secret := os.Getenv(name); secret != "" && strings.Contains(text, secret) {
			return ""
		}
	}
	return oneLine(text)
}

var _ managedidentity.ClientConfigurer = (*platform)(nil)
