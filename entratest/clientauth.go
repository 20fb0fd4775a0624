package entratest

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// findClient returns the app with the given client ID in the tenant. t is nil for
// common and organizations.
func (s *Server) findClient(id string, t *Tenant) (*App, *aadstsError) {
	app := s.registry.appByID[strings.ToLower(id)]
	if app == nil || t != nil && !app.worksIn(t) {
		where := ""
		if t != nil {
			where = t.Name
		}
		return nil, newError(700016, "The app with the identifier '%s' was not found in the directory '%s'. "+
			"It may be registered in another tenant.", printable(id), where)
	}
	return app, nil
}

// authenticateClient returns the authenticated client of a token request. class
// is the value of the claims appidacr and azpacr: 0 for a public client, 1 for a
// secret, 2 for an assertion.
func (s *Server) authenticateClient(r *request) (app *App, class string, aerr *aadstsError) {
	if r.clientID == "" {
		return nil, "", missingParameter("client_id")
	}
	app, aerr = s.findClient(r.clientID, r.tenant)
	if aerr != nil {
		return nil, "", aerr
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, "", singleTenantError(app)
	}
	if r.tenantName == "consumers" {
		return nil, "", personalAccountsError(app)
	}
	assertion, kind := r.form.Get("client_assertion"), r.form.Get("client_assertion_type")
	platform := s.grantPlatform(r, app)
	if aerr := checkOrigin(r, platform); aerr != nil {
		return nil, "", aerr
	}
	public := app.Public || platform == platformSPA || platform == platformPublic && r.secret+assertion == ""
	switch {
	case app.Blueprint != "":
		return app, "2", s.checkAgentAssertion(r, app, assertion, kind)
	case public && (r.secret != "" || assertion != ""):
		return nil, "", newError(700025, "A public client must not send a client_secret or a client_assertion.")
	case public:
		return app, "0", nil
	case r.secret != "" && assertion != "":
		return nil, "", newError(90023, "The request has both a client_secret and a client_assertion.")
	case assertion != "" && kind != assertionType:
		return nil, "", newError(90023, "The client_assertion_type is not '%s'.", assertionType)
	case assertion != "":
		return app, "2", s.checkAssertion(r, s.currentApp(app), assertion)
	case r.secret != "":
		return app, "1", checkSecret(s.currentApp(app), r.secret)
	}
	return nil, "", credentialRequiredError()
}

// grantPlatform returns the platform of the redirect URI to which the grant in r was
// issued.
func (s *Server) grantPlatform(r *request, app *App) platform {
	var c code
	var t refreshToken
	switch r.form.Get("grant_type") {
	case grantTypeCode:
		if s.unseal("code", r.form.Get("code"), &c) && c.Client == app.ClientID {
			return c.Platform
		}
	case grantTypeRefresh:
		if s.unseal("refresh", r.form.Get("refresh_token"), &t) && t.Client == app.ClientID {
			return t.Platform
		}
	}
	return platformWeb
}

// checkOrigin requires that scripts redeem the grants of single-page apps, and no
// others (AzureAD/microsoft-authentication-library-for-js#2482,
// MicrosoftDocs/azure-docs#100859).
func checkOrigin(r *request, p platform) *aadstsError {
	origin := r.http.Header.Get("Origin")
	switch {
	case p == platformSPA && origin == "":
		return newError(9002327, "A grant of a single-page app must be redeemed by a cross-origin request.")
	case p != platformSPA && origin != "":
		return newError(9002326, "A cross-origin request can only redeem a grant of a single-page app. "+
			"The redirect URI must have the type 'spa'. The origin is '%s'.", printable(origin))
	}
	return nil
}

func credentialRequiredError() *aadstsError {
	return newError(7000218, "The request must contain a 'client_secret' or a 'client_assertion'.")
}

func singleTenantError(app *App) *aadstsError {
	return newError(50194, "The app '%s' (%s) is not multi-tenant. "+
		"Use the endpoint of its tenant instead of common or organizations.", app.ClientID, app.Name)
}

func personalAccountsError(app *App) *aadstsError {
	return newError(9002332, "The app '%s' (%s) does not support personal accounts. "+
		"Do not use the consumers endpoint.", app.ClientID, app.Name)
}

func missingParameter(parameter string) *aadstsError {
	return newError(900144, "The parameter '%s' is missing.", parameter)
}

func checkSecret(app *App, secret string) *aadstsError {
	if hasSecret(app.Secrets, secret) {
		return nil
	}
	if hasSecret(app.ExpiredSecrets, secret) {
		return newError(7000222, "The client secret of the app '%s' has expired.", app.ClientID)
	}
	return newError(7000215, "The client secret is not a secret of the app '%s'. "+
		"Send the value of a secret, not its ID.", app.ClientID)
}

func hasSecret(secrets []string, secret string) bool {
	for _, s := range secrets {
		if s != "" && subtle.ConstantTimeCompare([]byte(s), []byte(secret)) == 1 {
			return true
		}
	}
	return false
}

// checkAssertion checks a client assertion. It must be signed with a certificate
// of the app (https://learn.microsoft.com/entra/identity-platform/certificate-credentials)
// or by a federated issuer
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation).
func (s *Server) checkAssertion(r *request, app *App, raw string) *aadstsError {
	t, err := parseJWT(raw)
	if err != nil {
		return newError(50027, "The client assertion cannot be read as a JWT.")
	}
	iss, sub := t.payload.stringClaim("iss"), t.payload.stringClaim("sub")
	if !strings.EqualFold(iss, app.ClientID) {
		return checkFederated(r, app, t)
	}
	if !strings.EqualFold(sub, app.ClientID) {
		return newError(700027, "The issuer and the subject of the client assertion must be the client ID.")
	}
	cert, aerr := assertionCertificate(app, t)
	if aerr != nil {
		return aerr
	}
	if !t.signedBy(cert.PublicKey, "RS256", "PS256") {
		return newError(700027, "The signature of the client assertion is not valid for the certificate in its header.")
	}
	if r.now.After(cert.NotAfter) {
		return newError(700027, "The certificate that signed the client assertion has expired.")
	}
	if !slices.ContainsFunc(t.audiences(), func(aud string) bool { return s.isTokenEndpointAudience(r, aud) }) {
		return newError(700023, "The audience of the client assertion is not the token endpoint of this tenant.")
	}
	return checkTimes(r.now, t)
}

func checkTimes(now time.Time, t *jwt) *aadstsError {
	exp, hasExp := t.payload.intClaim("exp")
	nbf, hasNbf := t.payload.intClaim("nbf")
	if _, sent := t.payload["nbf"]; sent != hasNbf || !hasExp || now.Unix() >= exp || now.Add(5*time.Minute).Unix() < nbf {
		return newError(700024, "The client assertion is not valid now. The time is %s. It is valid from %s to %s.",
			now.UTC().Format(time.RFC3339), time.Unix(nbf, 0).UTC().Format(time.RFC3339),
			time.Unix(exp, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// assertionCertificate returns the certificate in the header of an assertion, if
// the app trusts it.
func assertionCertificate(app *App, t *jwt) (*x509.Certificate, *aadstsError) {
	for _, c := range app.Certificates {
		one, two := thumbprint(c.Raw), sha256.Sum256(c.Raw)
		if sameThumbprint(t.header.stringClaim("x5t"), one[:]) ||
			sameThumbprint(t.header.stringClaim("x5t#S256"), two[:]) ||
			sameThumbprint(t.header.stringClaim("kid"), one[:]) {
			return c, nil
		}
	}
	chain, ok := parseX5C(t)
	if !ok && t.header.stringClaim("x5t") == "" && t.header.stringClaim("x5t#S256") == "" &&
		t.header.stringClaim("kid") == "" {
		return nil, newError(50027, "The header of the client assertion has no x5t, x5t#S256, kid or x5c.")
	}
	if !ok || len(app.TrustedSubjects) == 0 {
		return nil, newError(700027, "The certificate of the client assertion is not registered with the app.")
	}
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, trusted := range app.TrustedSubjects {
		if !strings.EqualFold(leaf.Subject.CommonName, trusted.Subject) && !containsFold(leaf.DNSNames, trusted.Subject) {
			continue
		}
		// The caller checks whether the leaf has expired. The chain is verified at
		// a time when the leaf was valid.
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: trusted.Roots, Intermediates: between, CurrentTime: leaf.NotBefore.Add(time.Second),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return leaf, nil
		}
	}
	return nil, newError(700030, "The app does not trust the subject and issuer of the certificate %s.",
		printable(leaf.Subject.CommonName))
}

// parseX5C parses x5c (RFC 7515, section 4.1.6). MSAL sends an array, some
// clients send one string.
func parseX5C(t *jwt) ([]*x509.Certificate, bool) {
	var encoded []string
	switch x5c := t.header["x5c"].(type) {
	case string:
		encoded = []string{x5c}
	case []any:
		for _, e := range x5c {
			s, ok := e.(string)
			if !ok {
				return nil, false
			}
			encoded = append(encoded, s)
		}
	}
	if len(encoded) == 0 || len(encoded) > 10 {
		return nil, false
	}
	var chain []*x509.Certificate
	for _, e := range encoded {
		der, err := base64.StdEncoding.DecodeString(e)
		if err != nil {
			return nil, false
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, false
		}
		chain = append(chain, c)
	}
	return chain, true
}

// sameThumbprint reports whether text is the thumbprint sum. Clients send it in
// either base64 alphabet, padded or not, or in hex.
func sameThumbprint(text string, sum []byte) bool {
	if text == "" {
		return false
	}
	for _, decode := range []func(string) ([]byte, error){
		b64.DecodeString, base64.URLEncoding.DecodeString, base64.StdEncoding.DecodeString,
		base64.RawStdEncoding.DecodeString, hex.DecodeString,
	} {
		if got, err := decode(text); err == nil && slices.Equal(got, sum) {
			return true
		}
	}
	return false
}

// isTokenEndpointAudience reports whether aud, the audience of a client
// assertion, is the token endpoint or the issuer of the request's tenant.
func (s *Server) isTokenEndpointAudience(r *request, aud string) bool {
	u, err := url.Parse(aud)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	base := u.Scheme + "://" + strings.ToLower(u.Host)
	cloud := s.registry.canonicalHost(strings.ToLower(u.Host))
	if cloud != "" && u.Scheme == "https" && r.base == "https://"+cloud {
		base = r.base
	}
	if base != r.base {
		return false
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	name = strings.ToLower(name)
	if name != r.tenantName && (r.tenant == nil || s.registry.tenantByName[name] != r.tenant) {
		return false
	}
	switch strings.ToLower(strings.TrimSuffix(rest, "/")) {
	case "oauth2/v2.0/token", "oauth2/token", "v2.0", "":
		return true
	}
	return false
}

// checkFederated checks an assertion of a federated issuer.
func checkFederated(r *request, app *App, t *jwt) *aadstsError {
	iss, sub := t.payload.stringClaim("iss"), t.payload.stringClaim("sub")
	failed := newError(700211, "The app has no federated credential for the issuer '%s'.", printable(iss))
	for _, fed := range app.Federated {
		if fed.Issuer != iss {
			continue
		}
		audience := cmp.Or(fed.Audience, tokenExchangeURI)
		switch {
		case fed.Subject != sub:
			failed = newError(700213, "The app has no federated credential of this issuer for the subject '%s'.", printable(sub))
		case !slices.Contains(t.audiences(), audience):
			failed = newError(700212, "The app has no federated credential of this issuer and subject for the audience '%s'.",
				printable(strings.Join(t.audiences(), " ")))
		case !t.signedBy(fed.Key, "RS256", "PS256", "ES256"):
			failed = newError(700027, "The signature of the client assertion is not valid for the key of the federated issuer.")
		default:
			return checkTimes(r.now, t)
		}
	}
	return failed
}

// UpdateCredentials changes the credentials of the app with the given name while
// the server runs, as when an administrator adds a secret or removes a
// certificate. It calls change with a copy of the current app. change may set
// Secrets, ExpiredSecrets, Certificates, TrustedSubjects and Federated. The new
// values apply to requests that arrive after UpdateCredentials has returned.
// Tokens and sessions stay valid. change must not call methods of s.
//
// UpdateCredentials panics if the name is unknown, if the new credentials are
// invalid, or if change modifies another field.
func (s *Server) UpdateCredentials(app string, change func(*App)) {
	registered := s.mustAppByName(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	updated := *s.appLocked(registered)
	updated.Secrets = slices.Clone(updated.Secrets)
	updated.ExpiredSecrets = slices.Clone(updated.ExpiredSecrets)
	updated.Certificates = slices.Clone(updated.Certificates)
	updated.TrustedSubjects = slices.Clone(updated.TrustedSubjects)
	updated.Federated = slices.Clone(updated.Federated)
	change(&updated)
	rest := updated
	rest.Secrets, rest.ExpiredSecrets = registered.Secrets, registered.ExpiredSecrets
	rest.Certificates, rest.TrustedSubjects = registered.Certificates, registered.TrustedSubjects
	rest.Federated = registered.Federated
	if !reflect.DeepEqual(&rest, registered) {
		panic(fmt.Sprintf("entratest: UpdateCredentials of app %q modified a field that is not a credential", app))
	}
	if err := updated.checkCredentials(); err != nil {
		panic(fmt.Sprintf("entratest: UpdateCredentials of app %q: %v", app, err))
	}
	s.credentials[registered] = &updated
}

// currentApp returns the registered app a with its current credentials.
func (s *Server) currentApp(a *App) *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.appLocked(a)
}

// appLocked is like currentApp. s.mu must be locked.
func (s *Server) appLocked(a *App) *App {
	if updated := s.credentials[a]; updated != nil {
		return updated
	}
	return a
}
