package doctor_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
)

// Each AADSTS number has advice that mentions the known facts.
func TestExplainAADSTS(t *testing.T) {
	q := doctor.Attempt{
		App:        entra.Config{TenantID: "TENANT", ClientID: "CLIENT", Cloud: entra.CloudUSGovernment},
		Credential: doctor.Credential{CredentialInfo: entra.CredentialInfo{Kind: "certificate", Thumbprint: "THUMBPRINT"}},
		Scope:      "api://orders/.default",
		Requests: []httprecord.Request{
			{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200},
			{Kind: "token", Host: "login.microsoftonline.us", Status: 400, Assertion: &httprecord.Assertion{Issuer: "ISSUER",
				Subject: "SUBJECT", Audience: []string{"AUDIENCE"}, Expiry: time.Now().Add(-time.Hour)}},
		},
	}
	for number, want := range map[int]string{
		90002: "tenant does not exist at login.microsoftonline.us", 900023: "does not know this tenant", 700016: "app CLIENT does not exist",
		7000229: "https://login.microsoftonline.us/TENANT/adminconsent?client_id=CLIENT",
		7000112: "disabled", 50194: "Configure the tenant ID", 700025: "public client",
		7000215: "the Secret ID was copied instead of the Value", 7000222: "has expired", 7000216: "no credential",
		7000218: "no credential",
		700027:  "thumbprint THUMBPRINT", 700030: "trustedCertificateSubjects", 700024: "(1h0m0s ago)",
		700023: "the audience AUDIENCE.", 700021: "are not the client ID", 50027: "cannot parse", 50012: "rejected",
		70021: "the issuer ISSUER, the subject SUBJECT and the audience AUDIENCE", 700211: "the issuer ISSUER",
		700212: "the audience AUDIENCE", 700213: "the subject SUBJECT",
		500011: `API "api://orders" does not exist`, 50001: `API "api://orders" does not exist`, 650057: "API permissions", 1002012: "/.default",
		70011: "/.default", 501051: "app role", 65001: "Grant admin consent", 53003: "Conditional Access",
		50105: "not assigned", 50034: "not in this tenant", 50013: "access token for this app", 500131: "another API",
		500133: "has expired", 50076: "claims challenge", 50079: "claims challenge", 50158: "claims challenge",
		50173: "must sign in again", 700082: "must sign in again", 90033: "Try again", 90055: "throttles", 50196: "loop",
	} {
		e := &entra.Error{Code: "x", AADSTS: []int{number}, StatusCode: 400,
			Description: "AADSTS1: words. Trace ID: t Correlation ID: c Timestamp: now"}
		text, advice := doctor.Explain(e, q)
		if text != "AADSTS1: words." || !strings.Contains(advice, want) {
			t.Errorf("%d: got %q and %q, want %q", number, text, advice, want)
		}
		if _, advice := doctor.Explain(e, doctor.Attempt{}); advice == "" {
			t.Errorf("%d: got no advice without facts", number)
		}
	}
	// The first known number counts.
	if _, advice := doctor.Explain(&entra.Error{Code: "x", AADSTS: []int{1, 7000222, 90002}},
		q); !strings.Contains(advice, "has expired") {
		t.Errorf("several numbers: got %q", advice)
	}
}

// Errors without an AADSTS number are explained by the requests that were sent.
func TestExplainByRequests(t *testing.T) {
	q := doctor.Attempt{
		App:   entra.Config{TenantID: "TENANT", ClientID: "CLIENT", Cloud: entra.CloudUSGovernment},
		Scope: "api://orders/.default",
		Requests: []httprecord.Request{
			{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200},
			{Kind: "token", Host: "login.microsoftonline.us", Status: 400},
		},
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&entra.Error{Code: "temporarily_unavailable", StatusCode: 503, RetryAfter: time.Minute}, "Wait 1m0s"},
		{&entra.Error{Code: "x", StatusCode: 429}, "throttles the app"},
		{&entra.Error{Code: "server_error", StatusCode: 500}, "temporarily unavailable"},
		{&entra.Error{Code: entra.CodeInvalidResponse, StatusCode: 200}, "is not Entra's"},
		{&entra.Error{Code: entra.CodeRequestFailed}, "POST requests"},
		{errors.New("something else"), ""},
	} {
		if _, advice := doctor.Explain(tt.err, q); advice != tt.want &&
			(tt.want == "" || !strings.Contains(advice, tt.want)) {
			t.Errorf("%v: got %q, want %q", tt.err, advice, tt.want)
		}
	}
	for _, tt := range []struct {
		requests []httprecord.Request
		want     string
	}{
		{nil, "service that issues the credential"},
		{[]httprecord.Request{{Host: "pipelines.example"}}, "service that issues the credential"},
		{[]httprecord.Request{{Kind: "discovery", Host: "login.microsoftonline.us"}}, "cannot be reached"},
		{[]httprecord.Request{{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200}},
			"broke during the authority's response"},
		{[]httprecord.Request{{Kind: "discovery", Host: "usgovvirginia.login.microsoftonline.us"}}, "region usgovvirginia"},
		{[]httprecord.Request{{Kind: "discovery", Host: "usgovvirginia.login.microsoftonline.us", Status: 200},
			{Kind: "token", Host: "usgovvirginia.login.microsoftonline.us"}}, "region usgovvirginia"},
		{[]httprecord.Request{{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200},
			{Kind: "token", Host: "login.microsoftonline.us"}}, "POST requests"},
	} {
		q.App.Region, q.Requests = "usgovvirginia", tt.requests
		if _, advice := doctor.Explain(&entra.Error{Code: entra.CodeRequestFailed}, q); !strings.Contains(advice, tt.want) {
			t.Errorf("%+v: got %q, want %q", tt.requests, advice, tt.want)
		}
	}
	// Before a token request, the last request shows which failed: the authority or the
	// service that issues the credential. The text of an invalid file is enough.
	discovery := httprecord.Request{Kind: "discovery", Host: "login.microsoftonline.us", Status: 200}
	credential := httprecord.Request{Host: "pipelines.example", Status: 403}
	for _, tt := range []struct {
		code     string
		requests []httprecord.Request
		want     string
	}{
		{entra.CodeRequestFailed, []httprecord.Request{credential, discovery}, "broke during the authority's response"},
		{entra.CodeInvalidResponse, []httprecord.Request{credential, discovery},
			"is not Entra's. The cloud is not an authority"},
		{entra.CodeRequestFailed, []httprecord.Request{discovery, credential}, "service that issues the credential"},
		{entra.CodeInvalidResponse, []httprecord.Request{discovery, credential}, "service that issues the credential"},
		{"invalid_client", []httprecord.Request{discovery, credential}, "service that issues the credential"},
		{"invalid_client", []httprecord.Request{discovery}, ""},
		{"invalid_client", nil, ""},
	} {
		q.App.Region, q.Requests = "", tt.requests
		_, advice := doctor.Explain(&entra.Error{Code: tt.code, Description: "text"}, q)
		if !strings.Contains(advice, tt.want) || tt.want == "" && advice != "" {
			t.Errorf("%s, %+v: got %q, want %q", tt.code, tt.requests, advice, tt.want)
		}
	}
}
