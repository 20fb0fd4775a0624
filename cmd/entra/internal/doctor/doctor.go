// Package doctor finds out step by step why an app gets no token, or not the one that it
// needs, and says what to do about it.
package doctor

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// A Status says how a step went.
type Status string

// The outcomes of a step, in the words that are printed.
const (
	OK   Status = "ok"   // as it should be
	Warn Status = "warn" // works, but will not do for long, or not for everything
	Fail Status = "FAIL" // keeps the app from getting its token
	Skip Status = "skip" // could not be looked at because of a failure before
)

// A Step is one thing that was looked at.
type Step struct {
	Name   string        `json:"step"`
	Status Status        `json:"status"`
	Text   string        `json:"text"`             // what was found
	Advice string        `json:"advice,omitempty"` // what to do about it, "" if nothing
	AADSTS []int         `json:"aadsts,omitempty"`
	Millis int64         `json:"took_ms,omitempty"`
	Took   time.Duration `json:"-"`

	// For whoever looks for the request in the sign-in logs.
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceID       string `json:"trace_id,omitempty"`
}

// A Credential is what the app is to prove itself with.
type Credential struct {
	Kind string // "client secret in FILE", for instance
	// Facts are known once Open has succeeded, zero where they do not apply.
	Thumbprint string    // of a certificate, as the Entra admin center shows it
	Ends       time.Time // when the certificate ends
	// Assertion is a federated token that is at hand, nil if there is none.
	Assertion *wire.Assertion
}

// Config is what is to be looked at.
type Config struct {
	// App is the app; its Credential and HTTPClient are not used.
	App entra.Config
	// Missing says what of the configuration is not there; nil: nothing. Then everything
	// else is skipped.
	Missing error
	// Open reads the credential. Required.
	Open func() (entra.Credential, Credential, error)
	// Scope is what a token is asked for. Required.
	Scope string
	// Transport makes the requests. Required.
	Transport http.RoundTripper
	// Proxy says which proxy a request goes through. Nil: none does.
	Proxy func(*http.Request) (*url.URL, error)
	// Done is called with each step when it is over. Nil: nobody is told.
	Done func(Step)
}

// doctor is one examination.
type doctor struct {
	Config
	recorder *wire.Recorder
	client   *entra.Client // nil until the configuration and the credential are good
	cred     Credential
	steps    []Step
}

// Names of the steps, in order.
const (
	configuration = "configuration"
	name          = "name"
	connection    = "connection"
	clock         = "clock"
	discovery     = "discovery"
	credential    = "credential"
	tokenStep     = "token"
	claimsStep    = "claims"
)

// Examine takes all steps. It returns when ctx ends at the latest.
func Examine(ctx context.Context, cfg Config) []Step {
	d := &doctor{Config: cfg, recorder: &wire.Recorder{Base: cfg.Transport}}
	d.App.HTTPClient = &http.Client{Transport: d.recorder, Timeout: 30 * time.Second}
	if !d.configuration() {
		d.skip("the configuration comes first", name, connection, clock, discovery, credential, tokenStep, claimsStep)
		return d.steps
	}
	before := d.network(ctx)
	opened := d.credential()
	switch {
	case before != "":
		d.skip(before, tokenStep, claimsStep)
	case !opened:
		d.skip("there is no credential to use", tokenStep, claimsStep)
	default:
		d.token(ctx)
	}
	return d.steps
}

// Failed reports whether any step failed.
func Failed(steps []Step) bool {
	for _, s := range steps {
		if s.Status == Fail {
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
		d.done(Step{Name: n, Status: Skip, Text: why})
	}
}

// configuration: everything is there and well-formed. The credential is looked at later.
func (d *doctor) configuration() bool {
	s := Step{Name: configuration, Status: OK}
	err := d.Missing
	if err == nil {
		cfg := d.App
		cfg.Credential = entra.Secret("placeholder") // what is wrong with the real one is told apart
		_, err = entra.New(cfg)
	}
	if err == nil {
		err = checkScope(d.App, d.Scope)
	}
	if err != nil {
		s.Status = Fail
		s.Text, s.Advice = split(err)
		if err == d.Missing {
			s.Text, s.Advice = describe(err), "Both are on the Overview page of the app registration in the Entra admin center: Directory (tenant) ID and Application (client) ID."
		}
		d.done(s)
		return false
	}
	s.Text = "app " + d.App.ClientID + " in tenant " + d.App.TenantID + " of " + d.App.Cloud.Host() + regionText(d.App.Region)
	d.done(s)
	return true
}

func regionText(region string) string {
	switch region {
	case "":
		return ""
	case entra.DetectRegion:
		return ", in the region that is detected"
	}
	return ", in region " + region
}

// credential: it can be read and has not ended.
func (d *doctor) credential() bool {
	s := Step{Name: credential, Status: OK}
	cred, facts, err := d.Open()
	d.cred = facts
	if err == nil {
		d.App.Credential = cred
		d.client, err = entra.New(d.App)
	}
	if err != nil {
		s.Status = Fail
		if s.Text, s.Advice = split(err); s.Advice == "" || facts.Kind == "" {
			s.Text, s.Advice = describe(err), credentialAdvice(facts.Kind)
		}
		d.done(s)
		return false
	}
	s.Text = clean(facts.Kind, 400)
	if facts.Thumbprint != "" {
		s.Text += ", thumbprint " + facts.Thumbprint
	}
	if !facts.Ends.IsZero() {
		left := time.Until(facts.Ends)
		s.Text += ", good until " + facts.Ends.UTC().Format(time.DateOnly)
		if left < 30*24*time.Hour {
			s.Status = Warn
			s.Advice = "It ends in " + days(left) + ". Make a new certificate, register it with the app beside this one, then replace the file; no restart is needed."
		}
	}
	if a := facts.Assertion; a != nil {
		s.Text += ", issuer " + clean(a.Issuer, 200) + ", subject " + clean(a.Subject, 200) + ", audience " + clean(strings.Join(a.Audience, " "), 200)
		switch ended := time.Now().After(a.Ends); {
		case a.Ends.IsZero():
		case !ended:
			s.Text += ", good until " + a.Ends.UTC().Format(time.RFC3339)
		default:
			s.Status = Fail
			s.Text += ", ended " + a.Ends.UTC().Format(time.RFC3339)
			s.Advice = "The token has ended, and Entra will refuse it (AADSTS700024). What is to renew the file does not: in Kubernetes the kubelet, " +
				"for a projected volume that is mounted whole (no subPath). If it should not have ended yet, this machine's clock is wrong."
		}
	}
	d.done(s)
	return true
}
