package authcode_test

import (
	"net/http"
	"net/url"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// sharing returns a client of app that shares store, and the recorder of its requests.
func sharing(t *testing.T, s *entratest.Server, app string, store cache.Store,
) (*entra.Client, *testkit.Recorder) {
	t.Helper()
	r := testkit.NewRecorder(s.Client().Transport)
	cfg := testkit.ClientConfig(s, app, r)
	cfg.Cache = cache.New(cache.Options{
		Store: store, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
	})
	return testkit.Client(t, cfg), r
}

// A second process gets the tokens of all flows from the store.
func TestSecondClientSendsNoTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(), storetest.NewMemory()
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
		var account authcode.Account
		var first [3]string
		for i := range 2 {
			web, webRequests := sharing(t, e.Server, "webapp", store)
			api, apiRequests := sharing(t, e.Server, "api-a", store)
			daemon, daemonRequests := sharing(t, e.Server, "daemon", store)
			flow := newFlow(t, web)
			if i == 0 {
				account = e.signIn(t, flow, alice, authcode.Request{}).Account
			}
			var got [3]string
			for n, source := range []*entra.TokenSource{
				flow.TokenSource(account), obo.TokenSource(api, assertion, scopeB),
				clientcreds.TokenSource(daemon, "api://api-b/.default"),
			} {
				tok, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				got[n] = tok.AccessToken
			}
			time.Sleep(2 * time.Second) // the tokens are saved
			if i == 0 {
				first = got
				continue
			}
			if got != first {
				t.Error("got other tokens, want those of the first client")
			}
			for _, r := range []*testkit.Recorder{webRequests, apiRequests, daemonRequests} {
				if n := len(r.Posts()); n != 0 {
					t.Errorf("got %d token requests, want 0", n)
				}
			}
		}
	})
}

// A second process gets the failure of the first one, with all fields of the error.
func TestSecondClientGetsFailureWithRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, store := newEstate(), storetest.NewMemory()
		var errs [2]*entra.Error
		for i := range errs {
			c, r := sharing(t, e.Server, "daemon", store)
			r.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
				if req.Method != http.MethodPost {
					return nil, nil
				}
				return testkit.Response(req, http.StatusTooManyRequests, "application/json",
					`{"error":"temporarily_unavailable","error_description":"AADSTS90055: busy","error_codes":[90055],`+
						`"correlation_id":"11111111-0000-4000-8000-000000000001",`+
						`"trace_id":"22222222-0000-4000-8000-000000000002"}`, "Retry-After", "300"), nil
			})
			_, err := clientcreds.TokenSource(c, "api://api-b/.default").Token()
			errs[i] = testkit.Error(t, err)
			time.Sleep(2 * time.Second)
			if n := len(r.Posts()); n != 1-i {
				t.Errorf("client %d: got %d token requests, want %d", i, n, 1-i)
			}
		}
		if errs[0].RetryAfter != 5*time.Minute || !reflect.DeepEqual(errs[0].AADSTS, []int{90055}) {
			t.Errorf("got %#v, want a Retry-After of five minutes", errs[0])
		}
		if errs[0].Error() != errs[1].Error() || errs[0].Code != errs[1].Code || errs[0].StatusCode != errs[1].StatusCode ||
			errs[0].RetryAfter != errs[1].RetryAfter || !reflect.DeepEqual(errs[0].AADSTS, errs[1].AADSTS) ||
			errs[0].CorrelationID != errs[1].CorrelationID || errs[0].TraceID != errs[1].TraceID {
			t.Errorf("got %#v, want the error of the first client: %#v", errs[1], errs[0])
		}
	})
}
