package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

// The rules work without HTTP, as in a gRPC interceptor.
func TestRulesWithoutHTTP(t *testing.T) {
	cfg := newAuthority(jwk(0)).config()
	cfg.AllowAppsWithoutRoles = true
	v := mustNew(t, cfg)
	token := func(claims object) *verify.Token {
		tok, err := v.Verify(t.Context(), sign(0, headerOf(0), claims))
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	user, app := token(userV2().with("roles", []string{"Approver"})), token(appV2())
	for _, test := range []struct {
		name     string
		rule     verify.Rule
		token    *verify.Token
		reason   verify.Reason
		required []string
		value    string
		status   int
	}{
		{"scope", verify.Scope("Tasks.Admin", "Tasks.Read"), user, "", nil, "", 0},
		{"no scope", verify.Scope("Tasks.Admin", "Tasks.Own"), user, verify.ReasonMissingScope,
			[]string{"Tasks.Admin", "Tasks.Own"}, "", 403},
		{"role", verify.Role("Tasks.Read.All"), app, "", nil, "", 0},
		{"no role", verify.Role("Tasks.Read.All"), token(appV2().without("roles")), verify.ReasonMissingRole,
			[]string{"Tasks.Read.All"}, "", 403},
		{"user role", verify.UserRole("Approver"), user, "", nil, "", 0},
		{"no user role", verify.UserRole("Tasks.Read.All"), app, verify.ReasonMissingUserRole,
			[]string{"Tasks.Read.All"}, "", 403},
		{"scope or role", verify.ScopeOrRole("Tasks.Admin", "Tasks.Read.All"), app, "", nil, "", 0},
		{"neither scope nor role", verify.ScopeOrRole("Tasks.Admin", "Tasks.Read.All"), user,
			verify.ReasonMissingScope, []string{"Tasks.Admin"}, "", 403},
		{"tenant", verify.Tenant(strings.ToUpper(tenantA)), user, "", nil, "", 0},
		{"another tenant", verify.Tenant(tenantB), user, verify.ReasonOtherTenant, nil, tenantA, 403},
		{"client", verify.Client(otherID, strings.ToUpper(clientID)), user, "", nil, "", 0},
		{"another client", verify.Client(otherID), user, verify.ReasonOtherClient, nil, clientID, 403},
		{"authentication context", verify.AuthContext("c1"), user, verify.ReasonMissingAuthContext, []string{"c1"}, "", 401},
		{"no token", verify.ScopeOrRole("Tasks.Read", "Tasks.Read.All"), nil, verify.ReasonNotVerified, nil, "", 500},
		{"zero token", verify.Tenant(tenantA), new(verify.Token), verify.ReasonNotVerified, nil, "", 500},
	} {
		err := test.rule(test.token)
		if got := reason(t, err); got != test.reason {
			t.Errorf("%s: got %v, want %q", test.name, err, test.reason)
			continue
		}
		if e, ok := errors.AsType[*verify.Error](err); ok && (!slices.Equal(e.Required, test.required) ||
			e.Value != test.value || e.HTTPStatus() != test.status) {
			t.Errorf("%s: got %q, %q and status %d, want %q, %q and %d", test.name, e.Required, e.Value, e.HTTPStatus(),
				test.required, test.value, test.status)
		}
	}
}

// A rule of the program is combined with those of the package. Its text does not reach the caller.
func TestRuleOfTheProgram(t *testing.T) {
	var out bytes.Buffer
	cfg := newAuthority(jwk(0)).config()
	cfg.Logger = debugLogger(&out)
	h := mustNew(t, cfg).Middleware(verify.Require(verify.Scope("Tasks.Read"), func(tok *verify.Token) error {
		if tok.Claims().PreferredUsername == "ada@contoso.example" {
			return errors.New("internal: ada owes 7 EUR")
		}
		return nil
	})(welcome))
	w := request(h, "Bearer "+sign(0, headerOf(0), userV2()))
	if w.Code != 403 || w.Body.String() != "the caller may not use this resource\n" ||
		w.Header().Get("WWW-Authenticate") != "" {
		t.Errorf("got status %d, body %q, header %v", w.Code, w.Body, w.Header())
	}
	const want = "level=DEBUG msg=\"verify: request rejected\" reason=denied cause=\"internal: ada owes 7 EUR\"\n"
	if out.String() != want {
		t.Errorf("got log %q, want %q", out.String(), want)
	}
	w = request(h, "Bearer "+sign(0, headerOf(0), userV2().with("preferred_username", "bob@contoso.example")))
	if w.Code != 200 {
		t.Errorf("got status %d, want 200", w.Code)
	}
}

// A Rule that returns a nil pointer in a variable of an error type has not admitted the caller
// (go.dev/doc/faq#nil_error). The log names the mistake.
func TestRuleThatReturnsNilPointerRejects(t *testing.T) {
	const named = "the function returned a nil %s as its error; without an error it must return nil"
	for want, err := range map[string]error{
		fmt.Sprintf(named, "*verify.Error"): (*verify.Error)(nil),
		fmt.Sprintf(named, "*url.Error"):    (*url.Error)(nil),
		"rule: <nil>":                       fmt.Errorf("rule: %w", (*verify.Error)(nil)),
	} {
		var out bytes.Buffer
		cfg := newAuthority(jwk(0)).config()
		cfg.Logger = debugLogger(&out)
		h := mustNew(t, cfg).Middleware(verify.Require(func(*verify.Token) error { return err })(welcome))
		w := request(h, "Bearer "+sign(0, headerOf(0), userV2()))
		if w.Code != 403 || w.Body.String() != "the caller may not use this resource\n" {
			t.Errorf("%#v: got status %d, body %q, want 403", err, w.Code, w.Body)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("%#v: got log %q, want %q in it", err, out.String(), want)
		}
	}
}

// debugLogger returns a logger for all levels, without times.
func debugLogger(out *bytes.Buffer) *slog.Logger {
	return slog.New(slog.NewTextHandler(out,
		&slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}}))
}

// The operator sees which audience, issuer, tenant or key a rejected token had. The response tells
// the caller what to do, without names of our configuration.
func TestRejectedValueIsLogged(t *testing.T) {
	inB := userV2().with("tid", tenantB).with("iss", "https://"+host+"/"+tenantB+"/v2.0")
	for _, test := range []struct {
		name, raw, log, body string
	}{
		{"audience", sign(0, headerOf(0), userV2().with("aud", otherID)), "reason=bad_audience claim=aud value=" + otherID,
			"wrong audience (aud); request a token with a scope of this API"},
		{"App ID URI of a v1.0 token", sign(0, headerOf(0), userV1().with("aud", "api://other/")),
			"reason=bad_audience claim=aud value=api://other/",
			"wrong audience (aud); request a token with a scope of this API"},
		{"long audience", sign(0, headerOf(0), userV2().with("aud", strings.Repeat("a\n", 500))),
			`reason=bad_audience claim=aud value="` + strings.Repeat("a ", 100) + `..."`,
			"wrong audience (aud); request a token with a scope of this API"},
		{"issuer", sign(0, headerOf(0), userV2().with("iss", "https://evil.example/")),
			"reason=bad_issuer value=https://evil.example/",
			"the token is not from an issuer of the configured cloud; check the client's authority"},
		{"tenant", sign(0, headerOf(0), inB), "reason=tenant_not_allowed value=" + tenantB,
			"the tenant of the token may not use this API"},
		{"key", sign(0, headerOf(0).with("kid", "k-7"), userV2()), "reason=unknown_key value=k-7",
			"the authority does not publish the signing key of the token; check the client's authority"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			cfg := newAuthority(jwk(0)).config()
			cfg.Logger = debugLogger(&out)
			w := request(mustNew(t, cfg).Middleware(welcome), "Bearer "+test.raw)
			if want := `level=DEBUG msg="verify: request rejected" ` + test.log + "\n"; out.String() != want {
				t.Errorf("got log %q, want %q", out.String(), want)
			}
			want := challenge + `, error="invalid_token", error_description="` + test.body + `"`
			if w.Code != 401 || w.Body.String() != test.body+"\n" || w.Header().Get("WWW-Authenticate") != want {
				t.Errorf("got status %d, body %q, challenge %s, want 401, %q", w.Code, w.Body,
					w.Header().Get("WWW-Authenticate"), test.body)
			}
		})
	}
}

// Entra issues an app-only token without roles to any app of a tenant. Middleware alone does not accept
// it (AzureAD/microsoft-identity-web#707).
func TestAppsWithoutRoles(t *testing.T) {
	bare := appV2().without("roles")
	for _, test := range []struct {
		name    string
		claims  object
		allow   bool
		status  int
		message string
	}{
		{"no roles", bare, false, 403, "the token has neither scopes nor roles; " +
			"an administrator must grant a permission"},
		{"no roles, without idtyp", bare.without("idtyp"), false, 403, ""},
		{"no roles, neither app nor user", bare.without("idtyp", "oid"), false, 403, ""},
		{"empty roles", bare.with("roles", []string{}), false, 403, ""},
		{"scopes only", bare.with("scp", "Tasks.Read"), false, 403, ""},
		{"no roles, allowed", bare, true, 200, ""},
		{"no roles, without idtyp, allowed", bare.without("idtyp"), true, 200, ""},
		{"no roles, neither app nor user, allowed", bare.without("idtyp", "oid"), true, 403, ""},
		{"a role", appV2(), false, 200, ""},
		{"a user", userV2(), false, 200, ""},
	} {
		cfg := newAuthority(jwk(0)).config()
		cfg.AllowAppsWithoutRoles = test.allow
		h := mustNew(t, cfg).Middleware(welcome)
		for range 2 { // the second time, perhaps from the cache
			w := request(h, "Bearer "+sign(0, headerOf(0), test.claims))
			if w.Code != test.status || test.message != "" && (w.Body.String() != test.message+"\n" ||
				w.Header().Get("WWW-Authenticate") != challenge+`, error="insufficient_scope", error_description="`+
					test.message+`"`) {
				t.Errorf("%s: got status %d, body %q, challenge %s, want %d", test.name, w.Code, w.Body,
					w.Header().Get("WWW-Authenticate"), test.status)
			}
		}
	}
}

// ErrorHandler writes the response of Middleware and of the rules, with the headers of the protocol.
func TestErrorHandler(t *testing.T) {
	a := newAuthority(jwk(0))
	cfg := a.config()
	cfg.ErrorHandler = func(w http.ResponseWriter, r *http.Request, err *verify.Error) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(err.HTTPStatus())
		_ = json.NewEncoder(w).Encode(map[string]string{"type": string(err.Reason), "detail": err.Message()})
	}
	h := mustNew(t, cfg).Middleware(verify.RequireScope("Tasks.Admin")(welcome))
	failing := newAuthority()
	failing.respondWith(http.StatusBadGateway, "")
	cfg.HTTPClient = failing.client()
	withoutKeys := mustNew(t, cfg).Middleware(welcome)
	good := sign(0, headerOf(0), userV2())
	const scope = "the client must act for a user and have one of the scopes: Tasks.Admin"
	for _, test := range []struct {
		h             http.Handler
		authorization []string
		status        int
		reason        verify.Reason
		message       string
		challenge     string
		retryAfter    string
	}{
		{h, nil, 401, verify.ReasonNoToken,
			"the request does not have a bearer token; send one in the Authorization header", challenge, ""},
		{h, []string{"Bearer a.b.c"}, 401, verify.ReasonMalformed,
			"the token is not a signed JWT; send the token as Entra issued it", challenge +
				`, error="invalid_token", error_description="the token is not a signed JWT; send the token as Entra issued it"`, ""},
		{h, []string{"Bearer " + good}, 403, verify.ReasonMissingScope, scope, challenge +
			`, error="insufficient_scope", error_description="` + scope + `", scope="Tasks.Admin"`, ""},
		{withoutKeys, []string{"Bearer " + good}, 503, verify.ReasonKeysUnavailable,
			"failed to fetch the signing keys of the authority", "", "1"},
	} {
		w := request(test.h, test.authorization...)
		body := fmt.Sprintf("{\"detail\":%q,\"type\":%q}\n", test.message, test.reason)
		if w.Code != test.status || w.Body.String() != body || w.Header().Get("WWW-Authenticate") != test.challenge ||
			w.Header().Get("Retry-After") != test.retryAfter || w.Header().Get("Cache-Control") != "no-store" ||
			w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("got status %d, body %s, header %v, want %d, %s, %s", w.Code, w.Body, w.Header(), test.status, body,
				test.challenge)
		}
	}
}

func TestBearerToken(t *testing.T) {
	for _, test := range []struct {
		values []string
		want   string
		reason verify.Reason
	}{
		{[]string{"Bearer a.b.c"}, "a.b.c", ""},
		{[]string{"bearer a.b.c"}, "a.b.c", ""},
		{nil, "", verify.ReasonNoToken},
		{[]string{"Basic dTpw"}, "", verify.ReasonNoToken},
		{[]string{"Bearer a.b.c", "Bearer a.b.c"}, "", verify.ReasonBadAuthorization},
	} {
		if got, err := verify.BearerToken(test.values); got != test.want || reason(t, err) != test.reason {
			t.Errorf("%q: got %q, %v, want %q, %q", test.values, got, err, test.want, test.reason)
		}
	}
}

// One API serves employees in one tenant, customers in an external tenant, and a second app
// registration. Each token is verified by the configuration of its issuer and audience.
func TestAny(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	const external = entra.Cloud("fabrikam.ciamlogin.com")
	var out bytes.Buffer
	config := func(app string, tenant string, cloud entra.Cloud) verify.Config {
		return verify.Config{Audiences: []string{s.App(app).ClientID}, Tenants: []string{tenant}, Cloud: cloud,
			HTTPClient: s.Client(), Logger: debugLogger(&out),
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err *verify.Error) {
				w.WriteHeader(err.HTTPStatus())
				fmt.Fprintf(w, "%s %s: %s", app, tenant, err.Reason)
			}}
	}
	employees := mustNew(t, config("api-b", contoso, ""))
	customers := mustNew(t, config("api-b", fabrikam, external))
	second := mustNew(t, config("api-a", contoso, ""))
	v := verify.Any(employees, verify.Any(customers, second))
	inB := func(change func(*entratest.MintOptions)) string {
		o := entratest.MintOptions{Resource: "api-b", Client: "webapp", User: alice, Scopes: []string{"Orders.Read"}}
		change(&o)
		return s.Mint(o)
	}
	ofCustomer := func(o *entratest.MintOptions) {
		o.User, o.Tenant, o.Host = carol, fabrikam, external.Host()
	}
	h := v.Middleware(verify.RequireScope("Orders.Read")(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := verify.ClaimsFromContext(r.Context())
		fmt.Fprint(w, c.TenantID, " ", c.Audience)
	})))
	for _, test := range []struct {
		name, raw string
		status    int
		body      string
		keys      []string // tenants whose keys are fetched
	}{
		{"no key fetched yet: not a token", "a.b.c", 401, "api-b " + contoso + ": malformed", nil},
		{"employee", inB(func(*entratest.MintOptions) {}), 200, contoso + " " + s.App("api-b").ClientID, []string{contoso}},
		{"customer", inB(ofCustomer), 200, fabrikam + " " + s.App("api-b").ClientID, []string{contoso, fabrikam}},
		{"second registration", inB(func(o *entratest.MintOptions) { o.Resource = "api-a" }), 200,
			contoso + " " + s.App("api-a").ClientID, []string{contoso, fabrikam, contoso}},
		{"employee without the scope", inB(func(o *entratest.MintOptions) { o.Scopes = []string{"Orders.Write"} }), 403,
			"api-b " + contoso + ": missing_scope", []string{contoso, fabrikam, contoso}},
		{"customer without the scope", inB(func(o *entratest.MintOptions) {
			ofCustomer(o)
			o.Scopes = []string{"Orders.Write"}
		}), 403, "api-b " + fabrikam + ": missing_scope", []string{contoso, fabrikam, contoso}},
		{"expired customer", inB(func(o *entratest.MintOptions) {
			ofCustomer(o)
			o.Lifetime = -3600e9
		}), 401, "api-b " + fabrikam + ": expired", []string{contoso, fabrikam, contoso}},
		{"forged customer", inB(func(o *entratest.MintOptions) {
			ofCustomer(o)
			o.UnpublishedKey = true
		}), 401, "api-b " + fabrikam + ": bad_signature", []string{contoso, fabrikam, contoso}},
		{"another tenant", inB(func(o *entratest.MintOptions) { o.User, o.Tenant = carol, fabrikam }), 401,
			"api-b " + contoso + ": tenant_not_allowed", []string{contoso, fabrikam, contoso}},
		{"another audience", inB(func(o *entratest.MintOptions) { o.Claims = map[string]any{"aud": otherID} }), 401,
			"api-b " + contoso + ": bad_audience", []string{contoso, fabrikam, contoso}},
		{"the customers' audience from the second registration's tenant, in another cloud", inB(func(o *entratest.MintOptions) {
			o.Host = entra.CloudChina.Host()
		}), 401, "api-b " + contoso + ": bad_issuer", []string{contoso, fabrikam, contoso}},
	} {
		for range 2 { // the second time, perhaps from the cache
			w := request(h, "Bearer "+test.raw)
			if w.Code != test.status || w.Body.String() != test.body {
				t.Errorf("%s: got status %d, body %q, want %d, %q", test.name, w.Code, w.Body, test.status, test.body)
			}
		}
		var keys []string
		for _, r := range s.Requests() {
			if r.Endpoint == entratest.EndpointKeys {
				keys = append(keys, r.Tenant)
			}
		}
		if !slices.Equal(keys, test.keys) {
			t.Errorf("%s: got keys of %q, want %q", test.name, keys, test.keys)
		}
	}
	if w := request(h); w.Code != 401 || w.Body.String() != "api-b "+contoso+": no_token" {
		t.Errorf("no token: got status %d, body %q", w.Code, w.Body)
	}
	if !v.AllowsTenant(contoso) || !v.AllowsTenant(fabrikam) || v.AllowsTenant(tenantA) {
		t.Error("AllowsTenant: got another result than those of the Verifiers")
	}
	id := s.Mint(entratest.MintOptions{Resource: "api-a", User: alice, IDToken: true, Nonce: "n-1"})
	if c, err := v.IDToken(context.Background(), id, "n-1"); err != nil || c.Audience != s.App("api-a").ClientID {
		t.Errorf("ID token: got %v, %v", c, err)
	}
}

func TestAnyPanicsWithoutVerifiers(t *testing.T) {
	for name, f := range map[string]func(){
		"verify: Any needs at least one Verifier":      func() { verify.Any() },
		"verify: Verifier must be created with New":    func() { verify.Any(nil) },
		"verify: Verifier must be created with New\t0": func() { verify.Any(new(verify.Verifier)) },
	} {
		func() {
			defer func() {
				if got, want := recover(), strings.TrimSuffix(name, "\t0"); got != want {
					t.Errorf("got panic %v, want %s", got, want)
				}
			}()
			f()
		}()
	}
}

// A list of rules that is empty by mistake must not admit every caller.
func TestRequirePanicsWithoutRules(t *testing.T) {
	for want, f := range map[string]func(){
		"verify: Require needs at least one Rule": func() { verify.Require() },
		"verify: Require: a Rule is nil":          func() { verify.Require(verify.Scope("Tasks.Read"), nil) },
	} {
		func() {
			defer func() {
				if got := recover(); got != want {
					t.Errorf("got panic %v, want %s", got, want)
				}
			}()
			f()
		}()
	}
}

// A Rule of the program may put text of the request into its error. It adds no parameter to the challenge.
func TestRuleCannotAddToTheChallenge(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	v, err := verify.New(verify.Config{
		Audiences: []string{s.App("api-a").ClientID}, Tenants: []string{contoso}, HTTPClient: s.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	rule := func(*verify.Token) error {
		return &verify.Error{Reason: verify.ReasonMissingScope, Required: []string{`x", authorization_uri="https://evil`, "A.Read"}}
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice}))
	w := httptest.NewRecorder()
	v.Middleware(verify.Require(rule)(http.NotFoundHandler())).ServeHTTP(w, r)
	const want = `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", ` +
		`error="insufficient_scope", error_description="the client must act for a user and have one of the scopes: A.Read", ` +
		`scope="A.Read"`
	if got := w.Header().Get("WWW-Authenticate"); got != want || w.Code != http.StatusForbidden {
		t.Errorf("got status %d, challenge %s, want 403, %s", w.Code, got, want)
	}
}
