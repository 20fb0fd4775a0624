package entratest_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// secretWorks requests a token with a secret. It returns the AADSTS number, or 0 for success.
func secretWorks(t *testing.T, s *entratest.Server, secret string) int {
	t.Helper()
	before := s.Count(entratest.Match{Endpoint: "token"})
	resp, err := s.Client().PostForm("https://login.microsoftonline.com/"+entratest.SampleTenant+"/oauth2/v2.0/token",
		map[string][]string{
			"grant_type": {"client_credentials"}, "client_id": {s.App("daemon").ClientID}, "client_secret": {secret},
			"scope": {"api://api-b/.default"},
		})
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s.Count(entratest.Match{Endpoint: "token"}) != before+1 {
		t.Fatal("the request is not in the journal")
	}
	return s.Requests()[len(s.Requests())-1].AADSTS
}

func TestUpdateCredentialsAppliesAtOnce(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	other := entratest.NewServer(entratest.Sample())
	if n := secretWorks(t, s, "daemon-secret"); n != 0 {
		t.Fatalf("got AADSTS%d", n)
	}
	s.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets = append(a.Secrets, "new") })
	if old, fresh := secretWorks(t, s, "daemon-secret"), secretWorks(t, s, "new"); old != 0 || fresh != 0 {
		t.Errorf("both secrets valid: got AADSTS%d, AADSTS%d", old, fresh)
	}
	s.UpdateCredentials("daemon", func(a *entratest.App) {
		a.Secrets, a.ExpiredSecrets = []string{"new"},
			[]string{"daemon-secret"}
	})
	if old, fresh := secretWorks(t, s, "daemon-secret"), secretWorks(t, s, "new"); old != 7000222 || fresh != 0 {
		t.Errorf("old secret expired: got AADSTS%d, AADSTS%d", old, fresh)
	}
	if got := s.App("daemon"); !slices.Equal(got.Secrets, []string{"new"}) || got.AppIDURI == "" {
		t.Errorf("App: got secrets %v", got)
	}
	if n := secretWorks(t, other, "daemon-secret"); n != 0 {
		t.Errorf("another server of the same Config: got AADSTS%d", n)
	}
}

func TestUpdateCredentialsPanics(t *testing.T) {
	for want, update := range map[string]func(*entratest.Server){
		`unknown app "unknown"`: func(s *entratest.Server) { s.UpdateCredentials("unknown", func(*entratest.App) {}) },
		`of app "daemon" modified a field that is not a credential`: func(s *entratest.Server) {
			s.UpdateCredentials("daemon", func(a *entratest.App) { a.AppIDURI = "api://x" })
		},
		"a certificate is nil": func(s *entratest.Server) {
			s.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = []*x509.Certificate{nil} })
		},
	} {
		s := entratest.NewServer(entratest.Sample())
		func() {
			defer func() {
				if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
					t.Errorf("got panic %q, want %q", got, want)
				}
			}()
			update(s)
		}()
		if n := secretWorks(t, s, "daemon-secret"); n != 0 {
			t.Errorf("previous secret: got AADSTS%d, want a token", n)
		}
	}
}

// A credential that is valid before and after an update is valid during the update.
func TestUpdateCredentialsDuringRequests(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 20 {
				if i == 0 {
					s.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets = []string{"daemon-secret", fmt.Sprint(j)} })
					continue
				}
				resp, err := s.Client().PostForm(authHost+tenant+"/oauth2/v2.0/token", map[string][]string{
					"grant_type": {"client_credentials"}, "client_id": {s.App("daemon").ClientID},
					"client_secret": {"daemon-secret"}, "scope": {"api://api-b/.default"},
				})
				if err != nil || resp.StatusCode != 200 {
					t.Errorf("got %v, %v", resp, err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	wg.Wait()
}
