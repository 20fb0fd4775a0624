package doctor

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/managedidentity"
)

// IdentityConfig configures [ExamineIdentity].
type IdentityConfig struct {
	Identity managedidentity.Config
	Scope    string     // required
	Done     func(Step) // is called after each step. If nil, it is not called
}

// ExamineIdentity checks the managed identity of the machine or app that runs the command. It returns when ctx ends at
// the latest.
func ExamineIdentity(ctx context.Context, cfg IdentityConfig) []Step {
	d := &doctor{Config: Config{Scope: cfg.Scope, Done: cfg.Done}}
	identity, err := managedidentity.New(cfg.Identity)
	if err != nil {
		d.done(Step{Name: configurationStep, Status: StatusFail, Text: describe(err), Advice: identityAdvice(err)})
		d.skip("needs a valid configuration", tokenStep, claimsStep)
		return d.steps
	}
	c := cfg.Identity
	name := "the system-assigned identity"
	if id := c.ClientID + c.ObjectID + c.ResourceID; id != "" {
		name = "the user-assigned identity " + clean(id, 300)
	}
	d.done(Step{Name: configurationStep, Status: StatusOK, Text: name + ", from " + platforms[identity.Source()]})

	s := Step{Name: tokenStep, Status: StatusOK}
	start := time.Now()
	tok, err := identity.TokenSource(cfg.Scope).TokenContext(ctx)
	s.Took = time.Since(start)
	if err != nil {
		s.Status, s.Text, s.Advice = StatusFail, describe(err), identityAdvice(err)
		if f := failureOf(err); f != nil {
			s.AADSTS = f.codes
		}
		d.done(s)
		d.skip("needs a token", claimsStep)
		return d.steps
	}
	s.Text = "for " + clean(cfg.Scope, 200) + ", expires in " + time.Until(tok.Expiry).Round(time.Second).String()
	d.done(s)
	d.done(identityClaims(tok.AccessToken, strings.TrimSuffix(cfg.Scope, "/.default")))
	return d.steps
}

// platforms are the names of the sources of managed identities.
var platforms = map[string]string{
	"IMDS":          "the instance metadata service (no variable of another platform is set)",
	"AppService":    "App Service, Functions or Container Apps (IDENTITY_ENDPOINT and IDENTITY_HEADER)",
	"ServiceFabric": "Service Fabric (IDENTITY_SERVER_THUMBPRINT)",
	"AzureArc":      "the agent of Azure Arc",
	"AzureML":       "Azure ML (MSI_ENDPOINT and MSI_SECRET)",
	"CloudShell":    "Cloud Shell (MSI_ENDPOINT)",
}

// ExplainIdentity returns the text of an error of a managed identity and what to do about it.
func ExplainIdentity(err error) (text, advice string) { return describe(err), identityAdvice(err) }

// identityAdvice returns what to do about a failure.
func identityAdvice(err error) string {
	var e *entra.Error
	if !errors.As(err, &e) {
		return "The service did not respond within the time of -timeout. Try again."
	}
	switch {
	case e.Code == "invalid_request" && e.Local():
		return "The value of -identity is \"system\", or the client ID, \"object:\" and the object ID, or the resource " +
			"ID of a user-assigned identity. The platform comes from the environment variables that it sets."
	case e.Code == "invalid_scope" && e.Local():
		return "The scope is the last argument."
	case e.Code == entra.CodeRequestFailed:
		return "Run the command on the machine or in the app itself. Outside of Azure there is no managed identity. " +
			"In a container, check that the network lets requests to the service through, and that no proxy gets them."
	case e.Code == entra.CodeInvalidResponse:
		return "The service of the platform returns JSON. Another server responded, or its agent is old."
	case e.Temporary():
		return "The service is updated or throttles. Try again in a few minutes."
	case len(e.AADSTS) > 0 || e.Code == "invalid_resource":
		return "Entra does not issue this token. The scope is the last argument. " +
			"Check that the API has a service principal in the tenant of the identity."
	case e.StatusCode == http.StatusUnauthorized || e.StatusCode == http.StatusForbidden:
		return "The service does not accept the request of this program. Check its user and its environment variables."
	}
	return "In the Azure portal, open Identity of the machine or app. Enable the system-assigned identity, or add the " +
		"user-assigned one and use its client ID. A new assignment may take some minutes."
}

// identityClaims shows for which API the token is and to which principal roles are assigned.
func identityClaims(raw, resource string) Step {
	s := Step{Name: claimsStep, Status: StatusOK}
	_, claims, err := jwt.Decode(raw)
	if err != nil {
		s.Status, s.Text = StatusSkip, "the token cannot be decoded: "+err.Error()
		return s
	}
	audience := jwt.Strings(claims, "aud")
	s.Text = "aud " + clean(strings.Join(audience, " "), 200)
	if roles := jwt.Strings(claims, "roles"); len(roles) > 0 {
		s.Text += "; roles " + clean(strings.Join(roles, " "), 400)
	}
	if oid := jwt.Text(claims, "oid"); oid != "" {
		s.Text += "; assign roles of Azure services to the object ID " + clean(oid, 100)
	}
	for _, a := range audience {
		if sameResource(a, resource) {
			return s
		}
	}
	s.Status = StatusWarn
	s.Advice = "The audience is not " + clean(resource, 200) + ". Check that the API accepts this audience."
	return s
}
