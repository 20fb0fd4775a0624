package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/internal/guid"
)

// checkToken requests a token and checks its claims.
func (d *doctor) checkToken(ctx context.Context) {
	s := Step{Name: tokenStep, Status: StatusOK}
	source := clientcreds.TokenSource(d.client, d.Scope)
	start := time.Now()
	tok, err := source.TokenContext(ctx)
	s.Took = time.Since(start)
	if err != nil {
		s.Status, s.Text = StatusFail, describe(err)
		if f := failureOf(err); f != nil {
			s.AADSTS, s.CorrelationID, s.TraceID = f.codes, f.correlationID, f.traceID
			s.Advice = f.advice(d.facts())
		}
		if s.Advice == "" {
			s.Advice = "Look up the code at https://login.microsoftonline.com/error. " +
				"Find the request by its correlation ID in the tenant's sign-in logs (Service principal sign-ins)."
		}
		d.done(s)
		d.skip("needs a token", claimsStep)
		return
	}
	s.Text = "for " + d.Scope + ", expires in " + time.Until(tok.Expiry).Round(time.Second).String()
	if r := d.client.Region(); r != "" {
		s.Text += ", from region " + r
	}
	d.done(s)
	d.checkClaims(tok.AccessToken)
}

// checkClaims checks that the token is for the API and has roles. The claims are only
// decoded, because verifying them is up to the API.
func (d *doctor) checkClaims(raw string) {
	s := Step{Name: claimsStep, Status: StatusOK}
	_, claims, err := jwt.Decode(raw)
	if err != nil {
		s.Status, s.Text = StatusSkip, "the token cannot be decoded: "+err.Error()
		d.done(s)
		return
	}
	roles := jwt.Strings(claims, "roles")
	audience := jwt.Strings(claims, "aud")
	s.Text = "aud " + clean(strings.Join(audience, " "), 200)
	if len(roles) > 0 {
		s.Text += "; roles " + clean(strings.Join(roles, " "), 400)
	}
	resource := strings.TrimSuffix(d.Scope, "/.default")
	tid := jwt.Text(claims, "tid")
	switch {
	case tid != "" && guid.Valid(d.App.TenantID) && !strings.EqualFold(tid, d.App.TenantID):
		s.Status, s.Text = StatusFail, "tid is not the requested tenant"
		s.Advice = "Do not use this token, and report this. It should be impossible."
	case len(audience) > 0 && !slices.ContainsFunc(audience, func(a string) bool { return sameResource(a, resource) }):
		s.Status = StatusWarn
		s.Advice = "The audience is not " + resource + ". Check that the API accepts this audience."
	case len(roles) == 0:
		s.Status = StatusWarn
		s.Text += "; no roles"
		s.Advice = "The app does not have an application permission of " + resource + ", so an API that requires a " +
			"role returns 403. " +
			"In the app registration, under API permissions, add an application permission and grant admin consent. " +
			"Tokens issued before that do not contain the role. Request a new one."
	}
	d.done(s)
}

// sameResource reports whether an audience may belong to the resource. The audience of a
// v1.0 token is the App ID URI. That of a v2.0 token is the API's client ID, which cannot be
// compared with a URI.
func sameResource(audience, resource string) bool {
	audience, resource = strings.TrimSuffix(audience, "/"), strings.TrimSuffix(resource, "/")
	return strings.EqualFold(audience, resource) || guid.Valid(audience)
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
