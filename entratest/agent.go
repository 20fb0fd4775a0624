package entratest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The resource of exchange tokens, which is added if the Config has agent identities. Its App ID URI is also
// the default audience of federated credentials.
const (
	tokenExchangeID  = "fb60f99c-7a34-4190-8149-302f77469936"
	tokenExchangeURI = "api://AzureADTokenExchange"
)

// withTokenExchange returns apps with the resource of exchange tokens if one of them is an agent identity.
func withTokenExchange(apps []App, tenantID string) []App {
	if !slices.ContainsFunc(apps, func(a App) bool { return a.Blueprint != "" }) {
		return apps
	}
	return append(slices.Clone(apps), App{
		Name: "Azure AD Token Exchange", ClientID: tokenExchangeID, TenantID: tenantID, MultiTenant: true,
		AppIDURI: tokenExchangeURI, TokenVersion: 2,
	})
}

// checkBlueprint checks an agent identity.
func (reg *registry) checkBlueprint(a *App) error {
	if a.Blueprint == "" {
		return nil
	}
	blueprint := reg.appByName[a.Blueprint]
	switch {
	case blueprint == nil || blueprint == a || blueprint.Blueprint != "":
		return fmt.Errorf("%q is not an agent identity blueprint", a.Blueprint)
	case !blueprint.MultiTenant && blueprint.TenantID != a.TenantID:
		return errors.New("the blueprint is in another tenant")
	case a.MultiTenant:
		return errors.New("an agent identity works in one tenant")
	case a.Public || len(a.Secrets)+len(a.ExpiredSecrets)+len(a.Certificates)+len(a.TrustedSubjects)+len(a.Federated) > 0:
		return errors.New("an agent identity cannot have credentials or be a public client")
	case len(a.allRedirectURIs()) > 0:
		return errors.New("an agent identity cannot have redirect URIs")
	}
	return nil
}

// checkAgentUser checks the user account of an agent. The tenant of u must be its ID.
func (reg *registry) checkAgentUser(u *User) error {
	if u.AgentIdentity == "" {
		return nil
	}
	agent := reg.appByName[u.AgentIdentity]
	if agent == nil || agent.Blueprint == "" || agent.TenantID != u.TenantID {
		return fmt.Errorf("%q is not an agent identity of the user's tenant", u.AgentIdentity)
	}
	return nil
}

// blueprintOf returns the blueprint of an agent identity, and any other app itself.
func (reg *registry) blueprintOf(a *App) *App {
	if a.Blueprint == "" {
		return a
	}
	return reg.appByName[a.Blueprint]
}

// Facets in the claims of agents
// (https://learn.microsoft.com/entra/agent-id/agent-token-claims).
const (
	facetAgentIdentity = "11"
	facetAgentUser     = "13"
)

// addAgentClaims adds the claims of a token for an agent identity.
func (reg *registry) addAgentClaims(c claimSet, t *accessToken) {
	if t.client.Blueprint == "" {
		return
	}
	c["xms_par_app_azp"] = reg.blueprintOf(t.client).ClientID
	c["xms_act_fct"] = facetAgentIdentity
	c["xms_idrel"] = "1"
	switch {
	case t.user == nil:
		c["xms_idrel"], c["xms_sub_fct"] = "7", facetAgentIdentity
	case t.user.AgentIdentity != "":
		c["xms_sub_fct"] = facetAgentUser
	}
}

// grantTokenExchange serves a client credentials request for an exchange token: that of a blueprint for the agent
// identity in fmi_path (T1), or that of an agent identity for its user (T2)
// (https://learn.microsoft.com/entra/agent-id/agent-user-oauth-flow).
func (s *Server) grantTokenExchange(g *grantRequest, resource *App) (*response, *aadstsError) {
	t := &accessToken{
		request: g.request, tenant: g.tenant, client: g.client, class: g.class, resource: resource,
		lifetime: s.tokenLifetime(resource, g.claims), claims: g.claims,
	}
	payload := s.appClaims(t)
	payload["aud"] = g.client.ClientID
	if path := g.form.Get("fmi_path"); path != "" {
		agent := s.registry.appByID[strings.ToLower(path)]
		if agent == nil || agent.Blueprint != g.client.Name || !agent.worksIn(g.tenant) {
			return nil, newError(700016, "The blueprint '%s' has no agent identity '%s' in the directory '%s'.",
				g.client.ClientID, printable(path), g.tenant.Name)
		}
		payload["sub"] = agentSubject(g.tenant, g.client, agent)
	}
	return s.accessTokenResponse(map[string]any{}, t, payload), nil
}

// agentSubject returns the subject of an exchange token of a blueprint for an agent identity.
func agentSubject(t *Tenant, blueprint, agent *App) string {
	return "/eid1/c/pub/t/" + t.ID + "/a/" + blueprint.ClientID + "/" + agent.ClientID
}

// checkAgentAssertion checks the client assertion of an agent identity, which is an exchange token of its blueprint.
func (s *Server) checkAgentAssertion(r *request, agent *App, raw, kind string) *aadstsError {
	switch {
	case raw == "":
		return credentialRequiredError()
	case kind != assertionType:
		return newError(90023, "The client_assertion_type is not '%s'.", assertionType)
	case r.tenant == nil:
		return newError(50059, "The request does not identify a tenant.")
	}
	blueprint := s.registry.blueprintOf(agent)
	return s.checkExchangeToken(r, r.tenant, raw, blueprint, agentSubject(r.tenant, blueprint, agent))
}

// checkExchangeToken checks that raw is an exchange token for the audience with the subject.
func (s *Server) checkExchangeToken(
	r *request, tenant *Tenant, raw string, audience *App, subject string,
) *aadstsError {
	t, err := parseJWT(raw)
	if err != nil {
		return newError(50027, "The exchange token cannot be read as a JWT.")
	}
	key := s.publishedKey(t.header.stringClaim("kid"))
	switch {
	case key == nil || !t.signedBy(&key.private.PublicKey, "RS256"):
		return newError(700027, "The signature of the exchange token is not valid for a published key.")
	case !slices.Contains(s.issuers(r, tenant), t.payload.stringClaim("iss")):
		return newError(700211, "The exchange token has the issuer '%s', which is not that of the tenant.",
			printable(t.payload.stringClaim("iss")))
	case !slices.Contains(t.audiences(), audience.ClientID):
		return newError(700212, "The exchange token has the audience '%s'. It must be '%s'.",
			printable(strings.Join(t.audiences(), " ")), audience.ClientID)
	case t.payload.stringClaim("sub") != subject:
		return newError(700213, "The exchange token has the subject '%s', which is another identity.",
			printable(t.payload.stringClaim("sub")))
	case s.isRevoked(t.payload.stringClaim("uti")):
		return newError(700024, "The exchange token has been revoked.")
	}
	return checkTimes(r.now, t)
}

// grantUserFIC issues a token for the user account of an agent identity
// (https://learn.microsoft.com/entra/agent-id/agent-user-oauth-flow).
func (s *Server) grantUserFIC(g *grantRequest) (*response, *aadstsError) {
	name, id := g.form.Get("username"), g.form.Get("user_id")
	raw := g.form.Get("user_federated_identity_credential")
	switch use := g.form.Get("requested_token_use"); {
	case g.client.Blueprint == "":
		return nil, newError(70003, "The grant_type '%s' is not supported for an app that is not an agent identity.",
			grantTypeUserFIC)
	case raw == "":
		return nil, missingParameter("user_federated_identity_credential")
	case name == "" && id == "":
		return nil, missingParameter("username")
	case name != "" && id != "":
		return nil, newError(90023, "The request has both a username and a user_id.")
	case use != "" && use != "on_behalf_of":
		return nil, newError(90023, "The requested_token_use is not 'on_behalf_of'.")
	case g.scope == "":
		return nil, missingParameter("scope")
	}
	if aerr := s.checkExchangeToken(g.request, g.tenant, raw, g.client, g.client.objectIDIn(g.tenant)); aerr != nil {
		return nil, aerr.asGrantError() // the client was authenticated by its assertion
	}
	u := s.registry.userByName[strings.ToLower(name)]
	if id != "" {
		u = s.registry.userByID(id, g.tenant)
	}
	switch {
	case u == nil || u.TenantID != g.tenant.ID:
		return nil, newError(50034, "The user %s does not exist in the directory.", printable(name+id))
	case u.AgentIdentity != g.client.Name:
		return nil, newError(700213, "The user is not the user account of the agent identity '%s'.", g.client.ClientID).
			asGrantError()
	}
	g.auth = s.newAuthentication(u, g.now)
	var aerr *aadstsError
	if g.user, aerr = s.activeUser(&g.auth); aerr != nil {
		return nil, aerr
	}
	return s.userTokenResponse(g)
}

// asGrantError returns the error of a grant instead of that of a client.
func (aerr *aadstsError) asGrantError() *aadstsError {
	aerr.code, aerr.status = "invalid_grant", 400
	return aerr
}

// AddSampleAgents adds an agent to a Config for examples and tests: the blueprint "blueprint" with the secret
// "blueprint-secret", its agent identities "agent" and "agent-2", and their user accounts agent@ and agent-2@
// contoso.onmicrosoft.com. cfg is that of [Sample].
//
// The blueprint exposes the scope Agent.Run. The agent identities have the app role Orders.Read.All and the scope
// Orders.Read of api-b.
func AddSampleAgents(cfg *Config) {
	permissions := []Permission{
		{Resource: "api://api-b", Roles: []string{"Orders.Read.All"}, Scopes: []string{"Orders.Read"}},
	}
	cfg.Apps = append(cfg.Apps, App{
		Name: "blueprint", ClientID: "aaaaaaaa-0000-4000-8000-0000000000b1", TenantID: SampleTenant,
		AppIDURI: "api://blueprint",
		Secrets:  []string{"blueprint-secret"}, Scopes: []string{"Agent.Run"}, TokenVersion: 2,
	}, App{
		Name: "agent", ClientID: "aaaaaaaa-0000-4000-8000-0000000000a1", TenantID: SampleTenant, Blueprint: "blueprint",
		Permissions: permissions,
	}, App{
		Name: "agent-2", ClientID: "aaaaaaaa-0000-4000-8000-0000000000a2", TenantID: SampleTenant, Blueprint: "blueprint",
		Permissions: permissions,
	})
	for _, name := range []string{"agent", "agent-2"} {
		cfg.Users = append(cfg.Users, User{
			Username: name + "@contoso.onmicrosoft.com", TenantID: SampleTenant, AgentIdentity: name,
		})
	}
}
