package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/verify"
)

func TestClaimsAreTyped(t *testing.T) { synctest.Test(t, testClaimsAreTyped) }

func testClaimsAreTyped(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	now := time.Unix(time.Now().Unix(), 0)
	rest := object{
		"acrs": []string{"c1", "p1"}, "xms_cc": []string{"CP1"}, "wids": []string{"62e90394-69f5-4237-9190-012177145e10"},
		"groups": []string{"g1", "g2"}, "email": "ada@gmail.example", "sid": "session-1", "roles": []string{"Approver"},
		"extn.costCenter": []int{7, 8}, "uti": `a"b\é😀`,
	}
	v1, v2 := userV1(), userV2()
	for name, value := range rest {
		v1[name], v2[name] = value, value
	}
	strip := func(c *verify.Claims) *verify.Claims { // the sets are compared below
		d := *c
		d.Scopes, d.Roles, d.Groups, d.DirectoryRoles, d.AuthContexts, d.Capabilities, d.AuthMethods =
			verify.Set{}, verify.Set{}, verify.Set{}, verify.Set{}, verify.Set{}, verify.Set{}, verify.Set{}
		return &d
	}
	for _, test := range []struct {
		claims object
		want   verify.Claims
		amr    []string
	}{
		{v1, verify.Claims{
			Issuer: "https://sts.windows.net/" + tenantA + "/", Audience: apiURI, Version: "1.0",
			UPN: "ada@contoso.example", UniqueName: "ada@contoso.example",
			IdentityProvider: "https://sts.windows.net/" + tenantB + "/",
		}, []string{"pwd", "mfa"}},
		{v2, verify.Claims{
			Issuer: "https://" + host + "/" + tenantA + "/v2.0", Audience: apiID, Version: "2.0",
			PreferredUsername: "ada@contoso.example",
		}, nil},
	} {
		c := accept(t, v, sign(0, headerOf(0), test.claims))
		want := test.want
		want.TenantID, want.ObjectID, want.Subject = tenantA, userOID, "pairwise-subject"
		want.ClientID, want.ClientAuth = clientID, "1"
		want.TokenID, want.SessionID, want.Name, want.Email = `a"b\é😀`, "session-1", "Ada Example", "ada@gmail.example"
		want.IssuedAt, want.NotBefore, want.Expires = now, now, now.Add(4500*time.Second)
		got := strip(c)
		if got, want := mustJSON(t, got), mustJSON(t, &want); got != want {
			t.Errorf("version %s:\ngot  %s\nwant %s", c.Version, got, want)
		}
		for _, set := range []struct {
			name string
			got  verify.Set
			want []string
		}{
			{"scp", c.Scopes, []string{"Tasks.Read", "Tasks.Write"}},
			{"roles", c.Roles, []string{"Approver"}},
			{"groups", c.Groups, []string{"g1", "g2"}},
			{"wids", c.DirectoryRoles, []string{"62e90394-69f5-4237-9190-012177145e10"}},
			{"acrs", c.AuthContexts, []string{"c1", "p1"}},
			{"xms_cc", c.Capabilities, []string{"CP1"}},
			{"amr", c.AuthMethods, test.amr},
		} {
			if !slices.Equal(slices.Collect(set.got.All()), set.want) || set.got.Len() != len(set.want) {
				t.Errorf("%s: got %v, want %v", set.name, set.got, set.want)
			}
		}
		if !c.HandlesChallenges() || c.GroupsOverage || c.AppOnly() {
			t.Errorf("got HandlesChallenges %v, GroupsOverage %v, AppOnly %v, want true, false, false",
				c.HandlesChallenges(), c.GroupsOverage, c.AppOnly())
		}
		var centers []int
		if err := c.Decode("extn.costCenter", &centers); err != nil || !slices.Equal(centers, []int{7, 8}) {
			t.Errorf("Decode: got %v, %v, want [7 8]", centers, err)
		}
		if err := c.Decode("extn.none", &centers); !errors.Is(err, &verify.Error{Reason: verify.ReasonMissingClaim}) {
			t.Errorf("Decode of a missing claim: got %v, want %s", err, verify.ReasonMissingClaim)
		}
		if err := c.Decode("extn.costCenter", new(string)); !errors.Is(err, &verify.Error{Reason: verify.ReasonBadClaim}) {
			t.Errorf("Decode into the wrong type: got %v, want %s", err, verify.ReasonBadClaim)
		}
		if !c.Has("uti") || c.Has("UTI") || len(slices.Collect(c.Names())) != len(test.claims) {
			t.Errorf("got names %v, want the %d of the token", slices.Collect(c.Names()), len(test.claims))
		}
	}
}

func mustJSON(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAppOnlyAndUser(t *testing.T) {
	cfg := newAuthority(jwk(0)).config()
	cfg.AllowAppsWithoutRoles = true
	v := mustNew(t, cfg)
	user, app := userV2(), appV2()
	for _, test := range []struct {
		name    string
		claims  object
		appOnly bool
		user    bool
	}{
		{"a user", user, false, true},
		{"a user with roles", user.with("roles", []string{"Approver"}), false, true},
		{"a user, idtyp", user.with("idtyp", "user"), false, true},
		{"a user with roles only", user.without("scp").with("roles", []string{"Approver"}), false, true},
		{"a user without oid", user.without("oid"), false, false},
		{"an app", app, true, false},
		{"an app without roles", app.without("roles"), true, false},
		{"an app without idtyp", app.without("idtyp"), true, false},
		{"an app without idtyp and oid: neither app nor user", app.without("idtyp", "oid"), false, false},
		{"idtyp takes precedence over oid and sub", app.with("idtyp", "user"), false, true},
		{"unknown idtyp: neither app nor user", app.with("idtyp", "device"), false, false},
		{"idtyp in another case", app.with("idtyp", "App"), false, false},
		{"idtyp with a space", app.with("idtyp", "app "), false, false},
		{"a device with a scope: not a user", user.with("idtyp", "device"), false, false},
		{"scp takes precedence over oid and sub", app.without("idtyp").with("scp", "Tasks.Read"), false, true},
		{"an empty scp does not", app.without("idtyp").with("scp", " "), true, false},
	} {
		c := accept(t, v, sign(0, headerOf(0), test.claims))
		u, ok := c.User()
		if c.AppOnly() != test.appOnly || ok != test.user {
			t.Errorf("%s: got app-only %v, user %v, want %v, %v", test.name, c.AppOnly(), ok, test.appOnly, test.user)
		}
		if want := (verify.User{TenantID: tenantA, ObjectID: userOID}); ok && u != want || !ok && u != (verify.User{}) {
			t.Errorf("%s: got user %v", test.name, u)
		}
	}
}

func TestGroupsOverage(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	for _, test := range []struct {
		name   string
		claims object
		want   bool
	}{
		{"none", userV2(), false},
		{"groups", userV2().with("groups", []string{"g"}), false},
		{"no groups", userV2().with("groups", []string{}), false},
		{"distributed", userV2().with("_claim_names", object{"groups": "src1"}).with("_claim_sources",
			object{"src1": object{"endpoint": "https://graph.windows.net/x"}}), true},
		{"another distributed", userV2().with("_claim_names", object{"wids": "src1"}), false},
		{"hasgroups", userV2().with("hasgroups", true), true},
		{"has no groups", userV2().with("hasgroups", false), false},
		{"groups:src1", userV2().with("groups", "src1"), true},
	} {
		c := accept(t, v, sign(0, headerOf(0), test.claims))
		if c.GroupsOverage != test.want {
			t.Errorf("%s: got %v, want %v", test.name, c.GroupsOverage, test.want)
		}
	}
}

func TestHandlesChallenges(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	for _, test := range []struct {
		capabilities []string
		want         bool
	}{
		{nil, false},
		{[]string{"cp2"}, false},
		{[]string{"cp1"}, true},
		{[]string{"protapp", "CP1"}, true},
	} {
		c := accept(t, v, sign(0, headerOf(0), userV2().with("xms_cc", append([]string{}, test.capabilities...))))
		if got := c.HandlesChallenges(); got != test.want {
			t.Errorf("%v: got %v, want %v", test.capabilities, got, test.want)
		}
	}
}

func TestNamesStopsWhenTheLoopDoes(t *testing.T) {
	c := accept(t, mustNew(t, newAuthority(jwk(0)).config()), sign(0, headerOf(0), userV2()))
	n := 0
	for range c.Names() {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("got %d names, want 2", n)
	}
}

// A later claim does not revoke the overage that an earlier one reports.
func TestGroupsOverageInAnyOrder(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	for _, members := range []string{
		`"groups":"src1","_claim_names":{"wids":"src1"},"hasgroups":false`,
		`"hasgroups":true,"_claim_names":{"wids":"src1"}`,
		`"_claim_names":{"groups":"src1"},"hasgroups":false`,
	} {
		c := accept(t, v, signText(0, headerOf(0).text(), insert(userV2(), members)))
		if !c.GroupsOverage {
			t.Errorf("%s: got GroupsOverage false, want true", members)
		}
	}
}

func TestSetsMarshalToArrays(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	c := accept(t, v, sign(0, headerOf(0), userV2().with("roles", []string{}).with("groups", []string{"g1", "g2"})))
	for _, test := range []struct {
		set  verify.Set
		want string
	}{
		{c.Scopes, `["Tasks.Read","Tasks.Write"]`},
		{c.Groups, `["g1","g2"]`},
		{c.Roles, `[]`},
		{c.AuthContexts, `[]`},
	} {
		if got := mustJSON(t, test.set); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

// Printed and logged claims identify the token, not the person.
func TestPrintedClaimsHaveNoPersonalData(t *testing.T) {
	c := accept(t, mustNew(t, newAuthority(jwk(0)).config()), sign(0, headerOf(0), userV2()))
	var out strings.Builder
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format+format+"\n", c, *c)
	}
	fmt.Fprintf(&out, "%+v\n", struct{ claims *verify.Claims }{c})
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "claims", c, "value", *c)
	}
	for _, personal := range []string{"Ada", "ada@", userOID} {
		if strings.Contains(out.String(), personal) {
			t.Errorf("got %q in %s", personal, out.String())
		}
	}
	for kind, claims := range map[string]object{"user": userV2(), "app": appV2(),
		"other": userV2().with("idtyp", "device")} {
		c := accept(t, mustNew(t, newAuthority(jwk(0)).config()), sign(0, headerOf(0), claims))
		want := "verify.Claims(" + kind + " tid=" + tenantA + " uti=uti-1)"
		if got := c.String() + fmt.Sprintf("%v%x", c, *c); got != want+want+want {
			t.Errorf("got %s, want %s three times", got, want)
		}
	}
}

// Programs write claims as JSON, and a nonce is for one sign-in only.
func TestClaimsJSONHasNoNonce(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	c, err := v.IDToken(t.Context(), sign(0, headerOf(0), idV2().with("nonce", "the-nonce")), "the-nonce")
	if err != nil {
		t.Fatal(err)
	}
	if text := mustJSON(t, c); c.Nonce != "the-nonce" || strings.Contains(text, "the-nonce") {
		t.Errorf("got nonce %q and JSON %s, want a nonce that is not in the JSON", c.Nonce, text)
	}
}

func TestZeroClaimsGrantNothing(t *testing.T) {
	var c verify.Claims
	if _, ok := c.User(); ok || c.AppOnly() || c.Has("iss") || c.Decode("iss", new(string)) == nil ||
		len(slices.Collect(c.Names())) != 0 {
		t.Error("the zero Claims have a user, a claim or app-only access")
	}
	text, err := json.Marshal(c.Roles)
	if err != nil || string(text) != "[]" {
		t.Errorf("got the empty set as %s, %v, want []", text, err)
	}
}

// Unmarshaled claims are those that were marshaled, in the same order, without the nonce.
// A v1.0 token has the client ID as its client wrote it. Client IDs are equal without regard to case.
func TestAudienceInUpperCase(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	upper := strings.ToUpper(apiID)
	for name, claims := range map[string]object{
		"v1.0": userV1().with("aud", upper), "v2.0": userV2().with("aud", upper),
	} {
		c := accept(t, v, sign(0, headerOf(0), claims))
		if c.Audience != apiID {
			t.Errorf("%s: got audience %q, want %q", name, c.Audience, apiID)
		}
		data, err := c.MarshalBinary()
		var stored verify.Claims
		if err != nil || stored.UnmarshalBinary(data) != nil || stored.Audience != apiID {
			t.Errorf("%s: got stored audience %q, %v, want %q", name, stored.Audience, err, apiID)
		}
	}
	id := idV2().with("aud", upper).with("azp", upper)
	if c, err := v.IDToken(t.Context(), sign(0, headerOf(0), id), "n-1"); err != nil || c.Audience != apiID {
		t.Errorf("ID token: got %v, %v, want audience %s", c, err, apiID)
	}
	// App ID URIs are compared exactly.
	_, err := v.Verify(t.Context(), sign(0, headerOf(0), userV1().with("aud", strings.ToUpper(apiURI))))
	if reason(t, err) != verify.ReasonBadAudience {
		t.Errorf("got %v, want %s", err, verify.ReasonBadAudience)
	}
}

// Claims that are only displayed may have any type, for example because of claims mapping. Claims on which a
// decision depends must have the right type.
func TestDisplayClaimsOfAnyType(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	for _, value := range []any{nil, 7, true, []string{"Ada"}, object{"en": "Ada"}} {
		claims := userV2()
		for _, name := range []string{"name", "preferred_username", "upn", "unique_name", "email"} {
			claims = claims.with(name, value)
		}
		c := accept(t, v, sign(0, headerOf(0), claims))
		if got := c.Name + c.PreferredUsername + c.UPN + c.UniqueName + c.Email; got != "" || !c.Has("name") {
			t.Errorf("%v: got %q, want empty fields and the claim", value, got)
		}
		for _, name := range []string{"iss", "aud", "tid", "oid", "sub", "idtyp", "sid", "scp", "roles", "azp", "exp"} {
			_, err := v.Verify(t.Context(), sign(0, headerOf(0), userV2().with(name, value)))
			if reason(t, err) == "" && !(name == "roles" && reflect.DeepEqual(value, []string{"Ada"})) {
				t.Errorf("%s %v: the token was accepted", name, value)
			}
		}
	}
}

func TestClaimsSurviveMarshaling(t *testing.T) {
	server := entratest.NewServer(entratest.Sample())
	v, err := verify.New(verify.Config{
		Audiences:  []string{server.App("webapp").ClientID, server.App("api-a").ClientID},
		Tenants:    []string{entratest.SampleTenant},
		HTTPClient: server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.IDToken(t.Context(), server.Mint(entratest.MintOptions{
		IDToken: true, Resource: "webapp", User: "alice@contoso.onmicrosoft.com", Nonce: "n",
		Claims: map[string]any{"odd\"<name>": "x", "roles": []string{"A", "B"}, "groups": []string{"g"}},
	}), "n")
	if err != nil {
		t.Fatal(err)
	}
	access, err := v.Verify(t.Context(),
		server.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"}))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]*verify.Claims{"ID token": id, "access token": access.Claims()} {
		data, err := c.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(data) || strings.Contains(string(data), `"nonce"`) {
			t.Errorf("%s: got %s", name, data)
		}
		var again verify.Claims
		if err := again.UnmarshalBinary(data); err != nil {
			t.Fatal(err)
		}
		names := slices.DeleteFunc(slices.Collect(c.Names()), func(n string) bool { return n == "nonce" })
		if got := slices.Collect(again.Names()); !slices.Equal(got, names) {
			t.Errorf("%s: got names %v, want %v", name, got, names)
		}
		for _, n := range names {
			var was, is any
			if c.Decode(n, &was) != nil || again.Decode(n, &is) != nil || !reflect.DeepEqual(was, is) {
				t.Errorf("%s: got %s %v, want %v", name, n, is, was)
			}
		}
		before, after := fields(t, *c), fields(t, again)
		if !maps.EqualFunc(before, after, func(a, b any) bool { return reflect.DeepEqual(a, b) }) {
			t.Errorf("%s: got %v, want %v", name, after, before)
		}
	}
}

func fields(t *testing.T, c verify.Claims) map[string]any {
	t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Invalid texts are rejected and change nothing.
func TestUnmarshalRejectsInvalidClaims(t *testing.T) {
	for _, c := range []*verify.Claims{nil, {}} {
		const want = "verify: cannot marshal Claims that are not those of a token"
		if data, err := c.MarshalBinary(); data != nil || err == nil || err.Error() != want {
			t.Errorf("got %s, %v, want %s", data, err, want)
		}
	}
	c := verify.Claims{Name: "before"}
	for text, reason := range map[string]verify.Reason{
		"": verify.ReasonBadJSON, "null": verify.ReasonBadJSON, "[]": verify.ReasonBadJSON,
		`{"tid":1}`: verify.ReasonBadClaim, `{"a":1,"a":2}`: verify.ReasonDuplicateMember,
		`{"roles":1}`: verify.ReasonBadClaim, "{\"a\":\"\xff\"}": verify.ReasonBadUTF8,
		`{"a":"` + strings.Repeat("x", verify.MaxTokenSize) + `"}`: verify.ReasonTooLarge,
	} {
		err := c.UnmarshalBinary([]byte(text))
		if !errors.Is(err, &verify.Error{Reason: reason}) || c.Name != "before" {
			t.Errorf("%.40q: got %v, want %s", text, err, reason)
		}
	}
}
