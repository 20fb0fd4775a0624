package credentials

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// Audience is the usual audience of the tokens of other issuers that serve as client
// assertions, in the public cloud. The app's federated credential names it.
const Audience = "api://AzureADTokenExchange"

// AudienceFor returns the audience that Microsoft recommends for federated credentials in
// a cloud. It is api://AzureADTokenExchangeUSGov for US Government,
// api://AzureADTokenExchangeChina for China, and [Audience] for the others.
//
// Source: "Configure an application to trust a managed identity" in Microsoft's
// documentation of Workload ID.
func AudienceFor(cloud entra.Cloud) string {
	switch entra.Cloud(cloud.Host()) {
	case entra.CloudUSGovernment, "login-us.microsoftonline.com": // the latter is MSAL's legacy host
		return Audience + "USGov"
	case entra.CloudChina:
		return Audience + "China"
	}
	return Audience
}

// maxAssertionAge bounds how long an assertion is used before a new one is requested.
const maxAssertionAge = time.Hour

// AssertionFunc returns a credential whose client assertion comes from a callback. The
// assertion is a JWT of another issuer, which the app registration trusts as a federated
// credential.
//
// Assertions are cached, because token services are slow and limit requests. After four
// fifths of its lifetime, but at most one hour, get is called in the background for a new
// one. An assertion is not used in its last minute, or in the last tenth of a lifetime
// under ten minutes. The lifetime is read from the exp claim. An assertion without exp is
// not cached. If Entra rejects an assertion, get is called at once.
//
// At most one call of get is in flight. get must return when its context ends, which is
// after 20 seconds at most. Its error becomes the Err of an [*entra.Error], which is
// Temporary if get's error is an [*entra.Error] that is Temporary.
//
// All requests share one assertion. An assertion that the app signs itself depends on the
// request, since its audience is the token endpoint. Use [entra.Assertion] for that.
func AssertionFunc(get func(context.Context) (string, error)) entra.Credential {
	if get == nil {
		return entra.Assertion(nil) // which entra.New rejects
	}
	return newAssertion("client assertion", func(ctx context.Context) (string, time.Time, error) {
		s, err := get(ctx)
		return s, time.Time{}, err
	})
}

// newAssertion returns a credential whose assertions come from get, with their expiry if
// it is known. If the assertion's exp is earlier, exp counts.
func newAssertion(kind string, get func(context.Context) (string, time.Time, error)) entra.Credential {
	return (&callback{
		kind: kind,
		get: func(ctx context.Context) (value, error) {
			s, expiry, err := get(ctx)
			if err != nil {
				return value{}, err
			}
			claims, ok := parseClaims(s)
			if !ok {
				return value{}, errors.New("the assertion is not a JWT")
			}
			if !expiry.IsZero() && (claims.expiry.IsZero() || expiry.Before(claims.expiry)) {
				claims.expiry = expiry
			}
			v := value{text: func() string { return s }, newCredential: func() entra.Credential {
				return staticAssertion(s).WithInfo(func() (info entra.CredentialInfo) {
					claims.describe(&info)
					return info
				})
			}}
			v.refreshAt, v.expiresAt = assertionSchedule(time.Now(), claims.expiry)
			return v, nil
		},
	}).credential()
}

// assertionSchedule returns when to request a new assertion, and when to stop using one
// with the given expiry.
func assertionSchedule(now, expiry time.Time) (refreshAt, expiresAt time.Time) {
	lifetime := expiry.Sub(now)
	if expiry.IsZero() || lifetime <= 0 { // only Entra's clock decides whether it is valid
		return now, now
	}
	return now.Add(min(lifetime*4/5, maxAssertionAge)), expiry.Add(-min(lifetime/10, time.Minute))
}

// staticAssertion returns a credential that always sends the assertion s.
func staticAssertion(s string) entra.Credential {
	return entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) { return s, nil })
}

// tokenClaims are the claims of a JWT that describe it (RFC 7519, section 4.1). Claims
// that are missing or have another type are zero.
type tokenClaims struct {
	issuer, subject string
	audience        []string
	expiry          time.Time
}

// parseClaims returns the claims of a JWT and whether s is one. It verifies nothing, since
// the JWT is sent to Entra and not accepted here.
func parseClaims(s string) (c tokenClaims, ok bool) {
	parts := strings.SplitN(s, ".", 4)
	if len(parts) != 3 {
		return c, false
	}
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, isNotBase64URL) {
			return c, false
		}
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return c, false
	}
	var claims struct {
		Iss, Sub, Aud any
		Exp           json.Number
	}
	if json.Unmarshal(payload, &claims) != nil {
		return c, false
	}
	c.issuer, _ = claims.Iss.(string)
	c.subject, _ = claims.Sub.(string)
	switch aud := claims.Aud.(type) {
	case string:
		c.audience = []string{aud}
	case []any:
		for _, a := range aud {
			if s, ok := a.(string); ok {
				c.audience = append(c.audience, s)
			}
		}
	}
	if seconds, err := claims.Exp.Float64(); err == nil && seconds > 0 && seconds < 1<<40 {
		c.expiry = time.Unix(int64(seconds), 0)
	}
	return c, true
}

func isNotBase64URL(c rune) bool {
	return (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_'
}

// describe sets the fields of info that describe the token.
func (c *tokenClaims) describe(info *entra.CredentialInfo) {
	info.Issuer, info.Subject, info.Audience = c.issuer, c.subject, c.audience
	if !c.expiry.IsZero() {
		info.NotAfter = c.expiry.UTC()
	}
}
