package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/cmd/entra/internal/jwt"
)

// token gets a token and looks at its claims.
func (d *doctor) token(ctx context.Context) {
	s := Step{Name: tokenStep, Status: OK}
	source := clientcreds.TokenSource(d.client, d.Scope)
	began := time.Now()
	tok, err := source.TokenContext(ctx)
	s.Took = time.Since(began)
	if err != nil {
		s.Status, s.Text = Fail, describe(err)
		if e := asError(err); e != nil {
			s.AADSTS, s.CorrelationID, s.TraceID = e.codes, e.correlationID, e.traceID
			s.Advice = adviceFor(e, d.facts())
		}
		if s.Advice == "" {
			s.Advice = "Look the code up at https://login.microsoftonline.com/error, and the request by its correlation ID in the sign-in logs (Service principal sign-ins) of the tenant."
		}
		d.done(s)
		d.skip("there is no token", claimsStep)
		return
	}
	s.Text = "for " + d.Scope + ", good for " + time.Until(tok.Expiry).Round(time.Second).String()
	if r := d.client.Region(); r != "" {
		s.Text += ", from region " + r
	}
	d.done(s)
	d.claims(tok.AccessToken)
}

// claims: the token is for the resource and says what the app may do. They are read for
// display and for hints; nothing is verified, as that is for the resource.
func (d *doctor) claims(raw string) {
	s := Step{Name: claimsStep, Status: OK}
	_, claims, err := jwt.Decode(raw)
	if err != nil {
		s.Status, s.Text = Skip, "the token cannot be read: "+err.Error()
		d.done(s)
		return
	}
	roles := jwt.Strings(claims, "roles")
	aud := jwt.Strings(claims, "aud")
	s.Text = "aud " + clean(strings.Join(aud, " "), 200)
	if len(roles) > 0 {
		s.Text += "; roles " + clean(strings.Join(roles, " "), 400)
	}
	resource := strings.TrimSuffix(d.Scope, "/.default")
	switch {
	case jwt.Text(claims, "tid") != "" && len(d.App.TenantID) == 36 && !strings.EqualFold(jwt.Text(claims, "tid"), d.App.TenantID):
		s.Status, s.Text = Fail, "tid is another tenant than the one that was asked"
		s.Advice = "Do not use this token. Report it: that should be impossible."
	case len(aud) > 0 && !slices.ContainsFunc(aud, func(a string) bool { return sameResource(a, resource) }):
		s.Status = Warn
		s.Advice = "The audience is not " + resource + ". Check that the API that will get the token accepts this one."
	case len(roles) == 0:
		s.Status = Warn
		s.Text += "; no roles"
		s.Advice = "The app has no application permission in " + resource + ", so an API that asks for roles will answer 403. In the app registration: API permissions, Add a permission, " +
			"Application permissions; then Grant admin consent. A token that was got before does not have them: get a new one."
	}
	d.done(s)
}

// sameResource compares an audience with what was asked for: v1.0 tokens have the App ID
// URI, v2.0 tokens the client ID of the API, which cannot be compared with a URI.
func sameResource(aud, resource string) bool {
	aud, resource = strings.TrimSuffix(aud, "/"), strings.TrimSuffix(resource, "/")
	return strings.EqualFold(aud, resource) || len(aud) == 36 && strings.Count(aud, "-") == 4
}

// facts are what advice may name.
func (d *doctor) facts() facts {
	q := Question{d.App, d.cred, d.Scope, d.recorder.Requests()}
	return q.facts()
}

func checkScope(cfg entra.Config, scope string) error {
	cfg.Credential = entra.Secret("placeholder")
	c, err := entra.New(cfg)
	if err != nil {
		return err
	}
	return clientcreds.Check(c, scope)
}

// asError returns what err says, nil if it is not an *entra.Error.
func asError(err error) *answer {
	var e *entra.Error
	if !errors.As(err, &e) {
		return nil
	}
	return &answer{
		code: e.Code, text: e.Description, codes: e.AADSTS, status: e.StatusCode, retryAfter: e.RetryAfter, temporary: e.Temporary(),
		correlationID: clean(e.CorrelationID, 100), traceID: clean(e.TraceID, 100),
	}
}

// describe is an error's text without what is printed apart.
func describe(err error) string {
	var e *entra.Error
	if errors.As(err, &e) && e.Description != "" {
		return clean(inWords.Replace(beforeTrailer(e.Description)), 600)
	}
	return clean(err.Error(), 600)
}

// inWords says for users of the command what a program's Config calls otherwise.
var inWords = strings.NewReplacer(
	"Config.TenantID", "the tenant ID", "Config.ClientID", "the client ID", "Config.Cloud", "the cloud (-cloud or AZURE_AUTHORITY_HOST)", "Config.Region", "the region",
	", nor entra.DetectRegion", ", nor \"detect\"", "use a constant such as entra.USGovernment", "use a name such as usgov",
)

// split takes the text of what was found wrong here apart into that and what to do about
// it, which stand on both sides of a semicolon.
func split(err error) (text, advice string) {
	text, advice, _ = strings.Cut(describe(err), "; ")
	if advice != "" {
		advice = strings.ToUpper(advice[:1]) + advice[1:] + "."
	}
	return text, advice
}

// beforeTrailer cuts Entra's trace ID, correlation ID and time off a description.
func beforeTrailer(s string) string {
	s, _, _ = strings.Cut(s, " Trace ID:")
	return strings.TrimSpace(s)
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
