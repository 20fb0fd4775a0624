package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// azureToken is the AccessToken of @azure/identity.
type azureToken struct {
	Token              string
	ExpiresOnTimestamp int64 // in milliseconds
}

// azureCredential creates a credential of @azure/identity with the arguments of its constructor and with options.
func (f *fake) azureCredential(
	t *testing.T, node *driver, name, class string, arguments []any, options map[string]any,
) {
	t.Helper()
	settings := map[string]any{"authorityHost": f.url, "disableInstanceDiscovery": true}
	for key, value := range options {
		settings[key] = value
	}
	node.must(t, map[string]any{"new": name, "class": class, "with": append(arguments, settings)}, nil)
}

func TestAzureIdentityForApps(t *testing.T) {
	f := newFake(t)
	node := f.newNode(t, "identity.mjs")
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name, client, class string
		credential          any
		options             map[string]any
	}{
		{"secret", daemonID, "ClientSecretCredential", daemonSecret, nil},
		{"certificate", certID, "ClientCertificateCredential", file("one.pem", f.pemOf(t, f.cert)), nil},
		{"certificate by subject name and issuer", certSNIID, "ClientCertificateCredential",
			file("chain.pem", f.pemOf(t, f.certChain)), map[string]any{"sendCertificateChain": true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f.azureCredential(t, node, test.name, test.class, []any{tenant, test.client, test.credential}, test.options)
			var first, second azureToken
			node.must(t, call(test.name, "getToken", appScope), &first)
			f.wantApp(t, first.Token, test.client)
			if life := time.Until(time.UnixMilli(first.ExpiresOnTimestamp)); life < 59*time.Minute || life > 91*time.Minute {
				t.Errorf("lifetime: got %v, want 60 to 90 minutes", life)
			}
			node.must(t, call(test.name, "getToken", appScope), &second)
			if second.Token != first.Token {
				t.Error("second call: got a new token, want the cached one")
			}
		})
	}
	t.Run("wrong secret", func(t *testing.T) {
		f.azureCredential(t, node, "wrong", "ClientSecretCredential", []any{tenant, daemonID, "not-the-secret"}, nil)
		failed := node.do(t, call("wrong", "getToken", appScope), nil)
		if failed == nil || !strings.Contains(failed.Message, "AADSTS7000215:") {
			t.Errorf("got error %+v, want AADSTS7000215", failed)
		}
	})
}

// An API acquires a token for the next one on behalf of Alice. A scope without consent is reported with the number of
// Entra.
func TestAzureIdentityOnBehalfOf(t *testing.T) {
	f := newFake(t)
	node := f.newNode(t, "identity.mjs")
	f.azureCredential(t, node, "api-a", "OnBehalfOfCredential", nil, map[string]any{
		"tenantId": tenant, "clientId": apiAID, "clientSecret": apiASecret, "userAssertionToken": f.aliceAtAPIA(t),
	})
	var token azureToken
	node.must(t, call("api-a", "getToken", ordersScope), &token)
	f.wantAlice(t, token.Token, apiBID, apiAID, "Orders.Read")

	failed := node.do(t, call("api-a", "getToken", "api://api-b/Orders.Write"), nil)
	if failed == nil || !strings.Contains(failed.Message, "AADSTS65001:") {
		t.Errorf("got error %+v, want AADSTS65001", failed)
	}
}

func TestAzureIdentityDeviceCode(t *testing.T) {
	f := newFake(t, addPublicClient)
	node := f.newNode(t, "identity.mjs")
	f.azureCredential(t, node, "command line", "DeviceCodeCredential", nil,
		map[string]any{"tenantId": tenant, "clientId": publicID})
	var prompt struct{ UserCode, VerificationURI, Message string }
	node.must(t, call("command line", "prompt", ordersScope), &prompt)
	if !strings.Contains(prompt.Message, prompt.UserCode) || !strings.HasPrefix(prompt.VerificationURI, f.url) {
		t.Errorf("got prompt %+v, want a message with the code and a page of the fake", prompt)
	}
	if err := f.SignInDevice(t.Context(), prompt.UserCode, alice); err != nil {
		t.Fatal(err)
	}
	var token azureToken
	node.must(t, map[string]any{"on": "command line", "call": "token"}, &token)
	f.wantAlice(t, token.Token, apiBID, publicID, "Orders.Read")
	var again azureToken
	node.must(t, call("command line", "getToken", ordersScope), &again)
	if again.Token != token.Token {
		t.Error("second call: got a new token, want the cached one")
	}
}
