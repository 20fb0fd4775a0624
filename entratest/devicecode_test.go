package entratest_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

const deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"

// startDevice sends a device authorization request of the public client.
func startDevice(t *testing.T, s *entratest.Server, scope string) response {
	t.Helper()
	resp := post(t, s.Client(), authHost+"organizations/oauth2/v2.0/devicecode", form("client_id", cli, "scope", scope))
	if resp.status != 200 {
		t.Fatalf("got %d %v", resp.status, resp.body)
	}
	return resp
}

func pollDevice(t *testing.T, s *entratest.Server, code, client string) response {
	t.Helper()
	return tokenRequest(t, s, "organizations", "grant_type", deviceGrant, "client_id", client, "device_code", code)
}

// The device code flow with its documented errors
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#expected-errors).
func TestDeviceCode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(publicClient())
		start := startDevice(t, s, "user.read openid profile offline_access")
		if got := strings.Join(names(start.body), ","); got !=
			"device_code,expires_in,interval,message,user_code,verification_uri" ||
			start.body["expires_in"] != 900.0 || start.body["interval"] != 5.0 ||
			start.stringField("verification_uri") != authHost+"common/oauth2/deviceauth" ||
			!strings.Contains(start.stringField("message"), start.stringField("user_code")) {
			t.Errorf("got %v", start.body)
		}
		code, userCode := start.stringField("device_code"), start.stringField("user_code")
		wantError(t, pollDevice(t, s, code, cli), 400, "authorization_pending", 70016)
		wantError(t, pollDevice(t, s, "unknown", cli), 400, "bad_verification_code", 70018)
		wantError(t, pollDevice(t, s, "", cli), 400, "invalid_request", 900144)
		var shown *entratest.SignInError
		if err := s.SignInDevice(t.Context(), "ABCDEFGHJ", alice); !errors.As(err, &shown) || shown.AADSTS != 70018 {
			t.Errorf("unknown code: got %v", err)
		}
		if err := s.SignInDevice(t.Context(), strings.ToLower(userCode), alice); err != nil {
			t.Fatal(err)
		}
		resp := pollDevice(t, s, code, cli)
		if wantToken(t, resp); resp.stringField("scope") != "openid profile User.Read" ||
			resp.stringField("refresh_token") == "" || decode(t, resp.stringField("id_token")).stringClaim("name") != "Alice Adams" {
			t.Errorf("got %v", resp.body)
		}
		wantError(t, pollDevice(t, s, code, cli), 400, "bad_verification_code", 70018)

		expired := startDevice(t, s, "User.Read")
		time.Sleep(15 * time.Minute)
		wantError(t, pollDevice(t, s, expired.stringField("device_code"), cli), 400, "expired_token", 70019)
		if err := s.SignInDevice(t.Context(), expired.stringField("user_code"), alice); err == nil {
			t.Error("the expired code is accepted")
		}
	})
}

// The user enters the code on a page, then signs in, or declines.
func TestDeviceCodePages(t *testing.T) {
	s := entratest.NewServer(publicClient())
	page := authHost + "common/oauth2/deviceauth?otc="
	for _, test := range []struct {
		button, heading, code string
	}{
		{"cancel", "You have not signed in", "authorization_declined"},
		{"consent", "You have signed in", ""},
	} {
		start := startDevice(t, s, "Mail.Read openid")
		b := newBrowser(t, s).open(page + start.stringField("user_code"))
		b.wantPage("Enter code")
		b = b.press("", "otc", start.stringField("user_code")).signIn(alice, "alice-password")
		b.wantPage("Permissions requested")
		b = b.press(test.button)
		b.wantPage(test.heading)
		resp := pollDevice(t, s, start.stringField("device_code"), cli)
		if resp.stringField("error") != test.code {
			t.Errorf("%s: got %d %v", test.button, resp.status, resp.body)
		}
	}
	b := newBrowser(t, s).open(page + "<zq>")
	b.wantPage("Enter code")
	if b = b.press("", "otc", "<zq>"); strings.Contains(b.page, "<zq") {
		t.Error("the page has unescaped markup")
	}
	b.wantPage("Enter code", "The code is not valid")
}

// A device code is redeemed at the tenant of the user
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#authenticating-the-user).
func TestDeviceCodeOfOtherTenant(t *testing.T) {
	s := entratest.NewServer(publicClient())
	start := startDevice(t, s, "User.Read")
	if err := s.SignInDevice(t.Context(), start.stringField("user_code"), alice); err != nil {
		t.Fatal(err)
	}
	wantError(t, tokenRequest(t, s, fabrikam, "grant_type", deviceGrant, "client_id", cli, "device_code",
		start.stringField("device_code")), 400, "bad_verification_code", 70018)
	wantToken(t, tokenRequest(t, s, tenant, "grant_type", deviceGrant, "client_id", cli, "device_code",
		start.stringField("device_code")))
}

// Device authorizations that no user completes do not fill the memory: the oldest ones are replaced, and a
// scope has a maximum size.
func TestDeviceCodesAreBounded(t *testing.T) {
	s := entratest.NewServer(publicClient())
	first := startDevice(t, s, "User.Read").stringField("device_code")
	second := startDevice(t, s, "User.Read").stringField("device_code")
	for range 4095 {
		startDevice(t, s, "User.Read")
	}
	wantError(t, pollDevice(t, s, first, cli), 400, "bad_verification_code", 70018)
	wantError(t, pollDevice(t, s, second, cli), 400, "authorization_pending", 70016)
	resp := post(t, s.Client(), authHost+"organizations/oauth2/v2.0/devicecode", form("client_id", cli, "scope",
		strings.Repeat("User.Read ", 820)))
	wantError(t, resp, 400, "invalid_scope", 70011)
}
