package entratest_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

const (
	blueprint     = "aaaaaaaa-0000-4000-8000-0000000000b1"
	agent         = "aaaaaaaa-0000-4000-8000-0000000000a1"
	otherAgent    = "aaaaaaaa-0000-4000-8000-0000000000a2"
	exchangeScope = "api://AzureADTokenExchange/.default"
	jwtBearer     = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
)

func agents() *entratest.Server {
	cfg := entratest.Sample()
	entratest.AddSampleAgents(&cfg)
	return entratest.NewServer(cfg)
}

// exchangeToken returns the blueprint's exchange token for an agent identity (T1).
func exchangeToken(t testing.TB, s *entratest.Server, agent string) string {
	t.Helper()
	resp := tokenRequest(t, s, tenant, "grant_type", "client_credentials", "client_id", blueprint,
		"client_secret", "blueprint-secret", "scope", exchangeScope, "fmi_path", agent)
	wantToken(t, resp)
	return resp.stringField("access_token")
}

// asAgent sends a token request of an agent identity that t1 authenticates.
func asAgent(t testing.TB, s *entratest.Server, t1 string, pairs ...string) response {
	t.Helper()
	return tokenRequest(t, s, tenant, append([]string{
		"client_id", agent, "client_assertion_type", jwtBearer, "client_assertion", t1,
	}, pairs...)...)
}

// userExchangeToken returns the agent's exchange token for its user (T2).
func userExchangeToken(t testing.TB, s *entratest.Server, t1 string) string {
	t.Helper()
	resp := asAgent(t, s, t1, "grant_type", "client_credentials", "scope", exchangeScope)
	wantToken(t, resp)
	return resp.stringField("access_token")
}

// The three flows of agents are those of Microsoft's pages.
func TestAgentIdentities(t *testing.T) {
	s := agents()
	t1 := exchangeToken(t, s, agent)
	wantAgent := func(c claims, idtyp, sub string) {
		t.Helper()
		if c.stringClaim("azp") != agent || c.stringClaim("azpacr") != "2" || c.stringClaim("xms_par_app_azp") != blueprint ||
			c.stringClaim("xms_act_fct") != "11" || c.stringClaim("xms_sub_fct") != sub || c.stringClaim("idtyp") != idtyp {
			t.Errorf("got %v", c)
		}
	}
	app := wantToken(t, asAgent(t, s, t1, "grant_type", "client_credentials", "scope", "api://api-b/.default"))
	wantAgent(app, "app", "11")
	if app.joined("roles") != "Orders.Read.All" || app.stringClaim("xms_idrel") != "7" {
		t.Errorf("got %v", app)
	}

	assertion := s.Mint(entratest.MintOptions{Resource: "blueprint", Client: "webapp", User: alice})
	obo := wantToken(t, asAgent(t, s, t1, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer",
		"scope", "api://api-b/Orders.Read", "assertion", assertion, "requested_token_use", "on_behalf_of"))
	wantAgent(obo, "", "")
	if obo.stringClaim("scp") != "Orders.Read" || obo.stringClaim("preferred_username") != alice ||
		obo.stringClaim("xms_idrel") != "1" {
		t.Errorf("got %v", obo)
	}

	t2 := userExchangeToken(t, s, t1)
	for _, user := range [][]string{
		{"username", "agent@contoso.onmicrosoft.com"}, {"user_id", s.User("agent@contoso.onmicrosoft.com").ObjectID},
		{"username", "agent@contoso.onmicrosoft.com", "requested_token_use", "on_behalf_of"},
	} {
		own := wantToken(t, asAgent(t, s, t1, append([]string{"grant_type", "user_fic",
			"user_federated_identity_credential", t2, "scope", "api://api-b/Orders.Read"}, user...)...))
		wantAgent(own, "", "13")
		if own.stringClaim("preferred_username") != "agent@contoso.onmicrosoft.com" {
			t.Errorf("got %v", own)
		}
	}
}

// Exchange tokens only work for the agent identity that they name, and agents cannot do more than the documented flows.
func TestAgentErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := agents()
		t1, otherT1 := exchangeToken(t, s, agent), exchangeToken(t, s, otherAgent)
		t2 := userExchangeToken(t, s, t1)
		app := []string{"grant_type", "client_credentials", "scope", "api://api-b/.default"}
		wantError(t, asAgent(t, s, otherT1, app...), 401, "invalid_client", 700213)
		wantError(t, asAgent(t, s, t2, app...), 401, "invalid_client", 700212)
		wantError(t, asAgent(t, s, "x", app...), 401, "invalid_client", 50027)
		wantError(t, asAgent(t, s, t1[:strings.LastIndex(t1, ".")]+".AAAA", app...), 401, "invalid_client", 700027)
		wantError(t, tokenRequest(t, s, tenant, append([]string{"client_id", agent}, app...)...), 401, "invalid_client", 7000218)
		wantError(t, tokenRequest(t, s, tenant, append([]string{"client_id", agent, "client_secret", "s"}, app...)...), 401,
			"invalid_client", 7000218)
		wantError(t, tokenRequest(t, s, tenant, "grant_type", "client_credentials", "client_id", blueprint, "client_secret",
			"blueprint-secret", "scope", exchangeScope, "fmi_path", daemon), 400, "unauthorized_client", 700016)
		wantError(t, tokenRequest(t, s, tenant, "grant_type", "client_credentials", "client_id", daemon, "client_secret",
			"daemon-secret", "scope", exchangeScope, "fmi_path", agent), 400, "unauthorized_client", 700016)

		own := func(credential string, pairs ...string) response {
			t.Helper()
			return asAgent(t, s, t1, append([]string{"grant_type", "user_fic", "scope", "api://api-b/Orders.Read",
				"user_federated_identity_credential", credential}, pairs...)...)
		}
		const user = "agent@contoso.onmicrosoft.com"
		wantError(t, own(t1, "username", user), 400, "invalid_grant", 700212)
		wantError(t, own(t2, "username", alice), 400, "invalid_grant", 700213)
		wantError(t, own(t2, "username", "agent-2@contoso.onmicrosoft.com"), 400, "invalid_grant", 700213)
		wantError(t, own(t2, "username", "nobody@contoso.onmicrosoft.com"), 400, "invalid_grant", 50034)
		wantError(t, own(t2), 400, "invalid_request", 900144)
		wantError(t, own("", "username", user), 400, "invalid_request", 900144)
		wantError(t, own(t2, "username", user, "user_id", "x"), 400, "invalid_request", 90023)
		wantError(t, own(t2, "username", user, "requested_token_use", "x"), 400, "invalid_request", 90023)
		wantError(t, tokenRequest(t, s, tenant, "grant_type", "user_fic", "client_id", daemon, "client_secret", "daemon-secret",
			"scope", "api://api-b/Orders.Read"), 400, "unsupported_grant_type", 70003)
		forAnother := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
		wantError(t, asAgent(t, s, t1, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer", "scope",
			"api://api-b/Orders.Read", "assertion", forAnother, "requested_token_use", "on_behalf_of"), 400, "invalid_grant", 500131)

		if !s.RevokeToken(t2) {
			t.Error("got no token to revoke")
		}
		wantError(t, own(t2, "username", user), 400, "invalid_grant", 700024)
		time.Sleep(2 * time.Hour)
		wantError(t, asAgent(t, s, t1, app...), 401, "invalid_client", 700024)
	})
}

// A Config with an invalid agent is rejected.
func TestInvalidAgents(t *testing.T) {
	for name, change := range map[string]func(*entratest.Config){
		`app "agent": an agent identity cannot have credentials or be a public client`: func(c *entratest.Config) {
			c.Apps[5].Secrets = []string{"s"}
		},
		`app "agent": an agent identity works in one tenant`: func(c *entratest.Config) { c.Apps[5].MultiTenant = true },
		`app "agent": "agent-2" is not an agent identity blueprint`: func(c *entratest.Config) {
			c.Apps[5].Blueprint = "agent-2"
		},
		`app "agent": the blueprint is in another tenant`: func(c *entratest.Config) { c.Apps[5].TenantID = fabrikam },
		`app "agent": an agent identity cannot have redirect URIs`: func(c *entratest.Config) {
			c.Apps[5].RedirectURIs = []string{callback}
		},
		`user "agent@contoso.onmicrosoft.com": "daemon" is not an agent identity of the user's tenant`: func(c *entratest.Config) {
			c.Users[3].AgentIdentity = "daemon"
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := entratest.Sample()
			entratest.AddSampleAgents(&cfg)
			change(&cfg)
			defer func() {
				if got, _ := recover().(string); !strings.Contains(got, name) {
					t.Errorf("got %q, want %q", got, name)
				}
			}()
			entratest.NewServer(cfg)
		})
	}
}
