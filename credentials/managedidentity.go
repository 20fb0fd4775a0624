package credentials

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/metadata"
	"github.com/entratoken/entra/internal/retry"
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
	// HTTPClient sends the requests to the platform. Its CheckRedirect and Jar are not used, nor
	// is the proxy of an http.Transport. If nil, a client with time-outs is used.
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
// A program that calls an API as the identity itself does not need an app registration. Use
// package managedidentity for that.
//
// Source: "Configure an application to trust a managed identity" in Microsoft's
// documentation of Workload ID.
func ManagedIdentity(opts *ManagedIdentityOptions) (entra.Credential, error) {
	o := orZero(opts)
	client, err := metadata.New(metadata.Config{
		ClientID: o.ClientID, ObjectID: o.ObjectID, ResourceID: o.ResourceID, HTTPClient: o.HTTPClient,
	})
	if err != nil {
		return entra.Credential{}, invalid("%v", err)
	}
	audience := cmp.Or(o.Audience, Audience)
	return newAssertion("managed identity token", func(ctx context.Context) (string, time.Time, error) {
		t, failed := client.Token(ctx, audience)
		if failed != nil {
			return "", time.Time{}, &requestError{platformError(failed), platformRetry(failed)}
		}
		return t.AccessToken, t.ExpiresOn, nil
	}), nil
}

// platformRetry describes a failed request to the platform to package retry. Microsoft recommends waiting at least one
// second ("Retry guidance" in the documentation of the virtual machine's endpoint).
func platformRetry(f *metadata.Failure) retry.Failure {
	if f.Reason == metadata.NoResponse {
		return retry.FromError(f.Cause)
	}
	return retry.Failure{Transient: f.Temporary, RetryAfter: max(f.RetryAfter, time.Second)}
}

// platformError returns the error for a failed request to the platform.
func platformError(f *metadata.Failure) error {
	e := &entra.Error{Code: "invalid_client", Description: f.Error(), Err: f.Cause}
	switch f.Reason {
	case metadata.NoResponse:
		e.Code = entra.CodeRequestFailed
	case metadata.Malformed, metadata.OtherIdentity:
		e.Code = entra.CodeInvalidResponse
	case metadata.Rejected:
		e.StatusCode, e.RetryAfter = f.Status, f.RetryAfter
	case metadata.NotSent, metadata.KeyFile:
	}
	return e
}
