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

// Two machines with one store and the same keys: a sign-in that began on one ends on the other, the
// session is good on both, and tokens, which stay where they were got, cost a way through Entra
// without a page. Signing out on one is signing out on both.
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
		config.Cache = nil // its own
		client := must[*entra.Client](t)(entra.New(config))
		app := must[site.Config](t)(company.WebApp(origin))
		app.Flow = must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: origin + "/callback", Scopes: []string{contoso.DeskScope}}))
		app.SignIn = settings
		handler, stop, err := company.Browser(must[*site.Site](t)(site.New(app)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stop)
		machines = append(machines, handler)
	}
	var chosen atomic.Int32 // by the load balancer
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
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
		t.Errorf("a page without tokens took %d sign-ins on the other machine", n)
	}
	for range 2 {
		c.do(t, chromedp.Navigate(w.url+"/deliveries?page=2"), chromedp.WaitVisible(items))
		w.wantAt(t, c, "/deliveries?page=2")
	}
	if n := w.tokens("authorization_code") - redeemed; n != 1 {
		t.Errorf("two pages with tokens took %d sign-ins on the other machine, want one that nobody sees", n)
	}

	c.do(t, chromedp.Click(logoutButton), chromedp.WaitVisible(loginLink))
	chosen.Store(1)
	c.do(t, chromedp.Navigate(w.url+"/"), chromedp.WaitVisible(loginLink))
}

// A sharedStore is a signin.Store that several machines reach.
type sharedStore struct {
	mu   sync.Mutex // guards kept
	kept map[string]kept
}

type kept struct {
	b      []byte
	expiry time.Time
}

func (s *sharedStore) Find(token string) ([]byte, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, found := s.kept[token]
	if found && time.Now().After(k.expiry) {
		return nil, false, nil
	}
	return k.b, found, nil
}

func (s *sharedStore) Commit(token string, b []byte, expiry time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string]kept{}
	}
	s.kept[token] = kept{b, expiry}
	return nil
}

func (s *sharedStore) Delete(token string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, token)
	return nil
}
