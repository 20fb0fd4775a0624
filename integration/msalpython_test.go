package integration_test

import (
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"os"
	"os/exec"
	"testing"
)

// pythonResult has the members of MSAL Python's results that the tests check. It returns errors in the same form.
type pythonResult struct {
	AccessToken   string `json:"access_token"`
	TokenSource   string `json:"token_source"`
	IDTokenClaims struct {
		Subject string `json:"oid"`
		Name    string `json:"name"`
	} `json:"id_token_claims"`
	Error    string `json:"error"`
	Codes    []int  `json:"error_codes"`
	SubError string `json:"suberror"`
}

// newMSALPython starts a process with the MSAL of Debian's Python. It trusts the fake's certificate.
func (f *fake) newMSALPython(t *testing.T) *driver {
	t.Helper()
	command := exec.Command("/usr/bin/python3", "python/msal_driver.py")
	command.Env = append(os.Environ(), "REQUESTS_CA_BUNDLE="+f.caFile)
	return startDriver(t, command)
}

// pythonApp creates an application in the sample tenant.
func (f *fake) pythonApp(t *testing.T, python *driver, name, client string, credential any) {
	t.Helper()
	python.must(t, map[string]any{"new": name, "auth": map[string]any{
		"client_id": client, "client_credential": credential, "authority": f.authority(),
		"instance_discovery": false,
	}}, nil)
}

// named returns the command that calls a method of an application with named arguments.
func named(app, method string, arguments map[string]any) map[string]any {
	return map[string]any{"on": app, "call": method, "with": arguments}
}

func TestMSALPythonForApps(t *testing.T) {
	f := newFake(t)
	python := f.newMSALPython(t)
	key, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha1.Sum(f.cert[0].Raw)
	federated, err := f.federatedToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	get := func(app string) map[string]any {
		return named(app, "acquire_token_for_client", map[string]any{"scopes": []string{appScope}})
	}
	for _, test := range []struct {
		name, client string
		credential   any
	}{
		{"secret", daemonID, daemonSecret},
		{"certificate", certID, map[string]any{
			"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
			"thumbprint":  hex.EncodeToString(sum[:]),
		}},
		{"assertion", federatedID, map[string]any{"client_assertion": federated}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.pythonApp(t, python, test.name, test.client, test.credential)
			var got pythonResult
			python.must(t, get(test.name), &got)
			if got.Error != "" {
				t.Fatalf("got %+v", got)
			}
			f.wantApp(t, got.AccessToken, test.client)
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		f.pythonApp(t, python, "wrong", daemonID, "not-the-secret")
		var got pythonResult
		python.must(t, get("wrong"), &got)
		if got.Error != "invalid_client" || len(got.Codes) != 1 || got.Codes[0] != 7000215 || got.AccessToken != "" {
			t.Errorf("got %+v, want invalid_client, 7000215", got)
		}
	})
}

// Alice signs in to a web app, which uses PKCE, MSAL's cache and the refresh token. The API that she calls calls the
// next one for her.
func TestMSALPythonForUsers(t *testing.T) {
	f := newFake(t)
	python := f.newMSALPython(t)
	f.pythonApp(t, python, "webapp", webappID, webappSecret)
	f.pythonApp(t, python, "api-a", apiAID, apiASecret)

	var flow struct {
		AuthURI string `json:"auth_uri"`
		State   string `json:"state"`
	}
	var raw json.RawMessage
	python.must(t, named("webapp", "initiate_auth_code_flow", map[string]any{
		"scopes": []string{apiAScope}, "redirect_uri": "http://localhost/callback",
	}), &raw)
	if err := json.Unmarshal(raw, &flow); err != nil {
		t.Fatal(err)
	}
	back, _ := f.newPerson(t, alice, f.away).follow(t, flow.AuthURI)
	redeem := named("webapp", "acquire_token_by_auth_code_flow", map[string]any{
		"auth_code_flow": raw, "auth_response": single(authResponse(t, back, flow.State)),
	})
	var signedIn pythonResult
	python.must(t, redeem, &signedIn)
	f.wantAlice(t, signedIn.AccessToken, apiAID, webappID, "access_as_user")
	if signedIn.IDTokenClaims.Subject != aliceID || signedIn.IDTokenClaims.Name != aliceName {
		t.Errorf("got the ID token of %+v", signedIn.IDTokenClaims)
	}

	var accounts []json.RawMessage
	python.must(t, named("webapp", "get_accounts", map[string]any{}), &accounts)
	if len(accounts) != 1 {
		t.Fatalf("got %d accounts, want 1", len(accounts))
	}
	var refreshed pythonResult
	python.must(t, named("webapp", "acquire_token_silent_with_error", map[string]any{
		"scopes": []string{apiAScope}, "account": accounts[0], "force_refresh": true,
	}), &refreshed)
	if refreshed.AccessToken == signedIn.AccessToken {
		t.Error("got the old token, want a refreshed one")
	}
	f.wantAlice(t, refreshed.AccessToken, apiAID, webappID, "access_as_user")

	var next pythonResult
	python.must(t, named("api-a", "acquire_token_on_behalf_of", map[string]any{
		"user_assertion": refreshed.AccessToken, "scopes": []string{ordersScope},
	}), &next)
	f.wantAlice(t, next.AccessToken, apiBID, apiAID, "Orders.Read")

	var reused pythonResult
	python.must(t, redeem, &reused)
	if reused.Error != "invalid_grant" || len(reused.Codes) != 1 || reused.Codes[0] != 54005 {
		t.Errorf("code used twice: got %+v, want invalid_grant, 54005", reused)
	}
}

// single returns the first value of each parameter.
func single(params url.Values) map[string]string {
	first := map[string]string{}
	for name := range params {
		first[name] = params.Get(name)
	}
	return first
}
