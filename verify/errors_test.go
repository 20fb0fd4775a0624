package verify_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/entratoken/entra/verify"
)

// Every reason has a distinct text that can stand in a challenge.
func TestEveryReasonHasAText(t *testing.T) {
	seen := map[string]verify.Reason{}
	for _, r := range []verify.Reason{
		verify.ReasonNoToken, verify.ReasonBadAuthorization, verify.ReasonTooLarge, verify.ReasonMalformed,
		verify.ReasonEncrypted, verify.ReasonBadJSON,
		verify.ReasonBadUTF8, verify.ReasonDuplicateMember, verify.ReasonTooComplex, verify.ReasonBadHeader,
		verify.ReasonForeignToken,
		verify.ReasonBadAlgorithm, verify.ReasonBadType, verify.ReasonCriticalHeader, verify.ReasonEmbeddedKey,
		verify.ReasonNoKeyID,
		verify.ReasonMissingClaim, verify.ReasonBadClaim, verify.ReasonBadVersion, verify.ReasonUnsupportedIssuer,
		verify.ReasonBadIssuer,
		verify.ReasonTenantMismatch, verify.ReasonBadAudience, verify.ReasonNotAccessToken, verify.ReasonProofOfPossession,
		verify.ReasonNotIDToken, verify.ReasonExpired,
		verify.ReasonNotYetValid, verify.ReasonIssuedInFuture, verify.ReasonBadLifetime, verify.ReasonUnknownKey,
		verify.ReasonKeysUnavailable,
		verify.ReasonKeyAlgorithm, verify.ReasonKeyIssuer, verify.ReasonBadSignature,
		verify.ReasonTenantNotAllowed, verify.ReasonBadNonce,
		verify.ReasonBadAuthorizedParty,
		verify.ReasonBadCodeHash, verify.ReasonBadAccessTokenHash, verify.ReasonNoPermissions,
		verify.ReasonMissingScope, verify.ReasonMissingRole, verify.ReasonMissingUserRole,
		verify.ReasonMissingAuthContext, verify.ReasonOtherTenant, verify.ReasonOtherClient, verify.ReasonDenied,
		verify.ReasonNotVerified,
	} {
		text := (&verify.Error{Reason: r}).Error()
		if strings.Contains(text, "the token was rejected") {
			t.Errorf("%s has no text", r)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Errorf("%s cannot stand in a challenge: %s", r, text)
		}
		if other, ok := seen[text]; ok {
			t.Errorf("%s and %s have the same text", r, other)
		}
		seen[text] = r
	}
	e := &verify.Error{Reason: verify.ReasonMissingClaim, Claim: "tid"}
	if !errors.Is(e, &verify.Error{Reason: verify.ReasonMissingClaim}) ||
		errors.Is(e, &verify.Error{Reason: verify.ReasonBadClaim}) ||
		errors.Is(e, &verify.Error{Reason: verify.ReasonMissingClaim, Claim: "iss"}) || errors.Is(e, context.Canceled) {
		t.Error("errors.Is does not compare reason and claim")
	}
}

// A log record has the fields of an error.
func TestErrorsLogTheirFields(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out,
		&slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key != "error" {
				return slog.Attr{}
			}
			return a
		}}))
	for _, e := range []error{
		&verify.Error{Reason: verify.ReasonExpired},
		&verify.Error{Reason: verify.ReasonMissingClaim, Claim: "tid"},
		&verify.Error{Reason: verify.ReasonKeysUnavailable, StatusCode: 500},
	} {
		log.Info("", "error", e)
	}
	const want = "error.reason=expired\nerror.reason=missing_claim error.claim=tid\nerror.reason=keys_unavailable " +
		"error.status=500\n"
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}

// The error of a Rule may have a token in its text. Neither the text nor the log record of an Error has it.
func TestTokenInErrorOfRuleIsCut(t *testing.T) {
	cause := errors.New("directory: eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln was rejected")
	e := &verify.Error{Reason: verify.ReasonDenied, Err: cause}
	if got, want := e.Error(), "verify: the caller may not use this resource: directory: [redacted] was rejected"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var out bytes.Buffer
	slog.New(slog.NewTextHandler(&out, nil)).Info("", "error", e)
	if got := out.String(); !strings.Contains(got, `error.cause="directory: [redacted] was rejected"`) {
		t.Errorf("got log %s", got)
	}
	if !errors.Is(e, cause) {
		t.Error("the cause is lost")
	}
}
