package entratest

import (
	"crypto/subtle"
	"strings"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// findClient is the app of a client_id in the tenant, nil for common.
func (s *Server) findClient(id string, t *Tenant) (*App, *refusal) {
	app := s.estate.app[strings.ToLower(id)]
	if app == nil || t != nil && !app.servesTenant(t) {
		where := ""
		if t != nil {
			where = t.Name
		}
		return nil, refuse(700016, "Application with identifier '%s' was not found in the directory '%s'. This can happen if the application has not been installed by the administrator of the tenant or consented to by any user in the tenant. You may have sent your authentication request to the wrong tenant.", quote(id), where)
	}
	return app, nil
}

// authenticateClient finds the client of a token request and checks its proof.
// The class is that of the claims appidacr and azpacr: 0 for a public client, 1
// for a secret, 2 for an assertion.
func (s *Server) authenticateClient(r *request) (app *App, class string, f *refusal) {
	if r.clientID == "" {
		return nil, "", missing("client_id")
	}
	app, f = s.findClient(r.clientID, r.tenant)
	if f != nil {
		return nil, "", f
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, "", refuse(50194, "Application '%s'(%s) is not configured as a multi-tenant application. Usage of the /common endpoint is not supported for such applications. Use a tenant-specific endpoint or configure the application to be multi-tenant.", app.ClientID, app.Name)
	}
	assertion, kind := r.form.Get("client_assertion"), r.form.Get("client_assertion_type")
	switch {
	case app.Public && (r.secret != "" || assertion != ""):
		return nil, "", refuse(700025, "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.")
	case app.Public:
		return app, "0", nil
	case r.secret != "" && assertion != "":
		return nil, "", refuse(90023, "Only one of 'client_assertion' and 'client_secret' may be presented.")
	case assertion != "" && kind != assertionType:
		return nil, "", refuse(90023, "The 'client_assertion_type' must be '%s'.", assertionType)
	case assertion != "":
		return app, "2", s.checkAssertion(r, app, assertion)
	case r.secret != "":
		return app, "1", checkSecret(app, r.secret)
	}
	return nil, "", refuse(7000218, "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.")
}

func missing(parameter string) *refusal {
	return refuse(900144, "The request body must contain the following parameter: '%s'.", parameter)
}

func checkSecret(app *App, secret string) *refusal {
	if hasSecret(app.Secrets, secret) {
		return nil
	}
	if hasSecret(app.ExpiredSecrets, secret) {
		return refuse(7000222, "The provided client secret keys for app '%s' are expired. Visit the Azure portal to create new keys for your app: https://aka.ms/NewClientSecret, or consider using certificate credentials for added security: https://aka.ms/certCreds.", app.ClientID)
	}
	return refuse(7000215, "Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID, for a secret added to app '%s'.", app.ClientID)
}

func hasSecret(secrets []string, secret string) bool {
	for _, s := range secrets {
		if s != "" && subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
			return true
		}
	}
	return false
}
