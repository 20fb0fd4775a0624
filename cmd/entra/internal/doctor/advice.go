package doctor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/internal/aadsts"
	"github.com/entratoken/entra/internal/redact"
)

// Attempt describes an attempt to get a token.
type Attempt struct {
	App        entra.Config
	Credential Credential
	Scope      string
	Requests   []httprecord.Request
}

// Explain returns the text of an error and what to do about it, or "" if the text says all.
func Explain(err error, a Attempt) (text, advice string) {
	return describe(err), failureOf(err).advice(a.facts())
}

// describe returns the text of an error.
func describe(err error) string {
	var e *entra.Error
	if errors.As(err, &e) && e.Description != "" {
		return clean(withoutTrailer(e.Description), 600)
	}
	return clean(err.Error(), 600)
}

// withoutTrailer removes the trace ID, correlation ID and time at the end of Entra's
// descriptions.
func withoutTrailer(s string) string {
	s, _, _ = strings.Cut(s, " Trace ID:")
	return strings.TrimSpace(s)
}

func clean(s string, limit int) string { return redact.Text(s, limit) }

// failure is the part of an error that the advice depends on.
type failure struct {
	code                   string // the OAuth error code
	codes                  []int  // the AADSTS numbers
	status                 int
	retryAfter             time.Duration
	temporary              bool
	correlationID, traceID string
}

// failureOf returns nil if err is not an *entra.Error.
func failureOf(err error) *failure {
	var e *entra.Error
	if !errors.As(err, &e) {
		return nil
	}
	return &failure{
		code: e.Code, codes: e.AADSTS, status: e.StatusCode, retryAfter: e.RetryAfter, temporary: e.Temporary(),
		correlationID: clean(e.CorrelationID, 100), traceID: clean(e.TraceID, 100),
	}
}

// facts are the circumstances of a failure. None of them is secret.
type facts struct {
	names     aadsts.Names
	region    string
	cred      Credential
	assertion *httprecord.Assertion // the last one that was sent, or nil

	credentialService bool // the last request was to a service that issues the credential
	discoveryFailed   bool // a discovery request was sent, and none had a response
	tokenRequested    bool // a token request was sent
	regionFailed      bool // the last request was to the region and had no response
	noRequests        bool
}

func (a *Attempt) facts() facts {
	f := facts{
		names: aadsts.Names{
			Tenant: a.App.TenantID, Client: a.App.ClientID, Host: a.App.Cloud.Host(),
			Resource: clean(strings.TrimSuffix(a.Scope, "/.default"), 200),
		},
		region: a.App.Region, cred: a.Credential, noRequests: len(a.Requests) == 0,
	}
	discovered := false
	for _, r := range a.Requests {
		switch r.Kind {
		case "discovery":
			f.discoveryFailed, discovered = true, discovered || r.Status != 0
		case "token":
			f.tokenRequested, f.assertion = true, r.Assertion
		}
		label, _, _ := strings.Cut(r.Host, ".")
		f.regionFailed = f.region != "" && label == f.region && r.Status == 0
		f.credentialService = r.Kind == ""
	}
	f.discoveryFailed = f.discoveryFailed && !discovered
	return f
}

func (d *doctor) facts() facts {
	a := Attempt{d.App, d.cred, d.Scope, d.Recorder.Requests()}
	return a.facts()
}

// advice returns what to do about a failure, or "". If there are several AADSTS numbers, the
// first known one counts, because Entra lists the most specific one first.
func (f *failure) advice(facts facts) string {
	if f == nil {
		return ""
	}
	for _, n := range f.codes {
		if advice := specificAdvice(n, facts); advice != "" {
			return advice
		}
		if code, ok := aadsts.Lookup(n); ok {
			return code.Fix(facts.names)
		}
	}
	const oneSource = " The usual cause is an app that requests a new token for each call. Create one token source " +
		"and keep it."
	switch {
	case f.retryAfter > 0:
		return fmt.Sprintf("Entra throttles the app. Wait %s before the next request.", f.retryAfter) + oneSource
	case f.status == 429:
		return "Entra throttles the app." + oneSource
	case facts.regionFailed:
		return "The endpoint of region " + facts.region + " did not respond. Check the region's name, " +
			"and whether the tenant may use regional endpoints. Otherwise leave the region out."
	case !facts.tokenRequested:
		return f.adviceBeforeToken(facts)
	case f.code == entra.CodeRequestFailed:
		return "The connection failed after the first requests had succeeded. Try again. " +
			"If the error persists, a proxy or firewall blocks POST requests."
	case f.code == entra.CodeInvalidResponse:
		return "The response is not Entra's. A proxy or firewall intercepts POST requests. " +
			"Exclude " + facts.names.Host + " from inspection, or set HTTPS_PROXY."
	case f.temporary:
		return "Entra is temporarily unavailable. Try again in a few minutes. If the error persists, check " +
			"https://status.azure.com."
	}
	return ""
}

// adviceBeforeToken returns what to do if no token request was sent.
func (f *failure) adviceBeforeToken(facts facts) string {
	unreadable := f.code == entra.CodeRequestFailed || f.code == entra.CodeInvalidResponse
	switch {
	case facts.credentialService && (unreadable || f.code == "invalid_client"), facts.noRequests && unreadable:
		return "The service that issues the credential did not provide it, so no token was requested from Entra. The " +
			"error text names that service."
	case f.code == entra.CodeInvalidResponse:
		return "The response is not Entra's. The cloud is not an authority, or a proxy or a sign-in page of the network " +
			"intercepts the request. " +
			"\"entra doctor\" shows what responds."
	case f.code == entra.CodeRequestFailed && facts.discoveryFailed:
		return "The authority cannot be reached. \"entra doctor\" shows which part fails: name, connection, " +
			"certificate or proxy."
	case f.code == entra.CodeRequestFailed:
		return "The connection broke during the authority's response. Try again. If the error persists, a proxy or " +
			"firewall breaks the connection."
	case f.temporary:
		return "Entra is temporarily unavailable. Try again in a few minutes. If the error persists, check " +
			"https://status.azure.com."
	}
	return ""
}

// specificAdvice returns advice that mentions the credential, or "" if the general advice
// for the AADSTS number is best.
func specificAdvice(number int, f facts) string {
	const secrets = "In the app registration, under Certificates & secrets, "
	switch a := f.assertion; number {
	case 700027:
		switch {
		case f.cred.Thumbprint != "":
			return "The app does not trust the certificate with the thumbprint " + f.cred.Thumbprint +
				", or the certificate has expired. " +
				secrets + "upload its public part (.cer or .pem) and compare the thumbprints."
		case a != nil && a.Thumbprint != "":
			return "The app does not trust the certificate with the SHA-256 thumbprint " + clean(a.Thumbprint, 100) + ". " +
				secrets + "upload it."
		}
	case 700024:
		if a == nil || a.Expiry.IsZero() {
			break
		}
		if ago := time.Since(a.Expiry); ago > 0 {
			return fmt.Sprintf("The assertion expired at %s (%s ago). "+
				"Check why it was not renewed, for example by the kubelet for a token file in Kubernetes. "+
				"If it should still be valid, this machine's clock is wrong.",
				a.Expiry.Format(time.RFC3339), ago.Round(time.Second))
		}
	case 700023:
		if a == nil || len(a.Audience) == 0 {
			break
		}
		return "The assertion has the audience " + clean(strings.Join(a.Audience, " "), 200) +
			". An assertion that the app signs itself must name the token endpoint. " +
			"A federated token must name the audience of the app's federated credential."
	case 70021, 700211, 700212, 700213:
		if a == nil || a.Issuer == "" {
			break
		}
		return "No federated credential of the app matches the token exactly, including case and slashes. " + secrets +
			"add one with the issuer " + clean(a.Issuer, 200) + ", the subject " + clean(a.Subject, 200) +
			" and the audience " + clean(strings.Join(a.Audience, " "), 200) + "."
	}
	return ""
}
