package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
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
	after := app.quiet()

	codes, refreshes := app.tokens.check(t)
	t.Logf("%d users, %d requests, %d refreshes; the heap has %d KiB, %+d KiB", loadUsers, app.served.Load(), refreshes,
		after>>10, (int64(after)-int64(before))>>10)
	if codes != loadUsers {
		t.Errorf("redeemed codes: got %d, want %d", codes, loadUsers)
	}
	if after > before+loadMargin {
		t.Errorf("heap: got %d bytes, want at most %d more than %d", after, loadMargin, before)
	}
}

func loadUser(i int) string { return fmt.Sprintf("user%04d@contoso.onmicrosoft.com", i) }

// loadApp is a web app that gets a token for each request.
type loadApp struct {
	*fake
	url     string
	client  *http.Client
	toEntra *http.Transport
	tokens  *tokenRequests
	served  atomic.Int64
}

func (f *fake) startLoadApp(t *testing.T) *loadApp {
	t.Helper()
	listener, origin := listen(t)
	app := &loadApp{fake: f, url: origin}
	transport := &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	app.client = &http.Client{
		Transport: transport, Timeout: time.Minute,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	app.toEntra = f.client.Transport.(*http.Transport).Clone()
	app.toEntra.MaxIdleConnsPerHost = 64
	t.Cleanup(app.toEntra.CloseIdleConnections)
	app.tokens = &tokenRequests{next: app.toEntra, byRefreshToken: map[[sha256.Size]byte]*tokenRequest{}}
	client := must[*entra.Client](t)(entra.New(entra.Config{
		TenantID: tenant, ClientID: webappID, Credential: entra.Secret(webappSecret), Cloud: entra.Cloud(f.host),
		HTTPClient: &http.Client{Transport: app.tokens},
	}))
	flow := must[*authcode.Flow](t)(authcode.New(client, authcode.Config{RedirectURL: origin + "/callback",
		Scopes: []string{apiAScope}}))
	site := must[*signin.Site](t)(signin.New(flow, signin.Config{}))
	server := &httptest.Server{Listener: listener, Config: &http.Server{
		Handler: site.Handler(site.RequireSignIn(http.HandlerFunc(
			func(w http.ResponseWriter, r *http.Request) {
				account, _ := signin.AccountFromContext(r.Context())
				if _, err := site.TokenSource(r).TokenContext(r.Context()); err != nil {
					http.Error(w, err.Error(), http.StatusBadGateway)
					return
				}
				fmt.Fprint(w, account.ObjectID)
			})))}}
	server.Start()
	t.Cleanup(server.Close)
	return app
}

// tokenRequests records the requests to the token endpoint. Entra rotates refresh tokens, so each request belongs to
// the user of the request that acquired its refresh token.
type tokenRequests struct {
	next http.RoundTripper

	mu             sync.Mutex
	all            []*tokenRequest
	byRefreshToken map[[sha256.Size]byte]*tokenRequest // by the hash of the response's refresh token
}

type tokenRequest struct {
	sent      time.Time
	after     *tokenRequest // the request that acquired the refresh token; nil for a code
	refreshed int           // how many requests redeemed the refresh token of the response
}

func (c *tokenRequests) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPost {
		return c.next.RoundTrip(r)
	}
	request, err := c.record(r)
	if err != nil {
		return nil, err
	}
	resp, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var tokens struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &tokens); err != nil || tokens.RefreshToken == "" {
		return nil, fmt.Errorf("got status %d without a refresh token: %v", resp.StatusCode, err)
	}
	c.mu.Lock()
	c.byRefreshToken[sha256.Sum256([]byte(tokens.RefreshToken))] = request
	c.mu.Unlock()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

func (c *tokenRequests) record(r *http.Request) (*tokenRequest, error) {
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
	c.mu.Lock()
	defer c.mu.Unlock()
	request := &tokenRequest{sent: time.Now()}
	switch grant := form.Get("grant_type"); grant {
	case "authorization_code":
	case "refresh_token":
		request.after = c.byRefreshToken[sha256.Sum256([]byte(form.Get("refresh_token")))]
		if request.after == nil {
			return nil, errors.New("the refresh token was in no response")
		}
		request.after.refreshed++
	default:
		return nil, fmt.Errorf("unexpected grant type %q", grant)
	}
	c.all = append(c.all, request)
	return request, nil
}

// check returns the number of redeemed codes and of refreshes. It fails the test if a refresh was early or repeated,
// or if a user's token was not refreshed.
func (c *tokenRequests) check(t *testing.T) (codes, refreshes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.all {
		if r.refreshed > 1 {
			t.Errorf("refresh requests for one token: got %d, want 1", r.refreshed)
		}
		if r.after == nil {
			codes++
			if r.refreshed == 0 {
				t.Error("the token of a user was not refreshed")
			}
			continue
		}
		refreshes++
		if gap := r.sent.Sub(r.after.sent); gap < loadRefresh {
			t.Errorf("refresh: got one after %v, want at least %v", gap, loadRefresh)
		}
	}
	return codes, refreshes
}

// loadedUser is a signed-in user.
type loadedUser struct {
	cookies []*http.Cookie
	id      string // oid
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
	u := &loadedUser{cookies: resp.Cookies()}
	resp, u.id, err = a.open(a.url+"/", u.cookies)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("user %d: %v", i, err)
	}
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
