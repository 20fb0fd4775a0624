package entratest

import (
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"slices"
	"strings"
	"time"
)

// checkAssertion checks a client assertion: signed with a certificate of the
// app (https://learn.microsoft.com/entra/identity-platform/certificate-credentials)
// or by an issuer it is federated with
// (https://learn.microsoft.com/entra/workload-id/workload-identity-federation).
func (s *Server) checkAssertion(r *request, app *App, raw string) *refusal {
	t, err := parseJWT(raw)
	if err != nil {
		return refuse(50027, "The client assertion cannot be read as a JWT.")
	}
	iss, sub := t.payload.text("iss"), t.payload.text("sub")
	if !strings.EqualFold(iss, app.ClientID) {
		return checkFederated(r, app, t)
	}
	if !strings.EqualFold(sub, app.ClientID) {
		return refuse(700027, "The client assertion names another subject than its issuer; both must be the client ID.")
	}
	cert, f := assertionCertificate(r, app, t)
	if f != nil {
		return f
	}
	if !t.signedBy(cert.PublicKey, "RS256", "PS256") {
		return refuse(700027, "The client assertion names a registered certificate, but its signature is not by that certificate's key.")
	}
	if r.now.After(cert.NotAfter) {
		return refuse(700027, "The client assertion is signed with a certificate that has expired.")
	}
	if !slices.ContainsFunc(t.audiences(), func(aud string) bool { return s.namesTokenEndpoint(r, aud) }) {
		return refuse(700023, "The audience of the client assertion is not the token endpoint of this tenant.")
	}
	return checkTimes(r.now, t)
}

func checkTimes(now time.Time, t *jwt) *refusal {
	exp, hasExp := t.payload.number("exp")
	nbf, hasNbf := t.payload.number("nbf")
	if _, sent := t.payload["nbf"]; sent != hasNbf || !hasExp || now.Unix() >= exp || now.Add(5*time.Minute).Unix() < nbf {
		return refuse(700024, "The client assertion is used outside its time. It is %s now; the assertion is good from %s to %s.",
			now.UTC().Format(time.RFC3339), time.Unix(nbf, 0).UTC().Format(time.RFC3339), time.Unix(exp, 0).UTC().Format(time.RFC3339))
	}
	return nil
}

// assertionCertificate is the certificate that the header of an assertion
// names, if the app trusts it.
func assertionCertificate(r *request, app *App, t *jwt) (*x509.Certificate, *refusal) {
	for _, c := range app.Certificates {
		one, two := sha1.Sum(c.Raw), sha256.Sum256(c.Raw)
		if sameThumbprint(t.header.text("x5t"), one[:]) || sameThumbprint(t.header.text("x5t#S256"), two[:]) || sameThumbprint(t.header.text("kid"), one[:]) {
			return c, nil
		}
	}
	chain, ok := headerChain(t)
	if !ok {
		if t.header.text("x5t") == "" && t.header.text("x5t#S256") == "" && t.header.text("kid") == "" {
			return nil, refuse(50027, "The header of the client assertion names no certificate: it has no x5t, x5t#S256, kid or x5c.")
		}
		return nil, refuse(700027, "The client assertion names a certificate that is not registered with the app.")
	}
	if len(app.TrustedSubjects) == 0 {
		return nil, refuse(700027, "The client assertion names a certificate that is not registered with the app.")
	}
	leaf, between := chain[0], x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	for _, trusted := range app.TrustedSubjects {
		if !strings.EqualFold(leaf.Subject.CommonName, trusted.Subject) && !containsFold(leaf.DNSNames, trusted.Subject) {
			continue
		}
		// Whether the leaf has expired is the caller's question; the chain is
		// judged at a time when the leaf was good.
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: trusted.Roots, Intermediates: between, CurrentTime: leaf.NotBefore.Add(time.Second),
			KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		if err == nil {
			return leaf, nil
		}
	}
	return nil, refuse(700030, "The app trusts no certificate of this subject and issuer: %s.", quote(leaf.Subject.CommonName))
}

// headerChain reads x5c (RFC 7515 section 4.1.6), which MSAL sends as an array
// and some clients as one string.
func headerChain(t *jwt) ([]*x509.Certificate, bool) {
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

// sameThumbprint compares a header's thumbprint, which clients write in either
// base64 alphabet, padded or not, or in hex.
func sameThumbprint(text string, sum []byte) bool {
	if text == "" {
		return false
	}
	for _, decode := range []func(string) ([]byte, error){
		b64.DecodeString, base64.URLEncoding.DecodeString, base64.StdEncoding.DecodeString, base64.RawStdEncoding.DecodeString, hex.DecodeString,
	} {
		if got, err := decode(text); err == nil && slices.Equal(got, sum) {
			return true
		}
	}
	return false
}

// namesTokenEndpoint reports whether a client assertion's audience is the token
// endpoint, or the issuer, of the request's tenant.
func (s *Server) namesTokenEndpoint(r *request, aud string) bool {
	u, err := url.Parse(aud)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return false
	}
	base := u.Scheme + "://" + strings.ToLower(u.Host)
	if cloud := cloudHost(strings.ToLower(u.Host)); cloud != "" && u.Scheme == "https" && r.base == "https://"+cloud {
		base = r.base
	}
	if base != r.base {
		return false
	}
	name, rest, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	name = strings.ToLower(name)
	if name != r.name && (r.tenant == nil || s.estate.tenant[name] != r.tenant) {
		return false
	}
	switch strings.ToLower(strings.TrimSuffix(rest, "/")) {
	case "oauth2/v2.0/token", "oauth2/token", "v2.0", "":
		return true
	}
	return false
}

// checkFederated checks an assertion of another issuer.
func checkFederated(r *request, app *App, t *jwt) *refusal {
	iss, sub := t.payload.text("iss"), t.payload.text("sub")
	failed := refuse(700211, "The app has no federated credential for the assertion's issuer '%s'.", quote(iss))
	for _, fed := range app.Federated {
		if fed.Issuer != iss {
			continue
		}
		audience := fed.Audience
		if audience == "" {
			audience = "api://AzureADTokenExchange"
		}
		switch {
		case fed.Subject != sub:
			failed = refuse(700213, "The app has no federated credential of that issuer for the assertion's subject '%s'.", quote(sub))
		case !slices.Contains(t.audiences(), audience):
			failed = refuse(700212, "The app has no federated credential of that issuer and subject for the assertion's audience '%s'.", quote(strings.Join(t.audiences(), " ")))
		case !t.signedBy(fed.Key, "RS256", "PS256", "ES256"):
			failed = refuse(700027, "The federated issuer's key did not sign the client assertion.")
		default:
			return checkTimes(r.now, t)
		}
	}
	return failed
}
