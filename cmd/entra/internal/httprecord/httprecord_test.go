package httprecord_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/entratest"
)

// The record describes each request and contains no secret.
func TestRecorder(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	r := &httprecord.Recorder{Base: s.Client().Transport}
	client := &http.Client{Transport: r}
	const at = "https://login.microsoftonline.com/" + entratest.SampleTenant
	get, err := client.Get(at + "/v2.0/.well-known/openid-configuration")
	if err != nil {
		t.Fatal(err)
	}
	get.Body.Close()
	assertion := s.Mint(entratest.MintOptions{Resource: "api-b", Claims: map[string]any{"iss": "https://cluster.example/",
		"sub": "orders", "aud": []string{"a", "b"}, "exp": 1700000000}})
	for _, form := range []url.Values{
		{"grant_type": {"client_credentials"}, "client_id": {s.App("daemon").ClientID}, "client_secret": {"daemon-secret"},
			"scope": {"api://api-b/.default"}},
		{"grant_type": {"client_credentials"}, "client_assertion": {assertion}},
		{"client_assertion": {"none"}},
	} {
		resp, err := client.PostForm(at+"/oauth2/v2.0/token", form)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	all := r.Requests()
	if len(all) != 4 {
		t.Fatalf("got %d requests, want 4", len(all))
	}
	for i, want := range []struct {
		method, kind string
		status       int
	}{{"GET", "discovery", 200}, {"POST", "token", 200}, {"POST", "token", 400}, {"POST", "token", 400}} {
		q := all[i]
		if q.Method != want.method || q.Kind != want.kind || q.Status != want.status && q.Status < 400 ||
			q.Host != "login.microsoftonline.com" || time.Since(q.Date) > time.Minute {
			t.Errorf("request %d: got %+v, want %+v", i, q, want)
		}
	}
	if all[1].Assertion != nil {
		t.Errorf("got the assertion %+v, want none", all[1].Assertion)
	}
	if a := all[2].Assertion; a == nil || a.Issuer != "https://cluster.example/" || a.Subject != "orders" ||
		strings.Join(a.Audience, " ") != "a b" || !a.Expiry.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got the assertion %+v", a)
	}
	if a := all[3].Assertion; a == nil || a.Issuer != "" {
		t.Errorf("got the assertion %+v", a)
	}
	if last, ok := r.Last("discovery"); !ok || last.Method != "GET" {
		t.Errorf("got %+v, %v", last, ok)
	}
	if _, ok := r.Last("keys"); ok {
		t.Error("got a request of an unknown kind")
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		text := fmt.Sprintf(verb, all) + fmt.Sprintf(verb, all[2].Assertion)
		for _, secret := range []string{"daemon-secret", assertion, "eyJ"} {
			if strings.Contains(text, secret) {
				t.Errorf("%.200s contains %q", text, secret)
			}
		}
	}
}
