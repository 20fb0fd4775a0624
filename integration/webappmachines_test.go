package integration_test

import (
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
	"github.com/entratoken/entra/signin"
)

// webAppMachines checks that two machines have one store and the same keys. A sign-in may start on one and finish on
// the other, and the session works on both. Tokens stay on one machine, so the other redirects through Entra without
// showing a page. A sign-out on one machine holds for both.
func webAppMachines(t *testing.T, c *chromium) {
	listener, origin := listen(t)
	company := must[*contoso.Contoso](t)(contoso.Start(func(e *entratest.Config) { consented(e, origin) }))
	t.Cleanup(company.Stop)
	key := make([]byte, 32)
	rand.Read(key)
	settings := signin.Config{Store: &sharedStore{}, Keys: []signin.Key{signin.NewKey(key)}}

	var machines []http.Handler
	for range 2 {
		config := company.Config("webapp")
		config.Cache = nil // one for each machine
		client := must[*entra.Client](t)(entra.New(config))
		app := must[site.Config](t)(company.WebApp(origin))
		app.Flow = must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: origin + "/callback",
			Scopes: []string{contoso.DeskScope}}))
		app.SignIn = settings
		handler, stop, err := company.Browser(must[*site.Site](t)(site.New(app)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		machines = append(machines, handler)
	}
	var chosen atomic.Int32 // the machine that the load balancer chooses
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			machines[chosen.Load()].ServeHTTP(w, r)
		})}}
	server.Start()
	t.Cleanup(server.Close)
	w := &webApp{Contoso: company, url: origin}

	c.do(t, chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(passwordField))
	chosen.Store(1)
	c.signIn(t, alice, alicePassword)
	c.do(t, chromedp.WaitVisible(consentItem), chromedp.Click(submitButton), chromedp.WaitVisible(logoutButton))
	w.wantAt(t, c, "/claims")
	redeemed := w.tokens("authorization_code")

	chosen.Store(0)
	c.do(t, chromedp.Navigate(w.url+"/claims"), chromedp.WaitVisible(logoutButton))
	if n := w.tokens("authorization_code") - redeemed; n != 0 {
		t.Errorf("sign-ins for a page without tokens: got %d, want 0", n)
	}
	for range 2 {
		c.do(t, chromedp.Navigate(w.url+"/deliveries?page=2"), chromedp.WaitVisible(items))
		w.wantAt(t, c, "/deliveries?page=2")
	}
	if n := w.tokens("authorization_code") - redeemed; n != 1 {
		t.Errorf("sign-ins for two pages with tokens on the other machine: got %d, want 1", n)
	}

	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	chosen.Store(1)
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.WaitVisible(loginLink))
}

// sharedStore is a signin.Store that several machines share.
type sharedStore struct {
	mu      sync.Mutex // guards entries
	entries map[string]storeEntry
}

type storeEntry struct {
	b      []byte
	expiry time.Time
}

func (s *sharedStore) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, found := s.entries[token]
	if found && time.Now().After(k.expiry) {
		return nil, false, nil
	}
	return k.b, found, nil
}

func (s *sharedStore) Commit(token string, b []byte, expiry time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entries == nil {
		s.entries = map[string]storeEntry{}
	}
	s.entries[token] = storeEntry{b, expiry}
	return nil
}

func (s *sharedStore) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, token)
	return nil
}
