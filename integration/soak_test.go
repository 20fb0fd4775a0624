package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/entratest"
)

const (
	soakTime   = 10 * time.Second // of each round
	soakRounds = 6
	soakUsers  = 4       // concurrent, in addition to one who uses the pages
	soakMargin = 1 << 20 // allowed growth of the heap in bytes, from the first round on
)

// A minute of all kinds of requests does not grow the heap, so the fake stores nothing per token, code, session or
// request. The journal of 4,096 requests and the console's flows of 2,048 requests are filled first.
func TestSoakDoesNotGrowTheHeap(t *testing.T) {
	f := newFake(t)
	for i := range 4200 {
		if err := f.rejections(i); err != nil {
			t.Fatal(err)
		}
	}
	var flows, signIns atomic.Int64
	round := func(length time.Duration) {
		end := time.Now().Add(length)
		var wg sync.WaitGroup
		defer wg.Wait()
		for range soakUsers {
			wg.Go(func() {
				for i := 0; time.Now().Before(end); i++ {
					if err := f.everyGrant(t, i); err != nil {
						t.Error(err)
						return
					}
					flows.Add(1)
				}
			})
		}
		for time.Now().Before(end) && !t.Failed() {
			f.aliceAtAPIA(t)
			signIns.Add(1)
		}
	}

	for f.Count(entratest.Match{}) < 4200+2048 && !t.Failed() {
		round(soakTime / 5)
	}
	before := heap()
	for n := range soakRounds {
		round(soakTime)
		now := heap()
		t.Logf("round %d: %d flows, %d sign-ins at the pages, %d requests; the heap has %d KiB, %+d KiB",
			n+1, flows.Load(), signIns.Load(), f.Count(entratest.Match{}), now>>10, (int64(now)-int64(before))>>10)
		if now > before+soakMargin {
			t.Errorf("heap: got %d bytes, want at most %d more than %d", now, soakMargin, before)
		}
		if t.Failed() {
			return
		}
	}
}

// heap returns the bytes in use after garbage collection.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // pools survive the first one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// everyGrant signs a user in and sends every kind of token request.
func (f *fake) everyGrant(t *testing.T, i int) error {
	verifier := oauth2.GenerateVerifier()
	config := oauth2.Config{
		ClientID: webappID, RedirectURL: "http://localhost/callback",
		Scopes:   []string{"openid", "profile", "offline_access", apiAScope},
		Endpoint: oauth2.Endpoint{AuthURL: f.url + "/organizations/oauth2/v2.0/authorize"},
	}
	back, err := f.SignIn(t.Context(), config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)),
		[]string{alice, bob}[i%2])
	if err != nil {
		return err
	}
	webapp := url.Values{"client_id": {webappID}, "client_secret": {webappSecret}}
	code := with(webapp, "grant_type", "authorization_code", "code", back.Query().Get("code"),
		"redirect_uri", config.RedirectURL, "code_verifier", verifier)
	signedIn, err := f.exchange(code, 0)
	if err != nil {
		return err
	}
	if _, err := f.exchange(code, 54005); err != nil {
		return err
	}
	refreshed, err := f.exchange(with(webapp, "grant_type", "refresh_token", "refresh_token", signedIn.RefreshToken,
		"scope", apiAScope+" offline_access"), 0)
	if err != nil {
		return err
	}
	onBehalf := url.Values{
		"client_id": {apiAID}, "client_secret": {apiASecret}, "requested_token_use": {"on_behalf_of"},
		"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "scope": {ordersScope + " offline_access"},
	}
	for _, assertion := range []string{signedIn.AccessToken, refreshed.AccessToken} {
		if _, err := f.exchange(with(onBehalf, "assertion", assertion), 0); err != nil {
			return err
		}
	}
	if _, err := f.exchange(with(onBehalf, "assertion", signedIn.IDToken), 500131); err != nil {
		return err
	}
	daemon := url.Values{
		"client_id": {daemonID}, "client_secret": {daemonSecret}, "grant_type": {"client_credentials"}, "scope": {appScope},
	}
	if _, err := f.exchange(daemon, 0); err != nil {
		return err
	}
	return f.rejections(i)
}

// rejections sends a request that is rejected. The reason depends on i.
func (f *fake) rejections(i int) error {
	long := fmt.Sprintf("%0400d", i) // makes every request different
	var err error
	switch i % 4 {
	case 0:
		_, err = f.exchange(url.Values{
			"client_id": {daemonID}, "client_secret": {long}, "grant_type": {"client_credentials"}, "scope": {appScope}},
			7000215)
	case 1:
		_, err = f.exchange(url.Values{
			"client_id": {webappID}, "client_secret": {webappSecret}, "grant_type": {"refresh_token"}, "refresh_token": {long}},
			9002313)
	case 2:
		_, err = f.exchange(url.Values{
			"client_id": {webappID}, "client_secret": {webappSecret}, "grant_type": {"authorization_code"}, "code": {long},
			"redirect_uri": {"http://localhost/callback"}, "code_verifier": {long}}, 9002313)
	case 3:
		_, err = f.exchange(url.Values{
			"client_id": {apiAID}, "client_secret": {apiASecret}, "grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
			"requested_token_use": {"on_behalf_of"}, "assertion": {long}, "scope": {ordersScope}}, 50013)
	}
	return err
}

// tokens is a token response.
type tokens struct {
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	IDToken      string `json:"id_token"`
	ErrorCodes   []int  `json:"error_codes"`
}

// exchange sends a token request. It expects a token if code is zero, and otherwise an error with that AADSTS code.
func (f *fake) exchange(form url.Values, code int) (tokens, error) {
	response, err := f.client.PostForm(f.authority()+"/oauth2/v2.0/token", form)
	if err != nil {
		return tokens{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return tokens{}, err
	}
	var got tokens
	if err := json.Unmarshal(body, &got); err != nil {
		return tokens{}, err
	}
	switch {
	case code == 0 && response.StatusCode == http.StatusOK && got.AccessToken != "" && got.ErrorCodes == nil:
	case code != 0 && got.AccessToken == "" && len(got.ErrorCodes) == 1 && got.ErrorCodes[0] == code:
	default:
		return tokens{}, fmt.Errorf("got status %d, errors %v, want %d", response.StatusCode, got.ErrorCodes, code)
	}
	return got, nil
}

// with returns form with more parameters, given in pairs.
func with(form url.Values, pairs ...string) url.Values {
	more := url.Values{}
	for name, values := range form {
		more[name] = values
	}
	for i := 0; i < len(pairs); i += 2 {
		more.Set(pairs[i], pairs[i+1])
	}
	return more
}
