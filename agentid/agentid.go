// Package agentid acquires tokens for agents with Microsoft Entra Agent ID. It is experimental: Microsoft's protocol is
// new, and both may change.
//
// An agent identity blueprint is an app registration with a credential. Its agent identities do not have credentials.
// The blueprint requests an exchange token for an agent identity, and this token authenticates the agent identity.
// [New] returns a client that does so. The other packages work with it as usual:
//
//	agent, err := agentid.New(blueprint, "33333333-3333-3333-3333-333333333333")
//
//	// The agent as itself, with its app roles:
//	source := clientcreds.TokenSource(agent, "https://graph.microsoft.com/.default")
//
//	// The agent on behalf of a user who has called the API of the blueprint:
//	source := obo.ForToken(agent, caller, "https://graph.microsoft.com/Mail.Read")
//
//	// The agent as its own user account:
//	source := agentid.UserTokenSource(agent, agentid.User{ObjectID: "..."}, "https://graph.microsoft.com/Mail.Send")
//
// The credential of the blueprint is any [entra.Credential]. Microsoft recommends a managed identity
// (credentials.ManagedIdentity) and advises against secrets.
//
// # Exchange tokens
//
// An exchange token authenticates the requests of an agent identity. It is cached in the process, refreshed early, and
// never written to the store of the cache. All callers share it, so many callers at a cold start cause one request for
// it. If Entra rejects it, a new one is requested once.
//
// If the blueprint's credential is rejected, tokens that are cached are served until they expire. After that, callers
// get an [*entra.Error] with the code "invalid_client", which names the blueprint and the agent identity.
//
// # Tenants
//
// An agent identity belongs to one tenant. A blueprint for many tenants creates its client for each:
//
//	tenant, err := blueprint.WithTenant(tenantID)
//	agent, err := agentid.New(tenant, agentID)
//
// Sources: "Agent autonomous app OAuth flow", "Agent OAuth flows - On-behalf-of flow" and "Agent's user account
// impersonation protocol" in Microsoft's documentation of Agent ID.
package agentid

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/internal/agent"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/scopes"
)

// The values of [entra.Grant.Flow] of this package's tokens.
const (
	ExchangeFlowName = "agent_exchange" // exchange tokens
	UserFlowName     = "agent_user"     // tokens of [UserTokenSource]
)

// exchangeScope is the scope of exchange tokens.
const exchangeScope = "api://AzureADTokenExchange/.default"

// freshExchange is the age below which a rejected exchange token is not replaced, since another one would be the same.
const freshExchange = time.Minute

// New returns a client for an agent identity. blueprint is the client of its blueprint, in the same tenant. agentID is
// the client ID of the agent identity, a GUID. New makes no network requests. It is cheap, and all clients for one
// agent identity share their tokens. The error is an [*entra.Error] with the code "invalid_request".
//
// The client is for packages clientcreds and obo, and for [UserTokenSource]. An agent identity cannot sign users in.
func New(blueprint *entra.Client, agentID string) (*entra.Client, error) {
	switch {
	case blueprint == nil:
		return nil, invalid("the client of the blueprint is nil")
	case !guid.Valid(agentID):
		return nil, invalid("the ID of the agent identity is not a GUID; it is its client ID")
	case strings.EqualFold(agentID, blueprint.ClientID()):
		return nil, invalid("the ID of the agent identity is that of its blueprint; " +
			"it is the client ID of the agent identity")
	}
	agentID = strings.ToLower(agentID)
	source := blueprint.TokenSource(entra.Grant{
		Flow: ExchangeFlowName, Scope: exchangeScope, FMIPath: agentID,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return r.ClientCredentials(ctx)
		},
	})
	return entra.ForAgent(blueprint, agent.Identity{
		ClientID: agentID,
		Assertion: func(ctx context.Context, rejected bool) (string, error) {
			if info, ok := source.Cached(); rejected && ok && time.Since(info.ObtainedAt) >= freshExchange {
				t, err := source.TokenContext(ctx)
				if err == nil {
					source.Invalidate(t)
				}
			}
			t, err := source.TokenContext(ctx)
			if err != nil {
				return "", exchangeFailed(err, blueprint.ClientID(), agentID)
			}
			return t.AccessToken, nil
		},
	}), nil
}

// exchangeFailed returns the error for a blueprint that got no exchange token.
func exchangeFailed(err error, blueprintID, agentID string) error {
	own, ok := errors.AsType[*entra.Error](err)
	if !ok {
		return err // of the context
	}
	failed := *own
	failed.Description = fmt.Sprintf("the blueprint %s got no exchange token for the agent identity %s: %s",
		blueprintID, agentID, own.Description)
	return &failed
}

// A User is the user account of an agent. Exactly one field must be set.
type User struct {
	// ObjectID is the object ID of the account, a GUID. Responses for another user are rejected.
	ObjectID string
	// Username is the user principal name of the account. It may change, so ObjectID is safer.
	Username string
}

// UserTokenSource returns a source of tokens for the user account of an agent. agent is a client that [New] returned.
// requested are permissions in one API. The tokens are delegated: they carry the account's scp.
//
// The source's methods return an [*entra.Error]. Without scopes or with those of several APIs, the code is
// "invalid_scope", and if user is invalid, "invalid_request". These errors need no request.
func UserTokenSource(agent *entra.Client, user User, requested ...string) *entra.TokenSource {
	subject := "object_id=" + strings.ToLower(user.ObjectID)
	switch {
	case user.ObjectID == "":
		subject = "username=" + strings.ToLower(user.Username)
	case user.Username != "":
		subject += " username=" + strings.ToLower(user.Username) // invalid, so no token is cached for it
	}
	g := entra.Grant{Flow: UserFlowName, Subject: subject, Scopes: scopes.WithoutOIDC(requested)}
	invalid := validate(user, g.Scopes)
	// The exchange token for the user, which the exchange token of the blueprint authenticates.
	exchange := agent.TokenSource(entra.Grant{
		Flow: clientcreds.FlowName, Scope: exchangeScope, Local: true,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			return r.ClientCredentials(ctx)
		},
	})
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		if invalid != nil {
			return nil, invalid
		}
		t, err := exchange.TokenContext(ctx)
		if err != nil {
			return nil, err
		}
		resp, err := r.UserFederatedCredential(ctx, t.AccessToken, strings.ToLower(user.ObjectID), user.Username)
		if err != nil {
			if e, ok := errors.AsType[*entra.Error](err); ok && !e.Temporary() && !e.Local() {
				exchange.Invalidate(t) // it may be the reason, so the next request does not use it
			}
			return nil, err
		}
		objectID, _, _ := strings.Cut(resp.HomeAccountID, ".")
		if user.ObjectID != "" && !strings.EqualFold(objectID, user.ObjectID) {
			return nil, &entra.Error{
				Code: entra.CodeInvalidResponse, Description: "the response is a token for another user than the agent's account",
			}
		}
		return resp, nil
	}
	return agent.TokenSource(g)
}

// validate reports a user or scopes that can never get a token.
func validate(user User, requested []string) error {
	switch {
	case (user.ObjectID == "") == (user.Username == ""):
		return invalid("the user account of an agent has either an ObjectID or a Username")
	case user.ObjectID != "" && !guid.Valid(user.ObjectID):
		return invalid("the ObjectID of the user account is not a GUID")
	case len(requested) == 0:
		return &entra.Error{Code: "invalid_scope", Description: "there are no scopes; name at least one scope of the API"}
	case !scopes.OneAPI(requested):
		return &entra.Error{Code: "invalid_scope", Description: "the scopes name several APIs, but a token is for one; " +
			"use a TokenSource for each API"}
	}
	return nil
}

func invalid(text string) *entra.Error {
	return &entra.Error{Code: "invalid_request", Description: text}
}
