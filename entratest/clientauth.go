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
		return nil, refuse(700016, "There is no app with the identifier '%s' in the directory '%s'. It may be registered in another tenant.", quote(id), where)
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
		return nil, "", refuse(50194, "The app '%s' (%s) belongs to one tenant alone, and must be used at that tenant's endpoint rather than at common or organizations.", app.ClientID, app.Name)
	}
	if r.name == "consumers" {
		return nil, "", notPersonal(app)
	}
	assertion, kind := r.form.Get("client_assertion"), r.form.Get("client_assertion_type")
	switch {
	case app.Public && (r.secret != "" || assertion != ""):
		return nil, "", refuse(700025, "A public client sends neither a client_secret nor a client_assertion.")
	case app.Public:
		return app, "0", nil
	case r.secret != "" && assertion != "":
		return nil, "", refuse(90023, "Either a client_secret or a client_assertion is sent, not both.")
	case assertion != "" && kind != assertionType:
		return nil, "", refuse(90023, "The client_assertion_type is not '%s'.", assertionType)
	case assertion != "":
		return app, "2", s.checkAssertion(r, s.proofOf(app), assertion)
	case r.secret != "":
		return app, "1", checkSecret(s.proofOf(app), r.secret)
	}
	return nil, "", refuse(7000218, "The client has to prove itself with a 'client_secret' or a 'client_assertion'.")
}

func notPersonal(app *App) *refusal {
	return refuse(9002332, "The app '%s' (%s) is not for personal accounts, so not for the consumers endpoint.", app.ClientID, app.Name)
}

func missing(parameter string) *refusal {
	return refuse(900144, "The parameter '%s' is missing.", parameter)
}

func checkSecret(app *App, secret string) *refusal {
	if hasSecret(app.Secrets, secret) {
		return nil
	}
	if hasSecret(app.ExpiredSecrets, secret) {
		return refuse(7000222, "The client secret is one of the app '%s', but it has expired.", app.ClientID)
	}
	return refuse(7000215, "The client secret is none of the app '%s'. A secret's value is wanted, not its ID.", app.ClientID)
}

func hasSecret(secrets []string, secret string) bool {
	for _, s := range secrets {
		if s != "" && subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
			return true
		}
	}
	return false
}
