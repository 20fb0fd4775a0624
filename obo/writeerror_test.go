package obo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// Status and challenge tell the caller how to react. An invalid_token challenge without consent would make it
// acquire tokens for this API repeatedly.
func TestWriteError(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	const consent = `Bearer error="consent_required", ` +
		`error_description="the user or an administrator has not consented to the next API"`
	for _, tt := range []struct {
		name                  string
		err                   error
		status                int
		challenge, retryAfter string
		body                  string
	}{
		{"policy", &entra.Error{Code: "interaction_required", AADSTS: []int{50076}, Claims: claims}, 401,
			`Bearer error="insufficient_claims", ` +
				`claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`,
			"", "the user must sign in again"},
		{"expired assertion", &entra.Error{Code: "invalid_grant", AADSTS: []int{500133}, StatusCode: 400}, 401,
			`Bearer error="invalid_token"`, "", "the user must sign in again"},
		{"no consent", &entra.Error{Code: "invalid_grant", SubError: "consent_required", AADSTS: []int{65001}}, 403,
			consent, "", "the user or an administrator has not consented to the next API"},
		{"consent of an administrator", &entra.Error{Code: "invalid_grant", AADSTS: []int{90094}}, 403, consent, "",
			"the user or an administrator has not consented to the next API"},
		{"no consent, in a wrapped error", fmt.Errorf("Get: %w", &entra.Error{Code: "consent_required"}), 403, consent, "",
			"the user or an administrator has not consented to the next API"},
		{"throttled", &entra.Error{Code: "temporarily_unavailable", RetryAfter: 16500 * time.Millisecond}, 503, "", "17",
			"the next API is temporarily unavailable"},
		{"outage", &entra.Error{Code: entra.CodeRequestFailed}, 503, "", "1", "the next API is temporarily unavailable"},
		{"expired secret", &entra.Error{Code: "invalid_client", AADSTS: []int{7000222}, StatusCode: 401}, 502, "", "",
			"the next API is unavailable"},
		{"assertion that never was valid", &entra.Error{Code: "invalid_grant", AADSTS: []int{50013}, StatusCode: 400}, 502,
			"", "", "the next API is unavailable"},
		{"another error", errors.New("s3cret"), 502, "", "", "the next API is unavailable"},
		{"a nil pointer in a wrapped error", errors.Join((*entra.Error)(nil)), 502, "", "", "the next API is unavailable"},
		{"context", context.Canceled, 502, "", "", "the next API is unavailable"},
	} {
		w := httptest.NewRecorder()
		if !obo.WriteError(w, tt.err) {
			t.Errorf("%s: got false, want true", tt.name)
		}
		want := http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"},
			"Cache-Control": {"no-store"}}
		if tt.challenge != "" {
			want.Set("WWW-Authenticate", tt.challenge)
		}
		if tt.retryAfter != "" {
			want.Set("Retry-After", tt.retryAfter)
		}
		if w.Code != tt.status || !reflect.DeepEqual(w.Header(), want) || w.Body.String() != tt.body+"\n" {
			t.Errorf("%s: got status %d, header %v, body %q, want %d, %v, %q", tt.name, w.Code, w.Header(), w.Body, tt.status,
				want, tt.body)
		}
	}
	for _, err := range []error{nil, (*entra.Error)(nil), (*url.Error)(nil)} {
		w := httptest.NewRecorder()
		if obo.WriteError(w, err) || len(w.Header()) != 0 || w.Body.Len() != 0 {
			t.Errorf("%#v: got header %v, body %q, want no response", err, w.Header(), w.Body)
		}
	}
}

// The error of Entra for missing consent leads to 403 consent_required.
func TestWriteErrorWithoutConsent(t *testing.T) {
	s, _, c := setup(t)
	s.Inject(entratest.Fault{Endpoint: entratest.EndpointToken, Status: 400, Error: "invalid_grant", AADSTS: 65001,
		SubError: "consent_required"})
	_, err := obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read").Token()
	if e := testkit.Error(t, err); !e.ConsentRequired() || !e.InteractionRequired() {
		t.Errorf("got %v, want missing consent", err)
	}
	w := httptest.NewRecorder()
	if obo.WriteError(w, err); w.Code != 403 {
		t.Errorf("got status %d, want 403", w.Code)
	}
}
