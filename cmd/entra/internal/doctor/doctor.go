// Package doctor checks step by step why an app gets no token, or one without the expected
// permissions, and says how to fix it.
package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
)

// Status is the outcome of a step.
type Status string

// The outcomes of a step, as they are printed.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn" // works now, but not for long or not for everything
	StatusFail Status = "FAIL" // prevents the app from getting its token
	StatusSkip Status = "skip" // not checked because of an earlier failure
)

// Step is the result of one check.
type Step struct {
	Name   string        `json:"step"`
	Status Status        `json:"status"`
	Text   string        `json:"text"`             // the finding
	Advice string        `json:"advice,omitempty"` // how to fix it
	AADSTS []int         `json:"aadsts,omitempty"`
	Millis int64         `json:"took_ms,omitempty"`
	Took   time.Duration `json:"-"`

	// The IDs identify the request in the tenant's sign-in logs.
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
}

// Credential describes the app's credential.
type Credential struct {
	entra.CredentialInfo
	Unused []string // environment variables that select other credentials and are not used
}

// Origin returns the kind of the credential and where it comes from.
func (c *Credential) Origin() string {
	s := c.Kind
	switch {
	case c.File != "" && c.Variable != "":
		s += " in " + c.File + " (" + c.Variable + ")"
	case c.File != "" || c.Variable != "":
		s += " in " + c.File + c.Variable
	}
	if len(c.Unused) > 0 {
		s += " (also set but not used: " + strings.Join(c.Unused, ", ") + ")"
	}
	return clean(s, 400)
}

// Config configures [Examine].
type Config struct {
	App      entra.Config         // its Credential and HTTPClient are not used
	Missing  error                // if not nil, App is incomplete, and only this is reported
	Scope    string               // required
	Recorder *httprecord.Recorder // sends and records the requests; required

	// Open returns the credential. Required.
	Open func() (entra.Credential, Credential, error)
	// Proxy returns the proxy for a request. If nil, no proxy is used.
	Proxy func(*http.Request) (*url.URL, error)
	// Done is called after each step. If nil, it is not called.
	Done func(Step)
}

// doctor is one run of all steps.
type doctor struct {
	Config
	client *entra.Client // nil until the configuration and the credential are valid
	cred   Credential
	steps  []Step
}

// The names of the steps, in order.
const (
	configurationStep = "configuration"
	nameStep          = "name"
	connectionStep    = "connection"
	clockStep         = "clock"
	discoveryStep     = "discovery"
	credentialStep    = "credential"
	tokenStep         = "token"
	claimsStep        = "claims"
)

// Examine runs all steps. It returns when ctx ends at the latest.
func Examine(ctx context.Context, cfg Config) []Step {
	d := &doctor{Config: cfg}
	d.App.HTTPClient = &http.Client{Transport: d.Recorder, Timeout: 30 * time.Second}
	if !d.checkConfiguration() {
		d.skip("needs a valid configuration",
			nameStep, connectionStep, clockStep, discoveryStep, credentialStep, tokenStep, claimsStep)
		return d.steps
	}
	obstacle := d.checkNetwork(ctx)
	opened := d.checkCredential()
	switch {
	case obstacle != "":
		d.skip(obstacle, tokenStep, claimsStep)
	case !opened:
		d.skip("needs a valid credential", tokenStep, claimsStep)
	default:
		d.checkToken(ctx)
	}
	return d.steps
}

// Failed reports whether a step failed.
func Failed(steps []Step) bool {
	for _, s := range steps {
		if s.Status == StatusFail {
			return true
		}
	}
	return false
}

func (d *doctor) done(s Step) {
	s.Millis = s.Took.Milliseconds()
	d.steps = append(d.steps, s)
	if d.Done != nil {
		d.Done(s)
	}
}

func (d *doctor) skip(why string, names ...string) {
	for _, n := range names {
		d.done(Step{Name: n, Status: StatusSkip, Text: why})
	}
}

// checkConfiguration checks everything but the credential.
func (d *doctor) checkConfiguration() bool {
	s := Step{Name: configurationStep, Status: StatusOK}
	if advice, err := d.configurationError(); err != nil {
		s.Status, s.Text, s.Advice = StatusFail, describe(err), advice
		d.done(s)
		return false
	}
	s.Text = "app " + d.App.ClientID + " in tenant " + d.App.TenantID + " at " + d.App.Cloud.Host()
	switch d.App.Region {
	case "":
	case entra.DetectRegion:
		s.Text += ", in the detected region"
	default:
		s.Text += ", in region " + d.App.Region
	}
	d.done(s)
	return true
}

func (d *doctor) configurationError() (advice string, err error) {
	if d.Missing != nil {
		return "Both IDs are on the Overview page of the app registration in the Entra admin center: " +
			"Directory (tenant) ID and Application (client) ID.", d.Missing
	}
	cfg := d.App
	cfg.Credential = entra.Secret("placeholder") // the real one is checked in a later step
	c, err := entra.New(cfg)
	if err != nil {
		return "Set TenantID with -tenant or AZURE_TENANT_ID, ClientID with -client or AZURE_CLIENT_ID, " +
			"Cloud with -cloud or AZURE_AUTHORITY_HOST, and Region with -region.", err
	}
	return "The tenant is set with -tenant or AZURE_TENANT_ID. The scope is the last argument.",
		clientcreds.Check(c, d.Scope)
}

// checkCredential checks that the credential can be read and has not expired.
func (d *doctor) checkCredential() bool {
	s := Step{Name: credentialStep, Status: StatusOK}
	var err error
	if d.App.Credential, d.cred, err = d.Open(); err == nil {
		d.client, err = entra.New(d.App)
	}
	if err != nil {
		s.Status, s.Text = StatusFail, describe(err)
		s.Advice = "Fix this first. Without a credential no request is sent to Entra. " +
			"\"entra doctor -h\" lists the flags and environment variables for credentials."
		d.done(s)
		return false
	}
	c := &d.cred
	s.Text = c.Origin()
	if c.Thumbprint != "" {
		s.Text += ", thumbprint " + c.Thumbprint
	}
	isCertificate := c.Kind == "certificate"
	if c.Issuer != "" && !isCertificate {
		s.Text += ", issuer " + clean(c.Issuer, 200) + ", subject " + clean(c.Subject, 200) +
			", audience " + clean(strings.Join(c.Audience, " "), 200)
	}
	if c.Warning != "" {
		s.Status, s.Advice = StatusWarn, firstUpper(clean(c.Warning, 400))+"."
	}
	left := time.Until(c.NotAfter)
	switch {
	case c.NotAfter.IsZero():
	case isCertificate:
		s.Text += ", expires " + c.NotAfter.UTC().Format(time.DateOnly)
		if left < 30*24*time.Hour {
			s.Status = StatusWarn
			s.Advice = "It expires in " + days(left) +
				". Create a new certificate, add it to the app registration, and then replace the file. " +
				"A restart is not needed."
		}
	case left > 0:
		s.Text += ", expires " + c.NotAfter.UTC().Format(time.RFC3339)
	default:
		s.Status = StatusFail
		s.Text += ", expired " + c.NotAfter.UTC().Format(time.RFC3339)
		s.Advice = "Entra rejects expired tokens (AADSTS700024). Check why the file is not renewed. " +
			"In Kubernetes the kubelet renews it if the whole projected volume is mounted (no subPath). " +
			"If the token should still be valid, this machine's clock is wrong."
	}
	d.done(s)
	return true
}

// firstUpper returns a clause as the beginning of a sentence.
func firstUpper(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
