package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/verify"
)

const challenge = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"`

// request sends a request with these Authorization headers.
func request(h http.Handler, authorization ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/?access_token=from-the-query", nil)
	r.Header["Authorization"] = authorization
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

var welcome = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "welcome") })

func TestMiddlewareResponses(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	h := v.Middleware(welcome)
	good := sign(0, headerOf(0), userV2())
	now := time.Now().Unix()
	expired := sign(0, headerOf(0), userV2().with("iat", now-7200).with("nbf", now-7200).with("exp", now-3600))
	invalidRequest := challenge +
		`, error="invalid_request", error_description="the request must have one Authorization header of the form: Bearer ` +
		`TOKEN"`
	for _, test := range []struct {
		name          string
		authorization []string
		status        int
		challenge     string
	}{
		{"good", []string{"Bearer " + good}, 200, ""},
		{"lower case", []string{"bearer " + good}, 200, ""},
		{"upper case", []string{"BEARER " + good}, 200, ""},
		{"several spaces", []string{"Bearer   " + good}, 200, ""},
		{"none", nil, 401, challenge},
		{"empty", []string{""}, 401, challenge},
		{"Basic", []string{"Basic dTpw"}, 401, challenge},
		{"a longer scheme", []string{"BearerX " + good}, 401, challenge},
		{"no token", []string{"Bearer"}, 400, invalidRequest},
		{"no token but a space", []string{"Bearer "}, 400, invalidRequest},
		{"two tokens", []string{"Bearer " + good + " " + good}, 400, invalidRequest},
		{"two tokens with a comma", []string{"Bearer " + good + ",Bearer " + good}, 400, invalidRequest},
		{"two headers", []string{"Bearer " + good, "Bearer " + good}, 400, invalidRequest},
		{"Basic and Bearer", []string{"Basic dTpw", "Bearer " + good}, 400, invalidRequest},
		{"a tab", []string{"Bearer\t" + good}, 401, challenge},
		{"space at the end", []string{"Bearer " + good + " "}, 400, invalidRequest},
		{"a quote", []string{`Bearer "` + good + `"`}, 400, invalidRequest},
		{"only padding", []string{"Bearer =="}, 400, invalidRequest},
		{"expired", []string{"Bearer " + expired}, 401,
			challenge + `, error="invalid_token", error_description="the token has expired; request a new one"`},
		{"a missing claim", []string{"Bearer " + sign(0, headerOf(0), userV2().without("tid"))}, 401,
			challenge + `, error="invalid_token", error_description="the token does not have a required claim (tid)"`},
		{"an ID token", []string{"Bearer " + sign(0, headerOf(0), idV2())}, 401,
			challenge +
				`, error="invalid_token", error_description="the token is not an access token; APIs do not accept ID tokens"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := request(h, test.authorization...)
			if w.Code != test.status || w.Header().Get("WWW-Authenticate") != test.challenge {
				t.Errorf("got status %d, challenge %s\nwant %d, %s", w.Code, w.Header().Get("WWW-Authenticate"), test.status,
					test.challenge)
			}
			if (w.Body.String() == "welcome") != (test.status == 200) {
				t.Errorf("got body %q with status %d", w.Body, w.Code)
			}
			for _, part := range strings.Split(strings.Join(test.authorization, "."), ".") {
				if len(part) > 20 && strings.Contains(w.Body.String()+fmt.Sprint(w.Header()), part) {
					t.Error("the response repeats the token")
				}
			}
		})
	}
}

// Without keys the response is 503, so that clients retry with the same token.
func TestMiddlewareWithoutKeys(t *testing.T) {
	a := newAuthority()
	a.respondWith(http.StatusInternalServerError, "")
	w := request(mustNew(t, a.config()).Middleware(welcome), "Bearer "+sign(0, headerOf(0), userV2()))
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got status %d, header %v, want 503 with Retry-After 1", w.Code, w.Header())
	}
}

// If the context of the request is done, the response has no challenge.
func TestMiddlewareWhenTheClientHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		slow(a, time.Second)
		h := mustNew(t, a.config()).Middleware(welcome)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+sign(0, headerOf(0), userV2()))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 503 || w.Header().Get("WWW-Authenticate") != "" || w.Body.Len() != 0 {
			t.Errorf("got status %d, header %v, body %q, want 503 without challenge and body", w.Code, w.Header(), w.Body)
		}
		advance(time.Second) // for the fetch, which continues
	})
}

func TestContextHasTokenAndClaims(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	good := sign(0, headerOf(0), userV2())
	called := 0
	h := v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called++
		c, ok := verify.ClaimsFromContext(r.Context())
		if !ok || c.ObjectID != userOID {
			t.Errorf("got claims %v, %v", c, ok)
		}
		tok, ok := verify.TokenFromContext(r.Context())
		if !ok || tok.Raw() != good || tok.SHA256() != sha256.Sum256([]byte(good)) || !tok.Expires().Equal(c.Expires) ||
			tok.Claims() != c {
			t.Error("the context has another token than the request")
		}
	}))
	for range 2 {
		request(h, "Bearer "+good)
	}
	if called != 2 {
		t.Errorf("got %d calls of the handler, want 2", called)
	}
	if c, ok := verify.ClaimsFromContext(context.Background()); ok || c != nil {
		t.Error("got claims from a context without a token")
	}
	if tok, ok := verify.TokenFromContext(context.Background()); ok || tok != nil {
		t.Error("got a token from a context without one")
	}
}

// A handler without Middleware that does not check ok has a nil Token.
func TestNilAndZeroTokensAreEmpty(t *testing.T) {
	tok, ok := verify.TokenFromContext(context.Background())
	for _, tok := range []*verify.Token{tok, {}} {
		if ok || tok.Raw() != "" || tok.SHA256() != [sha256.Size]byte{} || !tok.Expires().IsZero() || tok.Claims() != nil {
			t.Error("a nil or zero Token is not empty")
		}
	}
	if got := fmt.Sprintf("%v %s", tok, tok); got != "<nil> <nil>" {
		t.Errorf("got %q, want <nil> <nil>", got)
	}
}

// A Verifier that was not created with New rejects every token and says how to fix it.
func TestZeroVerifierRejects(t *testing.T) {
	const want = "verify: Verifier must be created with New"
	raw := sign(0, headerOf(0), userV2())
	for _, v := range []*verify.Verifier{nil, new(verify.Verifier)} {
		if tok, err := v.Verify(t.Context(), raw); tok != nil || err == nil || err.Error() != want {
			t.Errorf("Verify: got %v, %v, want %s", tok, err, want)
		}
		if c, err := v.IDToken(t.Context(), raw, "n-1"); c != nil || err == nil || err.Error() != want {
			t.Errorf("IDToken: got %v, %v, want %s", c, err, want)
		}
		if v.AllowsTenant(tenantA) {
			t.Error("AllowsTenant: got true, want false")
		}
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("Middleware: got panic %v, want %s", got, want)
				}
			}()
			v.Middleware(welcome)
		}()
	}
}

// A token that NewContext stored has the effect of one that Middleware stored.
func TestNewContext(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	tok, err := v.Verify(t.Context(), sign(0, headerOf(0), userV2()))
	if err != nil {
		t.Fatal(err)
	}
	serve := func(h http.Handler, tok *verify.Token) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(verify.NewContext(t.Context(), tok), http.MethodGet, "/", nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	if w := serve(verify.RequireScope("Tasks.Read")(welcome), tok); w.Code != 200 {
		t.Errorf("got status %d, want 200", w.Code)
	}
	if w := serve(verify.RequireScope("Tasks.Admin")(welcome), tok); w.Code != 403 ||
		!strings.HasPrefix(w.Header().Get("WWW-Authenticate"), challenge) {
		t.Errorf("got status %d, challenge %s, want 403, %s", w.Code, w.Header().Get("WWW-Authenticate"), challenge)
	}
	for _, none := range []*verify.Token{nil, {}} {
		if w := serve(verify.RequireScope("Tasks.Read")(welcome), none); w.Code != 500 {
			t.Errorf("without a token: got status %d, want 500", w.Code)
		}
		ctx := verify.NewContext(t.Context(), none)
		if c, ok := verify.ClaimsFromContext(ctx); c != nil || ok {
			t.Errorf("got claims %v, %v, want nil, false", c, ok)
		}
		if tok, ok := verify.TokenFromContext(ctx); tok != nil || ok {
			t.Errorf("got token %v, %v, want nil, false", tok, ok)
		}
	}
}

// Printing, logging and marshaling a Token do not disclose it.
func TestTokensDoNotPrint(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	good := sign(0, headerOf(0), userV2())
	v.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tok, _ := verify.TokenFromContext(r.Context())
		var out bytes.Buffer
		for _, value := range []any{tok, *tok, []any{tok}, struct{ T *verify.Token }{tok}, struct{ t verify.Token }{*tok},
			r.Context(), map[string]verify.Token{"t": *tok}} {
			fmt.Fprintf(&out, "%v %+v %#v %s %q %x\n", value, value, value, value, value, value)
		}
		const placeholder = "verify.Token(redacted)"
		if got := fmt.Sprintf("%v%q", tok, *tok); got != placeholder+placeholder {
			t.Errorf("got %s, want %s twice", got, placeholder)
		}
		text, err := json.Marshal(map[string]any{"pointer": tok, "value": *tok})
		if err != nil {
			t.Error(err)
		}
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "token", tok, "value", *tok, "context", r.Context())
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "token", tok, "value", *tok)
		for _, part := range strings.Split(good, ".") {
			if strings.Contains(out.String(), part) || strings.Contains(out.String(), fmt.Sprintf("%x", part)) {
				t.Errorf("the token was printed: %s", out.String())
			}
		}
	})).ServeHTTP(httptest.NewRecorder(), func() *http.Request {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+good)
		return r
	}())
}

func TestRequire(t *testing.T) {
	cfg := newAuthority(jwk(0)).config()
	cfg.AllowAppsWithoutRoles = true
	v := mustNew(t, cfg)
	user := sign(0, headerOf(0), userV2().with("roles", []string{"Approver"}))
	app := sign(0, headerOf(0), appV2())
	appNoRole := sign(0, headerOf(0), appV2().without("roles"))
	// The role of this app has the name of a scope, and the role of this user that of an app role.
	appWithScopeName := sign(0, headerOf(0), appV2().with("roles", []string{"Tasks.Read"}))
	userWithRoleName := sign(0, headerOf(0),
		userV2().with("scp", "Other Tasks.Read.All").with("roles", []string{"Tasks.Read.All"}))
	// These tokens are neither for a user nor for an app.
	device := sign(0, headerOf(0), userV2().with("idtyp", "device").with("roles", []string{"Approver"}))
	unidentified := sign(0, headerOf(0), appV2().without("oid", "idtyp"))
	upperApp := sign(0, headerOf(0), appV2().with("idtyp", "APP"))
	// Entra never issues an app-only token with scp.
	oddApp := sign(0, headerOf(0), appV2().with("scp", "Tasks.Read"))

	scope := func(text string) string {
		return challenge +
			`, error="insufficient_scope", error_description="the client must act for a user and have one of the scopes: ` +
			text + `", scope="` + text + `"`
	}
	role := func(kind, text string) string {
		subject := map[string]string{
			"application": "the app must act for itself and have one of the roles: ",
			"user":        "the client must act for a user who has one of the roles: ",
		}[kind]
		return challenge + `, error="insufficient_scope", error_description="` + subject + text + `"`
	}
	for _, test := range []struct {
		name      string
		h         http.Handler
		raw       string
		status    int
		challenge string
	}{
		{"scope, user", verify.RequireScope("Tasks.Read")(welcome), user, 200, ""},
		{"one of two scopes", verify.RequireScope("Tasks.Admin", "Tasks.Write")(welcome), user, 200, ""},
		{"missing scope", verify.RequireScope("Tasks.Admin", "Tasks.Own")(welcome), user, 403,
			scope("Tasks.Admin Tasks.Own")},
		{"part of a scope", verify.RequireScope("Tasks")(welcome), user, 403, scope("Tasks")},
		{"scope in another case", verify.RequireScope("tasks.read")(welcome), user, 403, scope("tasks.read")},
		{"scope, app", verify.RequireScope("Tasks.Read")(welcome), app, 403, scope("Tasks.Read")},
		{"scope, app with a role of that name", verify.RequireScope("Tasks.Read")(welcome), appWithScopeName, 403,
			scope("Tasks.Read")},
		{"scope, app that says scp", verify.RequireScope("Tasks.Read")(welcome), oddApp, 403, scope("Tasks.Read")},
		{"role, app", verify.RequireRole("Tasks.Read.All")(welcome), app, 200, ""},
		{"missing role", verify.RequireRole("Tasks.Write.All")(welcome), app, 403, role("application", "Tasks.Write.All")},
		{"no roles", verify.RequireRole("Tasks.Read.All")(welcome), appNoRole, 403, role("application", "Tasks.Read.All")},
		{"role, user with a scope of that name", verify.RequireRole("Tasks.Read")(welcome), user, 403,
			role("application", "Tasks.Read")},
		{"role, user with that role", verify.RequireRole("Tasks.Read.All")(welcome), userWithRoleName, 403,
			role("application", "Tasks.Read.All")},
		{"user role", verify.RequireUserRole("Approver")(welcome), user, 200, ""},
		{"missing user role", verify.RequireUserRole("Owner")(welcome), user, 403, role("user", "Owner")},
		{"user role, app", verify.RequireUserRole("Tasks.Read.All")(welcome), app, 403, role("user", "Tasks.Read.All")},
		{"either, user", verify.RequireScopeOrRole("Tasks.Read", "Tasks.Read.All")(welcome), user, 200, ""},
		{"either, app", verify.RequireScopeOrRole("Tasks.Read", "Tasks.Read.All")(welcome), app, 200, ""},
		{"either, app with a role of the scope's name", verify.RequireScopeOrRole("Tasks.Read", "Tasks.Read.All")(welcome),
			appWithScopeName, 403, role("application", "Tasks.Read.All")},
		{"either, user with the app's role", verify.RequireScopeOrRole("Tasks.Read", "Tasks.Read.All")(welcome),
			userWithRoleName, 403, scope("Tasks.Read")},
		{"tenant", verify.RequireTenant(tenantB, strings.ToUpper(tenantA))(welcome), user, 200, ""},
		{"another tenant", verify.RequireTenant(tenantB)(welcome), user, 403, ""},
		{"user role, device", verify.RequireUserRole("Approver")(welcome), device, 403, role("user", "Approver")},
		{"user role, unidentified", verify.RequireUserRole("Tasks.Read.All")(welcome), unidentified, 403,
			role("user", "Tasks.Read.All")},
		{"user role, idtyp in another case", verify.RequireUserRole("Tasks.Read.All")(welcome), upperApp, 403,
			role("user", "Tasks.Read.All")},
		{"app role, idtyp in another case", verify.RequireRole("Tasks.Read.All")(welcome), upperApp, 403,
			role("application", "Tasks.Read.All")},
		{"scope, device", verify.RequireScope("Tasks.Read")(welcome), device, 403, scope("Tasks.Read")},
		{"scope or role, device", verify.RequireScopeOrRole("Tasks.Read", "Approver")(welcome), device, 403,
			scope("Tasks.Read")},
		{"both", verify.RequireScope("Tasks.Read")(verify.RequireUserRole("Approver")(welcome)), user, 200, ""},
		{"authentication context", verify.RequireAuthContext("c1")(welcome),
			sign(0, headerOf(0), userV2().with("acrs", []string{"c0", "c1"})), 200, ""},
		{"no authentication context", verify.RequireAuthContext("c1")(welcome), user, 401,
			challenge +
				`, error="insufficient_claims", error_description="a stronger sign-in is required; request a token with the ` +
				`given claims", claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := request(v.Middleware(test.h), "Bearer "+test.raw)
			if w.Code != test.status || w.Header().Get("WWW-Authenticate") != test.challenge {
				t.Errorf("got status %d, challenge %s\nwant %d, %s", w.Code, w.Header().Get("WWW-Authenticate"), test.status,
					test.challenge)
			}
			if (w.Body.String() == "welcome") != (test.status == 200) {
				t.Errorf("got body %q with status %d", w.Body, w.Code)
			}
			if w := request(test.h, "Bearer "+test.raw); w.Code != 500 || w.Body.String() == "welcome" {
				t.Errorf("without Middleware: got status %d, body %q, want 500", w.Code, w.Body)
			}
		})
	}
}

// The claims of the challenge are those in Microsoft's page.
func TestClaimsChallengeOfTheDocumentation(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	w := request(v.Middleware(verify.RequireAuthContext("cp1")(welcome)), "Bearer "+sign(0, headerOf(0), userV2()))
	const want = `claims="eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiY3AxIn19fQ=="`
	if got := w.Header().Get("WWW-Authenticate"); !strings.Contains(got, want) {
		t.Errorf("got %s, want %s in it", got, want)
	}
}

func TestRequirePanicsWithoutValidArguments(t *testing.T) {
	for name, f := range map[string]func(){
		"no scope":        func() { verify.RequireScope() },
		"an empty scope":  func() { verify.RequireScope("") },
		"two in one":      func() { verify.RequireScope("Tasks.Read Tasks.Write") },
		"a backslash":     func() { verify.RequireScope(`Tasks\Read`) },
		"DEL":             func() { verify.RequireScope("Tasks\x7fRead") },
		"not ASCII":       func() { verify.RequireScope("Tasks.Lüfte") },
		"a quote":         func() { verify.RequireScope(`Tasks"Read`) },
		"no role":         func() { verify.RequireRole() },
		"no user role":    func() { verify.RequireUserRole() },
		"half of either":  func() { verify.RequireScopeOrRole("Tasks.Read", "") },
		"no tenant":       func() { verify.RequireTenant() },
		"a tenant's name": func() { verify.RequireTenant("contoso.onmicrosoft.com") },
		"no context":      func() { verify.RequireAuthContext("") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("got no panic")
				}
			}()
			f()
		})
	}
}

// Clients request "api://api-a/Tasks.Read", and their tokens have "Tasks.Read". A rule for the former would reject every
// user.
func TestScopeWithTheNameOfTheAPIPanics(t *testing.T) {
	const notAScope = ` is not a scope of a token; write the scopes that the API exposes, such as "Tasks.Read"`
	for scope, want := range map[string]string{
		"api://api-a/access_as_user":       ` also names the API; write only the scope, "access_as_user"`,
		"https://contoso.example/a/A.Read": ` also names the API; write only the scope, "A.Read"`,
		apiID + "/Tasks.Read":              ` also names the API; write only the scope, "Tasks.Read"`,
		strings.ToUpper(apiID) + "/A":      ` also names the API; write only the scope, "A"`,
		"api://api-a/.default":             notAScope,
		"api://api-a/":                     notAScope,
		"api://api-a":                      notAScope,
		".default":                         notAScope,
		"Tasks/Read":                       "",
		"Tasks/.Read":                      "",
		"Tasks/":                           "",
		"Tasks:Read":                       "",
		"api-a/Tasks.Read":                 "",
		"user_impersonation":               "",
	} {
		for name, rule := range map[string]func(){
			"Scope":              func() { verify.Scope("Tasks.Write", scope) },
			"RequireScope":       func() { verify.RequireScope(scope) },
			"ScopeOrRole":        func() { verify.ScopeOrRole(scope, "Tasks.Read.All") },
			"RequireScopeOrRole": func() { verify.RequireScopeOrRole(scope, "Tasks.Read.All") },
		} {
			func() {
				defer func() {
					var panics any
					if want != "" {
						panics = fmt.Sprintf("verify: Scope: %q%s", scope, want)
					}
					if got := recover(); got != panics {
						t.Errorf("%s(%q): got panic %v, want %v", name, scope, got, panics)
					}
				}()
				rule()
			}()
		}
	}
}

// Responses of the rules are not cached, and browsers do not guess their type.
func TestResponsesHaveSafeHeaders(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	h := v.Middleware(verify.RequireScope("Tasks.~")(welcome)) // ~ is the last character that a scope may have
	for _, authorization := range [][]string{nil, {"Bearer " + sign(0, headerOf(0), userV2())}} {
		got := request(h, authorization...).Header()
		got.Del("WWW-Authenticate")
		want := http.Header{
			"Content-Type":           {"text/plain; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
			"Cache-Control":          {"no-store"},
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
}

// Changing the arguments later does not change the rule.
func TestRequireCopiesItsArguments(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	scopes := []string{"Tasks.Admin"}
	h := v.Middleware(verify.RequireScope(scopes...)(welcome))
	scopes[0] = "Tasks.Read"
	if w := request(h, "Bearer "+sign(0, headerOf(0), userV2())); w.Code != 403 {
		t.Errorf("got status %d, want 403", w.Code)
	}
}

// Rejected requests are logged at level Debug, with the reason only.
func TestRejectedRequestsAreLoggedByReason(t *testing.T) {
	var out bytes.Buffer
	cfg := newAuthority(jwk(0)).config()
	cfg.Logger = slog.New(slog.NewTextHandler(&out,
		&slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
	request(mustNew(t, cfg).Middleware(welcome), "Bearer "+sign(2, headerOf(0), userV2()))
	if got, want := out.String(), "level=DEBUG msg=\"verify: request rejected\" reason=bad_signature\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
