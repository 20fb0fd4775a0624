package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A development setup trusts the CA once: with -state, CA, signing keys and refresh tokens
// stay valid across restarts.
func TestStateSurvivesRestarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	type keys struct{ Keys []struct{ Kid string } }
	var firstCA []byte
	var firstKeys keys
	refresh := ""
	for n := range 2 {
		d, client, _, stop := start(t, "-state", dir)
		authority := d.Authority
		ca, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		if d.CAFile != filepath.Join(dir, "ca.pem") {
			t.Errorf("got CA file %s", d.CAFile)
		}
		var set keys
		getJSON(t, client, authority+"/common/discovery/v2.0/keys", &set)
		var health struct{ Status string }
		if getJSON(t, client, authority+"/-/health", &health); health.Status != "ok" {
			t.Errorf("got health %+v", health)
		}
		form := url.Values{"client_id": {"aaaaaaaa-0000-4000-8000-00000000000a"}, "client_secret": {"api-a-secret"},
			"scope": {"api://api-b/Orders.Read offline_access"}}
		if n == 0 {
			firstCA, firstKeys = ca, set
			form.Set("grant_type", "password")
			form.Set("username", "alice@contoso.onmicrosoft.com")
			form.Set("password", "alice-password")
		} else {
			form.Set("grant_type", "refresh_token")
			form.Set("refresh_token", refresh)
			if !bytes.Equal(ca, firstCA) || len(set.Keys) != 1 || set.Keys[0] != firstKeys.Keys[0] {
				t.Errorf("after a restart: got keys %+v, want %+v; same CA: %v", set, firstKeys, bytes.Equal(ca, firstCA))
			}
		}
		var token struct {
			Refresh     string `json:"refresh_token"`
			Description string `json:"error_description"`
		}
		resp, err := client.PostForm(authority+"/organizations/oauth2/v2.0/token", form)
		if err != nil {
			t.Fatal(err)
		}
		decodeJSON(t, resp, &token)
		if refresh = token.Refresh; refresh == "" {
			t.Errorf("start %d: got no refresh token: %s", n, token.Description)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "ca-key.pem"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got CA key %v, %v, want mode 0600", info, err)
	}
	for name, data := range map[string]string{"seal.key": "short", "signing.pem": "not a certificate"} {
		other := t.TempDir()
		if _, err := readState(other); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(other, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readState(other); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"tenants": []}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), []string{"-state", dir}, io.Discard, &lines{}); err == nil ||
		!strings.Contains(err.Error(), "at least one tenant") {
		t.Errorf("config.json: got %v", err)
	}
}

func getJSON(t *testing.T, client *http.Client, url string, v any) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	decodeJSON(t, resp, v)
}

func decodeJSON(t *testing.T, resp *http.Response, v any) {
	t.Helper()
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		t.Fatal(err)
	}
}
