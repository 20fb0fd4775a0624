package integration_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
)

func TestMSALNodeForApps(t *testing.T) {
	f := newFake(t)
	node := f.newNode(t, "msal.mjs")
	key, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	thumbprint := func(cert *x509.Certificate) string {
		sum := sha256.Sum256(cert.Raw)
		return hex.EncodeToString(sum[:])
	}
	var chain strings.Builder
	for _, cert := range f.certChain {
		pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
	}
	federated, err := f.federatedToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	for _, test := range []struct {
		name, client string
		credential   map[string]any
	}{
		{"secret", daemonID, map[string]any{"clientSecret": daemonSecret}},
		{"certificate", certID, map[string]any{"clientCertificate": map[string]any{
			"thumbprintSha256": thumbprint(f.cert[0]), "privateKey": keyPEM,
		}}},
		{"certificate by subject name and issuer", certSNIID, map[string]any{"clientCertificate": map[string]any{
			"thumbprintSha256": thumbprint(f.certChain[0]), "privateKey": keyPEM, "x5c": chain.String(),
		}}},
		{"assertion", federatedID, map[string]any{"clientAssertion": federated}},
	} {
		t.Run(test.name, func(t *testing.T) {
			node.app(t, f, test.name, test.client, test.credential)
			get := call(test.name, "acquireTokenByClientCredential", map[string]any{"scopes": []string{appScope}})
			var first, second msalResult
			node.must(t, get, &first)
			f.wantApp(t, first.AccessToken, test.client)
			if first.FromCache || first.TokenType != "Bearer" {
				t.Errorf("got fromCache %v, tokenType %q; want false, Bearer", first.FromCache, first.TokenType)
			}
			node.must(t, get, &second)
			if !second.FromCache || second.AccessToken != first.AccessToken {
				t.Error("second call: got a new token, want the one in MSAL's cache")
			}
		})
	}

	t.Run("wrong secret", func(t *testing.T) {
		node.app(t, f, "wrong", daemonID, map[string]any{"clientSecret": "not-the-secret"})
		failed := node.do(t, call("wrong", "acquireTokenByClientCredential", map[string]any{"scopes": []string{appScope}}),
			nil)
		if failed == nil || failed.Name != "ServerError" || failed.ErrorCode != "invalid_client" ||
			failed.ErrorNo != 7000215 {
			t.Errorf("got error %+v, want invalid_client, 7000215", failed)
		}
	})
}

// Alice signs in to a web app, which uses PKCE, MSAL's cache and the refresh token. The API that she calls calls the
// next one for her.
func TestMSALNodeForUsers(t *testing.T) {
	f := newFake(t)
	node := f.newNode(t, "msal.mjs")
	node.app(t, f, "webapp", webappID, map[string]any{"clientSecret": webappSecret})
	node.app(t, f, "api-a", apiAID, map[string]any{"clientSecret": apiASecret})

	const redirect = "http://localhost/callback"
	scopes := []string{apiAScope}
	var pkce struct{ Verifier, Challenge string }
	node.must(t, map[string]any{"call": "pkce"}, &pkce)
	var address string
	node.must(t, call("webapp", "getAuthCodeUrl", map[string]any{
		"scopes": scopes, "redirectUri": redirect, "state": "a-state", "nonce": "a-nonce",
		"codeChallenge": pkce.Challenge, "codeChallengeMethod": "S256",
	}), &address)
	back, _ := f.newPerson(t, alice, f.away).follow(t, address)
	params := authResponse(t, back, "a-state")

	var signedIn msalResult
	redeem := call("webapp", "acquireTokenByCode",
		map[string]any{
			"code": params.Get("code"), "codeVerifier": pkce.Verifier, "redirectUri": redirect, "scopes": scopes,
			"state": "a-state", "nonce": "a-nonce", "clientInfo": params.Get("client_info"),
		},
		map[string]any{"code": params.Get("code"), "state": params.Get("state")})
	node.must(t, redeem, &signedIn)
	f.wantAlice(t, signedIn.AccessToken, apiAID, webappID, "access_as_user")
	if signedIn.UniqueID != aliceID || signedIn.TenantID != tenant || signedIn.IDTokenClaims.Nonce != "a-nonce" {
		t.Errorf("got uniqueId %q, tenantId %q, nonce %q", signedIn.UniqueID, signedIn.TenantID,
			signedIn.IDTokenClaims.Nonce)
	}
	var account struct{ HomeAccountID, Username, Name string }
	if err := json.Unmarshal(signedIn.Account, &account); err != nil {
		t.Fatal(err)
	}
	if account.HomeAccountID != aliceID+"."+tenant || account.Username != alice || account.Name != aliceName {
		t.Errorf("got account %+v, want that of Alice", account)
	}

	silent := func(force bool) map[string]any {
		return call("webapp", "acquireTokenSilent", map[string]any{
			"scopes": scopes, "account": signedIn.Account, "forceRefresh": force,
		})
	}
	var cached, refreshed msalResult
	node.must(t, silent(false), &cached)
	if !cached.FromCache || cached.AccessToken != signedIn.AccessToken {
		t.Error("got a new token, want the one in MSAL's cache")
	}
	node.must(t, silent(true), &refreshed)
	if refreshed.FromCache || refreshed.AccessToken == signedIn.AccessToken {
		t.Error("got the old token, want a refreshed one")
	}
	f.wantAlice(t, refreshed.AccessToken, apiAID, webappID, "access_as_user")

	onBehalf := call("api-a", "acquireTokenOnBehalfOf", map[string]any{
		"oboAssertion": refreshed.AccessToken, "scopes": []string{ordersScope},
	})
	var next, again msalResult
	node.must(t, onBehalf, &next)
	f.wantAlice(t, next.AccessToken, apiBID, apiAID, "Orders.Read")
	node.must(t, onBehalf, &again)
	if !again.FromCache {
		t.Error("second call on behalf of Alice: got a new token, want the one in MSAL's cache")
	}

	reused := node.do(t, redeem, nil)
	if reused == nil || reused.ErrorCode != "invalid_grant" || reused.ErrorNo != 54005 {
		t.Errorf("code used twice: got %+v, want invalid_grant, 54005", reused)
	}
}
