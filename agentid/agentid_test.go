package agentid_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/agentid"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

const (
	blueprintID = "aaaaaaaa-0000-4000-8000-0000000000b1"
	agentID     = "aaaaaaaa-0000-4000-8000-0000000000a1"
	otherID     = "aaaaaaaa-0000-4000-8000-0000000000a2"
	agentUser   = "agent@contoso.onmicrosoft.com"
	otherUser   = "agent-2@contoso.onmicrosoft.com"
	alice       = "alice@contoso.onmicrosoft.com"
	appScope    = "api://api-b/.default"
	userScope   = "api://api-b/Orders.Read"
)

// estate is a fake Entra with two agents, and their blueprint.
type estate struct {
	*entratest.Server
	*testkit.Recorder
	blueprint *entra.Client
}

func newEstate(t testing.TB, c *cache.Cache) *estate {
	t.Helper()
	s := testkit.Server(entratest.AddSampleAgents)
	e := &estate{Server: s, Recorder: testkit.NewRecorder(s.Client().Transport)}
	cfg := testkit.ClientConfig(s, "blueprint", e.Recorder)
	cfg.Cache = c
	e.blueprint = testkit.Client(t, cfg)
	return e
}

func (e *estate) agent(t testing.TB, id string) *entra.Client {
	t.Helper()
	c, err := agentid.New(e.blueprint, id)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func get(t testing.TB, s *entra.TokenSource) *oauth2.Token {
	t.Helper()
	tok, err := s.TokenContext(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// take returns the forms of the token requests since the first n, without the members that MSAL adds to each.
func (e *estate) take(n int) (forms []map[string]string) {
	for _, form := range e.Forms()[n:] {
		m := map[string]string{}
		for name := range form {
			if name != "client_info" && !strings.HasPrefix(name, "x-client-") {
				m[name] = form.Get(name)
			}
		}
		forms = append(forms, m)
	}
	return forms
}

const jwtBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// exchange is the request of the blueprint for an exchange token.
func exchange(agent string) map[string]string {
	return map[string]string{
		"grant_type": "client_credentials", "client_id": blueprintID, "client_secret": "blueprint-secret",
		"scope": "api://AzureADTokenExchange/.default openid offline_access profile", "fmi_path": agent,
	}
}

// asAgent is a request of the agent.
func asAgent(t1 string, pairs ...string) map[string]string {
	m := map[string]string{
		"client_id": agentID, "client_assertion_type": jwtBearer, "client_assertion": t1,
	}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func wantForms(t *testing.T, got []map[string]string, want ...map[string]string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", " ")
		w, _ := json.MarshalIndent(want, "", " ")
		t.Errorf("got %s\nwant %s", g, w)
	}
}

// responses returns a function that lists the access tokens of the responses so far.
func (e *estate) responses() func() []string {
	var mu sync.Mutex
	var tokens []string
	e.ChangeResponses(func(_ url.Values, body map[string]any) {
		mu.Lock()
		defer mu.Unlock()
		token, _ := body["access_token"].(string)
		tokens = append(tokens, token)
	})
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), tokens...)
	}
}

// Each flow sends the documented requests. The exchange token of the blueprint is shared by all of them.
func TestRequests(t *testing.T) {
	e := newEstate(t, nil)
	responses := e.responses()
	agent := e.agent(t, strings.ToUpper(agentID))
	if agent.ClientID() != agentID || agent.TenantID() != entratest.SampleTenant || len(e.Sent()) != 0 {
		t.Errorf("got %v after %d requests", agent, len(e.Sent()))
	}
	const oidc = " openid offline_access profile"

	claims := testkit.Claims(t, get(t, clientcreds.TokenSource(agent, appScope)).AccessToken)
	t1 := responses()[0]
	wantForms(t, e.take(0), exchange(agentID),
		asAgent(t1, "grant_type", "client_credentials", "scope", appScope+oidc))
	if claims["azp"] != agentID || claims["idtyp"] != "app" || claims["xms_par_app_azp"] != blueprintID {
		t.Errorf("got %v", claims)
	}

	assertion := e.Mint(entratest.MintOptions{Resource: "blueprint", Client: "webapp", User: alice})
	claims = testkit.Claims(t, get(t, obo.TokenSource(agent, assertion, userScope)).AccessToken)
	wantForms(t, e.take(2), asAgent(t1, "grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer",
		"assertion", assertion, "requested_token_use", "on_behalf_of", "scope", userScope+oidc))
	if claims["azp"] != agentID || claims["preferred_username"] != alice {
		t.Errorf("got %v", claims)
	}

	id := e.User(agentUser).ObjectID
	for i, user := range []agentid.User{{ObjectID: strings.ToUpper(id)}, {Username: agentUser}} {
		claims = testkit.Claims(t, get(t, agentid.UserTokenSource(agent, user, userScope)).AccessToken)
		if claims["azp"] != agentID || claims["preferred_username"] != agentUser || claims["xms_sub_fct"] != "13" {
			t.Errorf("got %v", claims)
		}
		t2 := responses()[3]
		name, value := "user_id", id
		if i == 1 {
			name, value = "username", agentUser
		}
		want := asAgent(t1, "grant_type", "user_fic", "user_federated_identity_credential", t2, name, value,
			"scope", userScope+oidc)
		if i == 0 {
			wantForms(t, e.take(3), asAgent(t1, "grant_type", "client_credentials", "scope",
				"api://AzureADTokenExchange/.default"+oidc), want)
		} else {
			wantForms(t, e.take(5), want)
		}
	}
}

// However many callers start, each exchange token and each token is requested once.
func TestColdCallersShareRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		e.Intercept(func(*http.Request, url.Values) (*http.Response, error) {
			time.Sleep(100 * time.Millisecond)
			return nil, nil
		})
		var wg sync.WaitGroup
		for range 50 {
			agent := e.agent(t, agentID) // a client for each caller
			wg.Go(func() { get(t, clientcreds.TokenSource(agent, appScope)) })
			wg.Go(func() { get(t, agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, userScope)) })
		}
		wg.Wait()
		if n := len(e.Posts()); n != 4 {
			t.Errorf("got %d token requests, want T1, T2 and two tokens", n)
		}
	})
}

// Agents and users that share a cache, and its store, never get tokens of each other.
func TestAgentsShareNoTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		newCache := func() *cache.Cache {
			return cache.New(cache.Options{Store: store, Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}})
		}
		for process := range 2 { // the second process finds the tokens in the store
			e := newEstate(t, newCache())
			for range 2 {
				for _, a := range []struct{ id, user, other string }{
					{agentID, agentUser, otherUser}, {otherID, otherUser, agentUser},
				} {
					agent := e.agent(t, a.id)
					app := testkit.Claims(t, get(t, clientcreds.TokenSource(agent, appScope)).AccessToken)
					if app["azp"] != a.id || app["idtyp"] != "app" {
						t.Errorf("process %d, %s: got %v", process, a.id, app)
					}
					for _, user := range []agentid.User{{Username: a.user}, {ObjectID: e.User(a.user).ObjectID}} {
						own := testkit.Claims(t, get(t, agentid.UserTokenSource(agent, user, userScope)).AccessToken)
						if own["azp"] != a.id || own["preferred_username"] != a.user {
							t.Errorf("process %d, %s: got %v", process, a.id, own)
						}
					}
					assertion := e.Mint(entratest.MintOptions{Resource: "blueprint", Client: "webapp", User: alice})
					onBehalf := testkit.Claims(t, get(t, obo.TokenSource(agent, assertion, userScope)).AccessToken)
					if onBehalf["azp"] != a.id || onBehalf["preferred_username"] != alice {
						t.Errorf("process %d, %s: got %v", process, a.id, onBehalf)
					}
					_, err := agentid.UserTokenSource(agent, agentid.User{Username: a.other}, userScope).TokenContext(t.Context())
					if failed := testkit.Error(t, err); failed.Code != "invalid_grant" || !failed.Has(700213) {
						t.Errorf("got %v for the user of another agent", err)
					}
				}
			}
			time.Sleep(2 * time.Second)
		}
	})
}

// An app that is not the blueprint gets no token of the agent, not even one that the store has for the blueprint.
func TestOtherAppGetsNoStoredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := storetest.NewMemory()
		newCache := func() *cache.Cache {
			key := cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))
			return cache.New(cache.Options{Store: store, Keys: []cache.SealKey{key}})
		}
		e := newEstate(t, newCache())
		agent := e.agent(t, agentID)
		assertion := e.Mint(entratest.MintOptions{Resource: "blueprint", Client: "webapp", User: alice})
		sources := func(agent *entra.Client) []*entra.TokenSource {
			return []*entra.TokenSource{
				clientcreds.TokenSource(agent, appScope), obo.TokenSource(agent, assertion, userScope),
				agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, userScope),
			}
		}
		for _, s := range sources(agent) {
			get(t, s)
		}
		time.Sleep(2 * time.Second) // until all is in the store
		cfg := testkit.ClientConfig(e.Server, "daemon", e.Recorder)
		cfg.Cache = newCache()
		other, err := agentid.New(testkit.Client(t, cfg), agentID)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range sources(other) {
			_, err := s.TokenContext(t.Context())
			if e := testkit.Error(t, err); e.Code != "invalid_client" || !strings.Contains(e.Description, "AADSTS700016") {
				t.Errorf("source %d: got %v, want AADSTS700016", i, err)
			}
		}
	})
}

// A User that names two accounts gets no token, although both have one in the cache.
func TestInvalidUserGetsNoCachedToken(t *testing.T) {
	e := newEstate(t, nil)
	agent, id := e.agent(t, agentID), e.User(agentUser).ObjectID
	for _, user := range []agentid.User{{ObjectID: id}, {Username: agentUser}} {
		get(t, agentid.UserTokenSource(agent, user, userScope))
	}
	both := agentid.User{ObjectID: id, Username: otherUser}
	_, err := agentid.UserTokenSource(agent, both, userScope).TokenContext(t.Context())
	if failed := testkit.Error(t, err); failed.Code != "invalid_request" {
		t.Errorf("got %v, want invalid_request", err)
	}
}

// Exchange tokens do not go to the store, although the tokens that they acquire do.
func TestExchangeTokensStayInTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := cache.New(cache.Options{Store: storetest.NewMemory(), Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))}})
		e := newEstate(t, c)
		agent := e.agent(t, agentID)
		get(t, agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, userScope))
		time.Sleep(2 * time.Second)
		if s := c.Stats(); s.StoreSaves != 2 || s.Sessions != 3 {
			t.Errorf("got %d saves and %d sessions, want the lease and the record of one of three", s.StoreSaves, s.Sessions)
		}
	})
}

// A response for another user is rejected.
func TestTokenOfAnotherUserIsRejected(t *testing.T) {
	e := newEstate(t, nil)
	other := newEstate(t, nil)
	info := ""
	other.ChangeResponses(func(_ url.Values, body map[string]any) { info, _ = body["client_info"].(string) })
	get(t, agentid.UserTokenSource(other.agent(t, otherID), agentid.User{Username: otherUser}, userScope))
	e.ChangeResponses(func(form url.Values, body map[string]any) {
		if form.Get("grant_type") == "user_fic" {
			body["client_info"] = info
		}
	})
	_, err := agentid.UserTokenSource(e.agent(t, agentID), agentid.User{ObjectID: e.User(agentUser).ObjectID}, userScope).
		TokenContext(t.Context())
	want := "the response is a token for another user than the agent's account"
	if failed := testkit.Error(t, err); failed.Code != entra.CodeInvalidResponse || failed.Description != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// Exchange tokens and tokens are refreshed before they expire, for days.
func TestTokensAreRefreshedEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		agent := e.agent(t, agentID)
		source := agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, userScope)
		app := clientcreds.TokenSource(agent, appScope)
		for begun := time.Now(); time.Since(begun) < 48*time.Hour; time.Sleep(time.Minute) {
			start := time.Now()
			for _, s := range []*entra.TokenSource{source, app} {
				if tok := get(t, s); time.Until(tok.Expiry) < 10*time.Minute {
					t.Fatalf("got a token that expires in %v", time.Until(tok.Expiry))
				}
			}
			if time.Since(start) != 0 {
				t.Fatal("a caller waited")
			}
		}
		for _, r := range e.Requests() {
			if r.Status != http.StatusOK {
				t.Errorf("got status %d for %v", r.Status, r.Form)
			}
		}
	})
}

// If Entra rejects an exchange token, a new one is requested and the request is repeated, once.
func TestRejectedExchangeTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		responses := e.responses()
		agent := e.agent(t, agentID)
		get(t, clientcreds.TokenSource(agent, appScope))
		time.Sleep(freshAge)
		if t1 := responses()[0]; !e.RevokeToken(t1) {
			t.Fatal("got no exchange token to revoke")
		}
		n := len(e.Posts())
		get(t, clientcreds.TokenSource(agent, "https://graph.microsoft.com/.default"))
		got := e.take(n)
		if len(got) != 3 || got[0]["client_id"] != agentID || got[1]["fmi_path"] != agentID || got[2]["client_id"] != agentID ||
			got[0]["client_assertion"] == got[2]["client_assertion"] {
			t.Errorf("got %v, want the request, a new exchange token, and the request again", got)
		}

		// One that is fresh is not replaced.
		e.RevokeToken(got[2]["client_assertion"])
		n = len(e.Posts())
		_, err := clientcreds.TokenSource(agent, "api://api-a/.default").TokenContext(t.Context())
		if failed := testkit.Error(t, err); failed.Code != "invalid_client" || !failed.Has(700024) || len(e.take(n)) != 1 {
			t.Errorf("got %v after %v, want one request", err, e.take(n))
		}
	})
}

const freshAge = time.Minute

// An exchange token of the agent for its user that Entra rejects is not used again.
func TestRejectedUserExchangeTokenIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		agent := e.agent(t, agentID)
		source := agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, userScope)
		get(t, source)
		t2 := e.take(0)[2]["user_federated_identity_credential"]
		e.RevokeToken(t2)
		other := agentid.UserTokenSource(agent, agentid.User{Username: agentUser}, "api://api-b/.default")
		if _, err := other.TokenContext(t.Context()); !testkit.Error(t, err).Has(700024) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Hour / 2)
		get(t, other)
	})
}

// If the blueprint's secret is replaced, the error names the blueprint and the agent.
func TestRejectedBlueprint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		e.UpdateCredentials("blueprint", func(a *entratest.App) { a.Secrets = []string{"another"} })
		agent := e.agent(t, agentID)
		_, err := clientcreds.TokenSource(agent, appScope).TokenContext(t.Context())
		failed := testkit.Error(t, err)
		want := "the assertion callback failed: the blueprint " + blueprintID + " got no exchange token for the agent identity " +
			agentID + ": AADSTS7000215: "
		if failed.Code != "invalid_client" || !strings.HasPrefix(failed.Description, want) {
			t.Errorf("got  %v\nwant %s", failed, want)
		}
		cause, ok := errors.AsType[*entra.Error](failed.Err)
		if !ok || !cause.Has(7000215) || cause.StatusCode != 401 || len(e.Posts()) != 1 {
			t.Errorf("got the cause %v after %d requests", failed.Err, len(e.Posts()))
		}
		testkit.NoSecrets(t, err, "blueprint-secret")
	})
}

// An agent of another blueprint is an error of the exchange token.
func TestUnknownAgent(t *testing.T) {
	e := newEstate(t, nil)
	_, err := clientcreds.TokenSource(e.agent(t, e.App("daemon").ClientID), appScope).TokenContext(t.Context())
	if cause, ok := errors.AsType[*entra.Error](testkit.Error(t, err).Err); !ok || !cause.Has(700016) {
		t.Errorf("got %v", err)
	}
}

// While Entra throttles the exchange, the error is temporary, with its Retry-After.
func TestThrottledExchange(t *testing.T) {
	e := newEstate(t, nil)
	e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
		if form == nil {
			return nil, nil
		}
		return testkit.Response(req, 429, "application/json", `{"error":"temporarily_unavailable"}`, "Retry-After", "40"), nil
	})
	_, err := clientcreds.TokenSource(e.agent(t, agentID), appScope).TokenContext(t.Context())
	if failed := testkit.Error(t, err); !failed.Temporary() || failed.RetryAfter != 40*time.Second {
		t.Errorf("got %v with RetryAfter %v", failed, failed.RetryAfter)
	}
}

// Mistakes are errors without a request.
func TestInvalidArguments(t *testing.T) {
	e := newEstate(t, nil)
	for id, want := range map[string]string{
		"agent":     "the ID of the agent identity is not a GUID; it is its client ID",
		blueprintID: "the ID of the agent identity is that of its blueprint; it is the client ID of the agent identity",
	} {
		_, err := agentid.New(e.blueprint, id)
		if failed := testkit.Error(t, err); failed.Code != "invalid_request" || failed.Description != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := agentid.New(nil, agentID); testkit.Error(t, err).Description != "the client of the blueprint is nil" {
		t.Errorf("got %v", err)
	}
	agent := e.agent(t, agentID)
	_, err := agent.WithTenant(entratest.SampleOtherTenant)
	if want := "an agent identity belongs to one tenant; create it with the client of its blueprint in the other " +
		"tenant"; testkit.Error(t, err).Description != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if same, err := agent.WithTenant(strings.ToUpper(entratest.SampleTenant)); err != nil || same.ClientID() != agentID {
		t.Errorf("got %v, %v", same, err)
	}
	for _, tt := range []struct {
		user   agentid.User
		scopes []string
		code   string
		want   string
	}{
		{agentid.User{}, []string{userScope}, "invalid_request", "the user account of an agent has either an ObjectID or a Username"},
		{agentid.User{ObjectID: blueprintID, Username: agentUser}, []string{userScope}, "invalid_request",
			"the user account of an agent has either an ObjectID or a Username"},
		{agentid.User{ObjectID: agentUser}, []string{userScope}, "invalid_request", "the ObjectID of the user account is not a GUID"},
		{agentid.User{Username: agentUser}, nil, "invalid_scope", "there are no scopes; name at least one scope of the API"},
		{agentid.User{Username: agentUser}, []string{userScope, "api://api-a/access_as_user"}, "invalid_scope",
			"the scopes name several APIs, but a token is for one; use a TokenSource for each API"},
	} {
		_, err := agentid.UserTokenSource(agent, tt.user, tt.scopes...).TokenContext(t.Context())
		if failed := testkit.Error(t, err); failed.Code != tt.code || failed.Description != tt.want {
			t.Errorf("got %v, want %s", err, tt.want)
		}
	}
	if n := len(e.Sent()); n != 0 {
		t.Errorf("got %d requests, want 0", n)
	}
	testkit.NoSecrets(t, agent, "blueprint-secret")
	if want := "entra.Client{https://login.microsoftonline.com/" + entratest.SampleTenant + " client=" + agentID + "}"; fmt.
		Sprint(agent) != want {
		t.Errorf("got %v, want %s", agent, want)
	}
}

// A long-running process on behalf of a user works with the agent's client.
func TestLongRunningProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(t, nil)
		agent := e.agent(t, agentID)
		v := verified(e.Mint(entratest.MintOptions{Resource: "blueprint", Client: "webapp", User: alice}))
		d, err := obo.Begin(t.Context(), agent, v, userScope)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Hour)
		claims := testkit.Claims(t, get(t, obo.Resume(agent, d, userScope)).AccessToken)
		if claims["azp"] != agentID || claims["preferred_username"] != alice {
			t.Errorf("got %v", claims)
		}
	})
}
