package integration_test

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/signin"
)

const (
	loadUsers    = 1000
	loadTime     = time.Minute
	loadInterval = 4 * time.Second // between two requests of a user
	loadLife     = time.Minute
	loadRefresh  = 20 * time.Second // the age at which a token is refreshed
	loadMargin   = 2 << 20          // allowed growth of the heap in bytes
)

// A thousand signed-in users send requests to a web app over sockets for a minute. Tokens are refreshed every third of
// it. No request fails, Entra receives one request for each due refresh, and the heap does not grow.
func TestSignInLoad(t *testing.T) {
	f := newFake(t, func(estate *entratest.Config) {
		estate.Users = nil
		for i := range loadUsers {
			estate.Users = append(estate.Users, entratest.User{Username: loadUser(i), TenantID: tenant})
		}
		estate.Lifetime = func() time.Duration { return loadLife }
		estate.RefreshIn = func(time.Duration) time.Duration { return loadRefresh }
	})
	for i := range 4200 { // fill the fake's journal. The sign-ins fill the console's flows with larger requests
		if err := f.rejections(i); err != nil {
			t.Fatal(err)
		}
	}
	app := f.startLoadApp(t)
	users := make([]*loadedUser, loadUsers)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < loadUsers && !t.Failed(); i = int(next.Add(1)) - 1 {
				users[i] = app.signIn(t, i)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	app.load(t, users, loadTime/3) // until all tokens were refreshed once
	before := app.quiet()
	app.load(t, users, loadTime*2/3)
	app.settle(users)
	after := app.quiet()

	refreshes := 0
	for _, u := range users {
		refreshes += u.check(t)
	}
	requested := app.refreshes.Load()
	t.Logf("%d users, %d requests, %d refreshes; the heap has %d KiB, %+d KiB", loadUsers, app.served.Load(), requested,
		after>>10, (int64(after)-int64(before))>>10)
	if int(requested) != refreshes {
		t.Errorf("refresh requests: got %d, want %d", requested, refreshes)
	}
	if n := app.codes.Load(); n != loadUsers {
		t.Errorf("redeemed codes: got %d, want %d", n, loadUsers)
	}
	if after > before+loadMargin {
		t.Errorf("heap: got %d bytes, want at most %d more than %d", after, loadMargin, before)
	}
}

func loadUser(i int) string { return fmt.Sprintf("user%04d@contoso.onmicrosoft.com", i) }

// loadApp is a web app that gets a token for each request.
type loadApp struct {
	*fake
	url    string
	client *http.Client
	flow   *authcode.Flow

	toEntra *http.Transport

	served, codes, refreshes atomic.Int64
	mu                       sync.Mutex                  // guards got
	got                      map[string][]time.Time      // by oid: when the user's tokens were obtained
	accounts                 map[string]authcode.Account // by oid
}

func (f *fake) startLoadApp(t *testing.T) *loadApp {
	t.Helper()
	listener, origin := listen(t)
	app := &loadApp{fake: f, url: origin, got: map[string][]time.Time{}, accounts: map[string]authcode.Account{}}
	transport := &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	app.client = &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	app.toEntra = f.client.Transport.(*http.Transport).Clone()
	app.toEntra.MaxIdleConnsPerHost = 64
	t.Cleanup(app.toEntra.CloseIdleConnections)
	client := must[*entra.Client](t)(entra.New(entra.Config{
		TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(f.host),
		HTTPClient: &http.Client{Transport: tokenRequests{app, app.toEntra}},
	}))
	app.flow = must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: origin + "/callback",
		Scopes: []string{apiAScope}}))
	site := must[*signin.Site](t)(signin.New(app.flow, signin.Config{}))
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: site.Handler(site.RequireSignIn(http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				account, _ := signin.AccountFromContext(r.Context())
				source := site.TokenSource(r)
				app.note(account, source) // TokenContext may start a refresh, which replaces the token
				if _, err := source.TokenContext(r.Context()); err != nil {
					http.Error(w, err.Error(), http.StatusBadGateway)
					return
				}
				app.note(account, source)
				fmt.Fprint(w, account.ObjectID)
			})))}}
	server.Start()
	t.Cleanup(server.Close)
	return app
}

// note records the time at which the cached token of a user was acquired.
func (a *loadApp) note(account authcode.Account, source *entra.TokenSource) {
	info, ok := source.Cached()
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.accounts[account.ObjectID] = account
	if all := a.got[account.ObjectID]; !slices.Contains(all, info.ObtainedAt) {
		a.got[account.ObjectID] = append(all, info.ObtainedAt)
	}
}

// tokenRequests counts the requests to the token endpoint.
type tokenRequests struct {
	app  *loadApp
	next http.RoundTripper
}

func (c tokenRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost {
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(b))
		if err != nil {
			return nil, err
		}
		switch form.Get("grant_type") {
		case "authorization_code":
			c.app.codes.Add(1)
		case "refresh_token":
			c.app.refreshes.Add(1)
		default:
			return nil, fmt.Errorf("unexpected grant type %q", form.Get("grant_type"))
		}
	}
	return c.next.RoundTrip(r)
}

// loadedUser is a signed-in user.
type loadedUser struct {
	app     *loadApp
	cookies []*http.Cookie
	id      string // oid
	account authcode.Account
}

// open requests a page as a browser does.
func (a *loadApp) open(target string, cookies []*http.Cookie) (*http.Response, string, error) {
	r, err := http.NewRequest(http.MethodGet, target, nil)
	if err != nil {
		return nil, "", err
	}
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	for _, c := range cookies {
		r.AddCookie(c)
	}
	resp, err := a.client.Do(r)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp, string(body), err
}

func (a *loadApp) signIn(t *testing.T, i int) *loadedUser {
	resp, _, err := a.open(a.url+"/", nil)
	if err != nil || resp.StatusCode != http.StatusSeeOther {
		t.Errorf("user %d: got %v, want a redirect to Entra", i, err)
		return nil
	}
	callback, err := a.SignIn(t.Context(), resp.Header.Get("Location"), loadUser(i))
	if err != nil {
		t.Error(err)
		return nil
	}
	resp, _, err = a.open(callback.String(), resp.Cookies())
	if err != nil || resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" {
		t.Errorf("user %d: got %v, want a redirect from the callback", i, err)
		return nil
	}
	u := &loadedUser{app: a, cookies: resp.Cookies()}
	resp, u.id, err = a.open(a.url+"/", u.cookies)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("user %d: %v", i, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	u.account = a.accounts[u.id]
	return u
}

// visit sends requests until end.
func (u *loadedUser) visit(t *testing.T, a *loadApp, end time.Time) {
	tick := time.NewTicker(loadInterval)
	defer tick.Stop()
	for now := range tick.C {
		if now.After(end) || t.Failed() {
			return
		}
		resp, body, err := a.open(a.url+"/", u.cookies)
		if err != nil || resp.StatusCode != http.StatusOK || body != u.id {
			t.Errorf("got status %d, %q, %v; want 200, %q", status(resp), body, err, u.id)
			return
		}
		a.served.Add(1)
	}
}

func status(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	return resp.StatusCode
}

// load lets all users send requests for a time.
func (a *loadApp) load(t *testing.T, users []*loadedUser, length time.Duration) {
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for _, u := range users {
		wg.Go(func() { u.visit(t, a, end) })
	}
	wg.Wait()
}

// quiet returns the size of the heap without the buffers of idle connections. The other ends release theirs with a
// delay.
func (a *loadApp) quiet() uint64 {
	least := uint64(math.MaxUint64)
	for range 10 {
		a.client.CloseIdleConnections()
		a.toEntra.CloseIdleConnections()
		<-time.After(50 * time.Millisecond)
		least = min(least, heap())
	}
	return least
}

// settle waits for the refreshes in flight and records their tokens.
func (a *loadApp) settle(users []*loadedUser) {
	for range 50 {
		before := a.refreshes.Load()
		for _, u := range users {
			a.note(u.account, a.flow.TokenSource(u.account))
		}
		a.mu.Lock()
		got := -len(users)
		for _, all := range a.got {
			got += len(all)
		}
		a.mu.Unlock()
		if got == int(before) {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

// check returns the number of a user's refreshes. It fails the test if one was early or if there was none.
func (u *loadedUser) check(t *testing.T) int {
	u.app.mu.Lock()
	defer u.app.mu.Unlock()
	all := slices.SortedFunc(slices.Values(u.app.got[u.id]), time.Time.Compare)
	for i := 1; i < len(all); i++ {
		if gap := all[i].Sub(all[i-1]); gap < loadRefresh {
			t.Errorf("refresh: got one after %v, want at least %v", gap, loadRefresh)
		}
	}
	if len(all) < 2 {
		t.Errorf("tokens of a user in a minute: got %d, want at least 2", len(all))
	}
	return len(all) - 1
}
