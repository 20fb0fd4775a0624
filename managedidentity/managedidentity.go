package managedidentity

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/issuer"
	"github.com/entratoken/entra/internal/metadata"
	"github.com/entratoken/entra/internal/scopes"
)

// FlowName is the [entra.Grant.Flow] of this package's tokens.
const FlowName = "managed_identity"

// Config selects a managed identity. At most one of ClientID, ObjectID and ResourceID may be set. If all are empty, the
// platform selects the identity: the system-assigned one, if there is one.
type Config struct {
	// ClientID is the client ID of a user-assigned identity, a GUID.
	ClientID string
	// ObjectID is the object (principal) ID of a user-assigned identity, a GUID.
	ObjectID string
	// ResourceID is the path of a user-assigned identity in Azure Resource Manager, which begins with "/subscriptions/".
	ResourceID string
	// Cache caches the tokens, which do not go to its store. If nil, the identity uses a private cache.
	Cache *cache.Cache
	// HTTPClient sends the requests to the platform. Its Transport and Timeout are used. An http.Transport is used
	// without its proxy. On Service Fabric the Transport must be an http.Transport. If nil, a client with time-outs is
	// used: 3 seconds for a connection, 20 for the response headers.
	HTTPClient *http.Client
	// Logger logs the events of the tokens as entra.Config.Logger does. If nil, nothing is logged.
	Logger *slog.Logger
}

// An Identity is a managed identity of the machine or app that runs the program. It must be created with [New] and is
// safe for concurrent use.
type Identity struct {
	client   *entra.Client
	metadata *metadata.Client
	name     string // with its article
	assigned bool   // by the user
}

// New returns the identity that cfg selects on the platform that the environment describes. It sends no request. The
// error is an [*entra.Error] with the code "invalid_request".
func New(cfg Config) (*Identity, error) {
	id := &Identity{name: "the system-assigned identity"}
	key := "system-assigned"
	for _, selected := range []struct {
		field, value, name, key string
		valid                   func(string) bool
		want                    string
	}{
		{"ClientID", cfg.ClientID, "client ID", "client_id=", guid.Valid, "a GUID"},
		{"ObjectID", cfg.ObjectID, "object ID", "object_id=", guid.Valid, "a GUID"},
		{"ResourceID", cfg.ResourceID, "resource ID", "resource_id=", resourceID.MatchString, "a path such as " +
			"/subscriptions/<ID>/resourceGroups/<name>/providers/Microsoft.ManagedIdentity/userAssignedIdentities/<name>"},
	} {
		if selected.value == "" {
			continue
		}
		if !selected.valid(selected.value) { // the value may be a secret in the wrong field
			return nil, invalid("Config.%s is not %s", selected.field, selected.want)
		}
		id.name, id.assigned = "the user-assigned identity with the "+selected.name+" "+selected.value, true
		key = selected.key + strings.ToLower(selected.value)
	}
	var err error
	id.metadata, err = metadata.New(metadata.Config{
		ClientID: cfg.ClientID, ObjectID: cfg.ObjectID, ResourceID: cfg.ResourceID, HTTPClient: cfg.HTTPClient,
	})
	if err != nil {
		return nil, invalid("%v", err)
	}
	if cfg.Cache == nil {
		cfg.Cache = cache.New(cache.Options{})
	}
	if err := cfg.Cache.Validate(); err != nil {
		return nil, invalid("Config.Cache is invalid: %v", err)
	}
	id.client = entra.ForIssuer(issuer.Issuer{
		Name: "managed identity (" + id.metadata.Source() + ")", Identity: key, Cache: cfg.Cache, Logger: cfg.Logger,
		RetryIn: retryIn, Rejects: id.rejects,
	})
	return id, nil
}

var resourceID = regexp.MustCompile(`(?i)^/subscriptions/[^/\s]+/resourcegroups/[^/\s]+` +
	`/providers/microsoft\.managedidentity/userassignedidentities/[^/\s]+$`)

func invalid(format string, args ...any) *entra.Error {
	return &entra.Error{Code: "invalid_request", Description: fmt.Sprintf(format, args...)}
}

// Source returns the platform that issues the tokens: "IMDS", "AppService", "ServiceFabric", "AzureArc", "AzureML" or
// "CloudShell". It returns "" for the zero Identity.
func (i *Identity) Source() string {
	if i.metadata == nil {
		return ""
	}
	return i.metadata.Source()
}

// Format prints the platform and the identity for every verb.
func (i *Identity) Format(f fmt.State, _ rune) {
	if i == nil || i.metadata == nil {
		fmt.Fprint(f, "managedidentity.Identity{}")
		return
	}
	fmt.Fprintf(f, "managedidentity.Identity{%s: %s}", i.metadata.Source(), i.name)
}

// TokenSource returns a source of tokens for one API. scope is the API's default scope, such as
// "https://vault.azure.net/.default". With any other scope, the source's methods return an error with the code
// "invalid_scope", without a request.
func (i *Identity) TokenSource(scope string) *entra.TokenSource {
	return i.client.TokenSource(entra.Grant{
		Flow:  FlowName,
		Scope: scope,
		Fetch: func(ctx context.Context, _ *entra.TokenRequest) (*entra.TokenResponse, error) {
			if !scopes.IsDefault(scope) {
				return nil, &entra.Error{Code: "invalid_scope", Description: fmt.Sprintf(
					"%q is not the default scope of an API, which a managed identity needs; use %s",
					scope, scopes.SuggestDefault(scope))}
			}
			t, failed := i.metadata.Token(ctx, scope)
			if failed != nil {
				return nil, i.convert(failed, scope)
			}
			return &entra.TokenResponse{
				AccessToken: t.AccessToken, ExpiresIn: time.Until(t.ExpiresOn), RefreshIn: t.RefreshIn,
			}, nil
		},
	})
}
