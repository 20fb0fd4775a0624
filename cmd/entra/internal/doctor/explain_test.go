package doctor_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// Each of Entra's numbers has the advice that it needs, with what is known filled in.
func TestExplain(t *testing.T) {
	q := doctor.Question{
		App:        entra.Config{TenantID: "TENANT", ClientID: "CLIENT", Cloud: entra.CloudUSGovernment},
		Credential: doctor.Credential{Kind: "certificate", Thumbprint: "THUMBPRINT"},
		Scope:      "api://orders/.default",
		Requests: []wire.Request{
			{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200},
			{Kind: "token", Host: "login.microsoftonline.us", Status: 400, Assertion: &wire.Assertion{Issuer: "ISSUER", Subject: "SUBJECT", Audience: []string{"AUDIENCE"}, Ends: time.Now().Add(-time.Hour)}},
		},
	}
	for number, want := range map[int]string{
		90002: "no such tenant at login.microsoftonline.us", 900023: "neither an ID nor a domain", 700016: "no app CLIENT", 7000229: "https://login.microsoftonline.us/TENANT/adminconsent?client_id=CLIENT",
		7000112: "disabled", 50194: "Name the tenant", 700025: "public client", 7000215: "the Secret ID was copied in place of the Value", 7000222: "has expired", 7000216: "no credential", 7000218: "no credential",
		700027: "thumbprint THUMBPRINT", 700030: "trustedCertificateSubjects", 700024: "(1h0m0s ago)", 700023: "(AUDIENCE)", 700021: "another app's", 50027: "not a JWT", 50012: "refused",
		70021: "issuer ISSUER, subject SUBJECT, audience AUDIENCE", 700211: "issuer ISSUER", 700212: "audience AUDIENCE", 700213: "subject SUBJECT",
		500011: `no API "api://orders"`, 50001: `no API "api://orders"`, 650057: "API permissions", 1002012: "/.default", 70011: "/.default", 501051: "assigned", 65001: "Grant admin consent", 53003: "Conditional Access",
		50105: "not assigned", 50034: "not in this tenant", 50013: "for this very app", 500131: "another API", 500133: "has ended", 50076: "second factor", 50079: "second factor", 50158: "second factor",
		50173: "sign in again", 700082: "sign in again", 90033: "Try again", 90055: "throttles", 50196: "loop",
	} {
		e := &entra.Error{Code: "x", AADSTS: []int{number}, StatusCode: 400, Description: "AADSTS1: words. Trace ID: t Correlation ID: c Timestamp: now"}
		text, advice := doctor.Explain(e, q)
		if text != "AADSTS1: words." || !strings.Contains(advice, want) {
			t.Errorf("%d: %q, %q; want %q", number, text, advice, want)
		}
		if _, advice := doctor.Explain(e, doctor.Question{}); advice == "" {
			t.Errorf("%d: no advice without facts", number)
		}
	}
	// The most specific number that is known decides.
	if _, advice := doctor.Explain(&entra.Error{Code: "x", AADSTS: []int{1, 7000222, 90002}}, q); !strings.Contains(advice, "has expired") {
		t.Errorf("of several: %q", advice)
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&entra.Error{Code: "temporarily_unavailable", StatusCode: 503, RetryAfter: time.Minute}, "left alone for 1m0s"},
		{&entra.Error{Code: "x", StatusCode: 429}, "throttles the app"},
		{&entra.Error{Code: "server_error", StatusCode: 500}, "out of order"},
		{&entra.Error{Code: entra.CodeInvalidResponse, StatusCode: 200}, "is not Entra's"},
		{&entra.Error{Code: entra.CodeRequestFailed}, "POST requests"},
		{errors.New("something else"), ""},
	} {
		if _, advice := doctor.Explain(tt.err, q); advice != tt.want && (tt.want == "" || !strings.Contains(advice, tt.want)) {
			t.Errorf("%v: %q", tt.err, advice)
		}
	}
	for _, tt := range []struct {
		requests []wire.Request
		want     string
	}{
		{nil, "look there"},
		{[]wire.Request{{Host: "pipelines.example"}}, "look there"},
		{[]wire.Request{{Kind: "discovery", Host: "login.microsoftonline.us"}}, "cannot be reached"},
		{[]wire.Request{{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200}}, "look there"},
		{[]wire.Request{{Kind: "discovery", Host: "usgovvirginia.login.microsoftonline.us"}}, "region usgovvirginia"},
		{[]wire.Request{{Kind: "discovery", Host: "usgovvirginia.login.microsoftonline.us", Status: 200}, {Kind: "token", Host: "usgovvirginia.login.microsoftonline.us"}}, "region usgovvirginia"},
		{[]wire.Request{{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200}, {Kind: "token", Host: "login.microsoftonline.us"}}, "POST requests"},
	} {
		q.App.Region, q.Requests = "usgovvirginia", tt.requests
		if _, advice := doctor.Explain(&entra.Error{Code: entra.CodeRequestFailed}, q); !strings.Contains(advice, tt.want) {
			t.Errorf("%+v: %q", tt.requests, advice)
		}
	}
	// Before a token is asked for: who is named decides whether it is the authority's answer
	// or the credential that failed; what is wrong with a file or a variable says so itself.
	discovered := []wire.Request{{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200}}
	for _, tt := range []struct {
		code, text string
		requests   []wire.Request
		want       string
	}{
		{entra.CodeRequestFailed, "the answer of login.microsoftonline.us broke off after 40 bytes", discovered, "broke while the authority answered"},
		{entra.CodeInvalidResponse, "login.microsoftonline.us answered the request for its configuration with 61 bytes", discovered, "is not Entra's: a proxy or a sign-in page"},
		{entra.CodeRequestFailed, "pipelines.example gave no answer in time", discovered, "look there"},
		{"invalid_client", "pipelines.example answered with status 403", discovered, "look there"},
		{"invalid_client", "the client secret file is empty", nil, ""},
	} {
		q.App.Region, q.Requests = "", tt.requests
		if _, advice := doctor.Explain(&entra.Error{Code: tt.code, Description: tt.text}, q); !strings.Contains(advice, tt.want) || tt.want == "" && advice != "" {
			t.Errorf("%s: %q", tt.text, advice)
		}
	}
}
