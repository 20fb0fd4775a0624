package entratest_test

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

func TestNewServerPanicsForInvalidConfig(t *testing.T) {
	app := func(change func(*entratest.App)) func(*entratest.Config) {
		return func(c *entratest.Config) { change(&c.Apps[0]) }
	}
	user := func(change func(*entratest.User)) func(*entratest.Config) {
		return func(c *entratest.Config) { change(&c.Users[0]) }
	}
	for want, change := range map[string]func(*entratest.Config){
		"at least one tenant is required": func(c *entratest.Config) { c.Tenants = nil },
		`tenant "x": ID is not a GUID`:    func(c *entratest.Config) { c.Tenants[0].ID = "x" },
		`invalid domain "common"`:         func(c *entratest.Config) { c.Tenants[0].Domain = "common" },
		"another tenant has the ID or domain": func(c *entratest.Config) {
			c.Tenants = append(c.Tenants,
				c.Tenants[0])
		},
		`"a/b" is not a host name`:         func(c *entratest.Config) { c.Host = "a/b" },
		"the name is empty":                app(func(a *entratest.App) { a.Name = "" }),
		"another app has the same name":    app(func(a *entratest.App) { a.Name = "webapp" }),
		`client ID "" is not a GUID`:       app(func(a *entratest.App) { a.ClientID = "" }),
		"another app has the client ID":    app(func(a *entratest.App) { a.ClientID = webapp }),
		`unknown tenant "x"`:               app(func(a *entratest.App) { a.TenantID = "x" }),
		`object ID "x" is not a GUID`:      app(func(a *entratest.App) { a.ObjectID = "x" }),
		"token version 3 is not 1 or 2":    app(func(a *entratest.App) { a.TokenVersion = 3 }),
		`invalid App ID URI "no uri"`:      app(func(a *entratest.App) { a.AppIDURI = "no uri" }),
		"has the same App ID URI":          app(func(a *entratest.App) { a.AppIDURI = "API://api-b/" }),
		`invalid scope or role name "a b"`: app(func(a *entratest.App) { a.Scopes = []string{"a b"} }),
		`invalid redirect URI "https://x/*"`: app(func(a *entratest.App) {
			a.RedirectURIs = []string{"https://x/*"}
		}),
		`invalid logout URL "x"`: app(func(a *entratest.App) { a.LogoutURL = "x" }),
		"not an *rsa.PublicKey or *ecdsa.PublicKey": app(func(a *entratest.App) {
			a.Federated = []entratest.FederatedCredential{{Issuer: "a", Subject: "b"}}
		}),
		"a certificate is nil": app(func(a *entratest.App) {
			a.Certificates = []*x509.Certificate{nil}
		}),
		"trusted subject: Subject is empty": app(func(a *entratest.App) {
			a.TrustedSubjects = []entratest.TrustedSubject{{}}
		}),
		"a public client cannot have credentials": app(func(a *entratest.App) { a.Public = true }),
		`permissions name the unknown resource "x"`: app(func(a *entratest.App) {
			a.Permissions = []entratest.Permission{{Resource: "x"}}
		}),
		`app "api-b" does not expose the scope "x"`: app(func(a *entratest.App) {
			a.Required = []entratest.Permission{{Resource: apiB, Scopes: []string{"x"}}}
		}),
		`app "api-b" does not define the role "x"`: app(func(a *entratest.App) {
			a.Permissions = []entratest.Permission{{Resource: apiB, Roles: []string{"x"}}}
		}),
		"invalid username": user(func(u *entratest.User) { u.Username = " " }),
		"another user has the same name": user(func(u *entratest.User) {
			u.Username = strings.ToUpper(bob)
		}),
		`user "alice@contoso.onmicrosoft.com": unknown tenant`: user(func(u *entratest.User) { u.TenantID = "x" }),
		"has the same object ID": func(c *entratest.Config) {
			c.Users[1].ObjectID = c.Users[0].ObjectID
		},
		`roles of the unknown app "x"`: user(func(u *entratest.User) {
			u.Roles = map[string][]string{"x": {"y"}}
		}),
		`app "api-a" does not define the role "y"`: user(func(u *entratest.User) {
			u.Roles = map[string][]string{"api://api-a": {"y"}}
		}),
		`guest of the user's home tenant "` + tenant: user(func(u *entratest.User) {
			u.Guest = map[string]string{tenant: ""}
		}),
	} {
		t.Run(want, func(t *testing.T) {
			cfg := entratest.Sample()
			change(&cfg)
			defer func() {
				msg, _ := recover().(string)
				if !strings.HasPrefix(msg, "entratest: invalid Config: ") || !strings.Contains(msg, want) {
					t.Errorf("got panic %q", msg)
				}
			}()
			entratest.NewServer(cfg)
		})
	}
}

func TestAppAndUser(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	if a := s.App("daemon"); a.ClientID != daemon || a.TokenVersion != 1 || a.AppIDURI != "api://"+daemon {
		t.Errorf("got app %+v", a)
	}
	if u := s.User(strings.ToUpper(alice)); u.Username != alice {
		t.Errorf("got user %+v", u)
	}
	for _, call := range []func(){func() { s.App("x") }, func() { s.User("x") }, func() { s.RevokeSessions("x") }} {
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			call()
		}()
	}
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s,
		s); got != "entratest.Server entratest.Server entratest.Server entratest.Server" {
		t.Errorf("formatted: got %s", got)
	}
}

// A thousand concurrent token requests succeed while other goroutines read the journal,
// inject faults, revoke sessions and rotate keys.
func TestConcurrentRequests(t *testing.T) {
	cfg := entratest.Sample()
	cfg.Users = append(cfg.Users, entratest.User{Username: "dave@contoso.onmicrosoft.com", TenantID: tenant})
	s := entratest.NewServer(cfg)
	users := []string{alice, bob, carol}
	assertion := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	refresh := redeem(t, s, signIn(t, s, alice)).stringField("refresh_token")
	before := s.TokenRequests()
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 1000 {
		wg.Go(func() {
			<-start
			var resp response
			switch i % 4 {
			case 0:
				resp = clientCredentials(t, s)
			case 1:
				cb, err := s.SignIn(t.Context(), authorizeURL("organizations"), users[i%3])
				if err != nil {
					t.Error(err)
					return
				}
				resp = redeem(t, s, cb.Query().Get("code"))
			case 2:
				resp = onBehalfOf(t, s, assertion)
			case 3:
				resp = tokenRequest(t, s, tenant, "grant_type", "refresh_token", "client_id", webapp, "client_secret",
					"webapp-secret", "refresh_token", refresh)
			}
			if resp.status != 200 || resp.stringField("access_token") == "" {
				t.Errorf("got %d %v", resp.status, resp.body)
			}
		})
	}
	for i := range 100 {
		wg.Go(func() {
			<-start
			s.Requests()
			s.Count(entratest.Match{Endpoint: "token"})
			s.Inject(entratest.Fault{Endpoint: "logout", Status: 500})()
			s.RevokeSessions("dave@contoso.onmicrosoft.com")
			if i == 50 {
				s.RotateKeys()
			}
		})
	}
	close(start)
	wg.Wait()
	if n := s.TokenRequests() - before; n != 1000 {
		t.Errorf("got %d token requests", n)
	}
}

// Of many concurrent redemptions of a code, one succeeds.
func TestCodeIsRedeemedOnce(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	code := signIn(t, s, alice)
	var mu sync.Mutex
	got := map[int]int{}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp := redeem(t, s, code)
			mu.Lock()
			defer mu.Unlock()
			got[resp.aadsts()]++
		})
	}
	wg.Wait()
	if got[0] != 1 || got[54005] != 19 {
		t.Errorf("got responses by error number: %v", got)
	}
}

// The server does not store issued tokens.
func TestIssuedTokensUseNoMemory(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	for range 4200 { // fill the journal
		clientCredentials(t, s, "client_secret", "", "padding", strings.Repeat("x", 3000))
	}
	before := heap()
	for range 300 {
		wantToken(t, onBehalfOf(t, s, s.Mint(entratest.MintOptions{Resource: "api-a", User: alice})))
	}
	if after := heap(); after > before+256<<10 {
		t.Errorf("heap grew from %d to %d bytes", before, after)
	}
}

// No code can be redeemed twice, however long ago it was redeemed.
func TestCodeIsNeverRedeemedTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		for range 200 {
			code := signIn(t, s, alice)
			time.Sleep(2 * time.Minute)
			wantToken(t, redeem(t, s, code))
			wantError(t, redeem(t, s, code), 400, "invalid_grant", 54005)
			time.Sleep(7 * time.Minute)
			wantError(t, redeem(t, s, code), 400, "invalid_grant", 54005)
			time.Sleep(2 * time.Minute)
			wantError(t, redeem(t, s, code), 400, "invalid_grant", 70008)
		}
	})
}

func TestZeroServerNamesNewServer(t *testing.T) {
	const want = "entratest: Server must be created with NewServer"
	var s entratest.Server
	_, err := s.Client().Get(authHost + tenant + "/v2.0/.well-known/openid-configuration")
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("Client: got error %v, want %q", err, want)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), want) {
		t.Errorf("ServeHTTP: got %d %q, want 500 %q", w.Code, w.Body, want)
	}
	if _, err := s.SignIn(t.Context(), authorizeURL(tenant), alice); err == nil || err.Error() != want {
		t.Errorf("SignIn: got error %v, want %q", err, want)
	}
}
