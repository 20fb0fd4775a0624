package entratest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

const (
	spa       = "aaaaaaaa-0000-4000-8000-0000000005fa"
	spaURI    = "http://localhost:3000/spa"
	nativeURI = "http://localhost/native"
	spaOrigin = "http://localhost:3000"
)

// spaConfig returns the sample Config with an app that has redirect URIs of each type.
func spaConfig() entratest.Config {
	cfg := entratest.Sample()
	cfg.Apps = append(cfg.Apps, entratest.App{
		Name: "spa", ClientID: spa, TenantID: tenant, Secrets: []string{"spa-secret"}, RedirectURIs: []string{callback},
		SPARedirectURIs: []string{spaURI}, PublicRedirectURIs: []string{nativeURI},
	})
	return cfg
}

// redeemAt signs alice in to the app of spaConfig and redeems the code from an origin.
func redeemAt(t *testing.T, s *entratest.Server, uri, origin string, pairs ...string) response {
	t.Helper()
	request := []string{"client_id", spa, "redirect_uri", uri}
	f := form("grant_type", "authorization_code", "client_id", spa, "redirect_uri", uri, "code_verifier", verifier)
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i] == "client_secret" || pairs[i] == "code_verifier" {
			f.Set(pairs[i], pairs[i+1])
		} else {
			request = append(request, pairs[i], pairs[i+1])
		}
	}
	cb, err := s.SignIn(t.Context(), authorizeURL(tenant, request...), alice)
	if err != nil {
		t.Fatal(err)
	}
	f.Set("code", cb.Query().Get("code"))
	return tokenFrom(t, s, origin, f)
}

// tokenFrom sends a token request from an origin.
func tokenFrom(t *testing.T, s *entratest.Server, origin string, f url.Values) response {
	t.Helper()
	req, err := http.NewRequest("POST", authHost+tenant+"/oauth2/v2.0/token", strings.NewReader(f.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if origin != "" {
		req.Header.Set("Origin", origin)
	}
	return do(t, s.Client(), req)
}

// The grants of a single-page app are redeemed by cross-origin requests with PKCE, and no
// others are (umijs/umi-request#299, AzureAD/microsoft-authentication-library-for-js#2482,
// thobach/MMM-MicrosoftToDo#27, MicrosoftDocs/azure-docs#100859).
func TestCrossOriginRedemption(t *testing.T) {
	s := entratest.NewServer(spaConfig())
	resp := redeemAt(t, s, spaURI, spaOrigin)
	if c := wantToken(t, resp); c.stringClaim("azpacr") != "0" || resp.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("got azpacr %s, headers %v", c.stringClaim("azpacr"), resp.header)
	}
	failed := redeemAt(t, s, callback, spaOrigin, "client_secret", "spa-secret")
	wantError(t, failed, 400, "invalid_request", 9002326)
	if failed.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Error("a script cannot read the error")
	}
	wantError(t, redeemAt(t, s, nativeURI, spaOrigin), 400, "invalid_request", 9002326)
	wantError(t, redeemAt(t, s, spaURI, ""), 400, "invalid_request", 9002327)
	wantError(t, redeemAt(t, s, spaURI, spaOrigin, "client_secret", "spa-secret"), 401, "invalid_client", 700025)
	wantError(t, redeemAt(t, s, spaURI, spaOrigin, "code_challenge", "", "code_challenge_method", "", "code_verifier", ""),
		400, "invalid_request", 9002325)
	wantError(t, tokenFrom(t, s, spaOrigin, form("grant_type", "client_credentials", "client_id", daemon, "client_secret",
		"daemon-secret", "scope", "api://api-b/.default")), 400, "invalid_request", 9002326)

	wantToken(t, redeemAt(t, s, callback, "", "client_secret", "spa-secret"))
	wantError(t, redeemAt(t, s, callback, ""), 401, "invalid_client", 7000218)
	if c := wantToken(t, redeemAt(t, s, nativeURI, "")); c.stringClaim("azpacr") != "0" {
		t.Errorf("got azpacr %s", c.stringClaim("azpacr"))
	}
}

// The refresh tokens of a single-page app expire 24 hours after the first
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token).
func TestRefreshTokenOfSinglePageAppLastsADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(spaConfig())
		resp := redeemAt(t, s, spaURI, spaOrigin)
		if wantToken(t, resp); resp.body["refresh_token_expires_in"] != 86400.0 {
			t.Errorf("got refresh_token_expires_in %v", resp.body["refresh_token_expires_in"])
		}
		refresh := func(origin string) response {
			return tokenFrom(t, s, origin, form("grant_type", "refresh_token", "client_id", spa, "refresh_token",
				resp.stringField("refresh_token"), "scope", "api://api-a/access_as_user offline_access"))
		}
		wantError(t, refresh(""), 400, "invalid_request", 9002327)
		time.Sleep(23 * time.Hour)
		resp = refresh(spaOrigin)
		if wantToken(t, resp); resp.body["refresh_token_expires_in"] != 3600.0 {
			t.Errorf("refreshed: got refresh_token_expires_in %v", resp.body["refresh_token_expires_in"])
		}
		time.Sleep(time.Hour)
		wantError(t, refresh(spaOrigin), 400, "invalid_grant", 700084)
	})
}

// Scripts may read the token endpoint, keys, discovery and Graph, but not the pages.
func TestPreflight(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for url, want := range map[string]string{
		authHost + tenant + "/oauth2/v2.0/token":                         "*",
		authHost + tenant + "/discovery/v2.0/keys":                       "*",
		authHost + tenant + "/v2.0/.well-known/openid-configuration":     "*",
		"https://graph.microsoft.com/oidc/userinfo":                      "*",
		authHost + tenant + "/oauth2/v2.0/authorize?client_id=" + webapp: "",
	} {
		req, err := http.NewRequest("OPTIONS", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", spaOrigin)
		req.Header.Set("Access-Control-Request-Method", "POST")
		req.Header.Set("Access-Control-Request-Headers", "authorization")
		resp, err := s.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != want ||
			want != "" && (resp.StatusCode != 200 || resp.Header.Get("Access-Control-Allow-Headers") != "authorization") {
			t.Errorf("%s: got %d %v", url, resp.StatusCode, resp.Header)
		}
	}
}
