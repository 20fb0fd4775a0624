package entratest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

func TestJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		start := time.Now()
		clientCredentials(t, s)
		time.Sleep(time.Minute)
		clientCredentials(t, s, "client_secret", "wrong")
		got := s.Requests()
		want := entratest.Request{
			Time: start, Method: "POST", Host: "login.microsoftonline.com", Path: "/" + tenant + "/oauth2/v2.0/token",
			Endpoint: "token", Tenant: tenant, ClientID: daemon, GrantType: "client_credentials", Status: 200,
			Form: url.Values{
				"grant_type": {"client_credentials"}, "client_id": {daemon}, "client_secret": {"REDACTED"},
				"scope": {"api://api-b/.default openid offline_access profile"},
			},
		}
		if len(got) != 2 || !reflect.DeepEqual(got[0], want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
		if got[1].Status != 401 || got[1].Error != "invalid_client" || got[1].AADSTS != 7000215 ||
			!got[1].Time.Equal(start.Add(time.Minute)) {
			t.Errorf("rejected request: got %+v", got[1])
		}
	})
}

// If a body is not a form, its contents are parsed as a parameter name. The journal redacts the name, because it
// may be a secret.
func TestJournalRedactsInvalidParameterNames(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token",
		url.Values{"s3cr3t.of~the-app": {""}, "x-client-SKU": {"MSAL"}, "typo_id": {"x"}})
	got := s.Requests()[0].Form
	want := url.Values{"REDACTED": {"REDACTED"}, "x-client-SKU": {"MSAL"}, "typo_id": {"REDACTED"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The journal truncates long requests and keeps the parameters that it shows.
func TestJournalLimitsParameters(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	f := form("grant_type", "client_credentials", "client_id", daemon, "padding", strings.Repeat("x", 800<<10))
	for _, name := range []string{"scope", "state", "nonce", "claims", "username", "prompt", "resource", "login_hint"} {
		f[name] = slices.Repeat([]string{strings.Repeat("y", 2<<10)}, 8)
	}
	for range 64 {
		post(t, s.Client(), authHost+tenant+"/oauth2/v2.0/token", f)
	}
	if after := heap(); after > before+2<<20 {
		t.Errorf("64 requests use %d bytes", after-before)
	}
	size := 0
	for name, values := range s.Requests()[0].Form {
		size += len(name) + len(strings.Join(values, ""))
	}
	if size > 8<<10 {
		t.Errorf("parameters of a request have %d bytes", size)
	}
	runtime.KeepAlive(s)
}

func TestCount(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	redeem(t, s, signIn(t, s, alice))
	clientCredentials(t, s)
	clientCredentials(t, s, "client_secret", "wrong")
	tokenRequest(t, s, fabrikam, "grant_type", "client_credentials", "client_id", daemon, "client_secret",
		"daemon-secret", "scope", "api://api-b/.default")
	for _, test := range []struct {
		match entratest.Match
		want  int
	}{
		{entratest.Match{}, 5},
		{entratest.Match{Endpoint: "token"}, 4},
		{entratest.Match{Endpoint: "authorize"}, 1},
		{entratest.Match{Endpoint: "keys"}, 0},
		{entratest.Match{Tenant: tenant}, 2},
		{entratest.Match{Tenant: "contoso.onmicrosoft.com"}, 2},
		{entratest.Match{Tenant: "organizations"}, 2},
		{entratest.Match{ClientID: strings.ToUpper(daemon)}, 3},
		{entratest.Match{GrantType: "client_credentials"}, 3},
		{entratest.Match{Error: "invalid_client"}, 1},
		{entratest.Match{AADSTS: 7000215, Tenant: tenant}, 1},
	} {
		if got := s.Count(test.match); got != test.want {
			t.Errorf("%+v: %d, want %d", test.match, got, test.want)
		}
	}
	if got := s.TokenRequests(); got != 4 {
		t.Errorf("got %d token requests", got)
	}
}

func TestJournalHasNoSecrets(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	code := signIn(t, s, alice)
	resp := redeem(t, s, code)
	onBehalfOf(t, s, resp.stringField("access_token"))
	tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret", "webapp-secret",
		"refresh_token", resp.stringField("refresh_token"))
	tokenRequest(t, s, tenant, "grant_type", "password", "client_id", apiA, "client_secret", "api-a-secret",
		"username", alice, "password", "alice-password")
	data, err := json.Marshal(s.Requests())
	if err != nil {
		t.Fatal(err)
	}
	log := string(data) + fmt.Sprintf("%v %+v %#v", s.Requests(), s, s)
	for name, value := range map[string]string{
		"secret": "webapp-secret", "password": "alice-password", "code": code, "verifier": verifier,
		"access token": resp.stringField("access_token"), "refresh token": resp.stringField("refresh_token"),
	} {
		if strings.Contains(log, value) {
			t.Errorf("journal has the %s", name)
		}
	}
}

func TestJournalIsBounded(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const n = 6000
	for i := range n {
		tokenRequest(t, s, tenant, "grant_type", fmt.Sprint("grant-", i), "client_id", daemon)
	}
	log := s.Requests()
	if len(log) != 4096 || log[0].GrantType != fmt.Sprint("grant-", n-4096) ||
		log[4095].GrantType != fmt.Sprint("grant-", n-1) {
		t.Errorf("got %d requests, from %s to %s", len(log), log[0].GrantType, log[len(log)-1].GrantType)
	}
	if got := s.TokenRequests(); got != n {
		t.Errorf("got %d counted", got)
	}
}
