package verify_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
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
	strip := func(c *verify.Claims) *verify.Claims { // the sets and the rest are compared below
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
			UPN: "ada@contoso.example", UniqueName: "ada@contoso.example", IdentityProvider: "https://sts.windows.net/" + tenantB + "/",
		}, []string{"pwd", "mfa"}},
		{v2, verify.Claims{
			Issuer: "https://" + host + "/" + tenantA + "/v2.0", Audience: apiID, Version: "2.0", PreferredUsername: "ada@contoso.example",
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
			t.Errorf("challenges %v, overage %v, app-only %v", c.HandlesChallenges(), c.GroupsOverage, c.AppOnly())
		}
		var centers []int
		if err := c.Decode("extn.costCenter", &centers); err != nil || !slices.Equal(centers, []int{7, 8}) {
			t.Errorf("Decode: %v, %v", centers, err)
		}
		if err := c.Decode("extn.none", &centers); !errors.Is(err, &verify.Error{Reason: verify.ReasonMissingClaim}) {
			t.Errorf("Decode of what isn't there: %v", err)
		}
		if err := c.Decode("extn.costCenter", new(string)); !errors.Is(err, &verify.Error{Reason: verify.ReasonBadClaim}) {
			t.Errorf("Decode into the wrong type: %v", err)
		}
		if !c.Has("uti") || c.Has("UTI") || len(slices.Collect(c.Names())) != len(test.claims) {
			t.Errorf("names %v", slices.Collect(c.Names()))
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
	v := mustNew(t, newAuthority(jwk(0)).config())
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
		{"a user without scopes", user.without("scp"), false, true},
		{"a user without oid", user.without("oid"), false, false},
		{"an app", app, true, false},
		{"an app without roles", app.without("roles"), true, false},
		{"an app without idtyp", app.without("idtyp"), true, false},
		{"an app without idtyp and oid: can't tell, so no app, and no user either", app.without("idtyp", "oid"), false, false},
		{"idtyp outweighs oid and sub", app.with("idtyp", "user"), false, true},
		{"idtyp of a kind unknown: no app, and no user either", app.with("idtyp", "device"), false, false},
		{"idtyp in another case", app.with("idtyp", "App"), false, false},
		{"idtyp with a space", app.with("idtyp", "app "), false, false},
		{"a scope does not make a device a user", user.with("idtyp", "device"), false, false},
		{"scp outweighs oid and sub", app.without("idtyp").with("scp", "Tasks.Read"), false, true},
		{"an empty scp doesn't", app.without("idtyp").with("scp", " "), true, false},
	} {
		c := accept(t, v, sign(0, headerOf(0), test.claims))
		u, ok := c.User()
		if c.AppOnly() != test.appOnly || ok != test.user {
			t.Errorf("%s: app-only %v, user %v", test.name, c.AppOnly(), ok)
		}
		if want := (verify.User{TenantID: tenantA, ObjectID: userOID}); ok && u != want || !ok && u != (verify.User{}) {
			t.Errorf("%s: key %v", test.name, u)
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
		{"distributed", userV2().with("_claim_names", object{"groups": "src1"}).with("_claim_sources", object{"src1": object{"endpoint": "https://graph.windows.net/x"}}), true},
		{"another distributed", userV2().with("_claim_names", object{"wids": "src1"}), false},
		{"hasgroups", userV2().with("hasgroups", true), true},
		{"has no groups", userV2().with("hasgroups", false), false},
		{"groups:src1", userV2().with("groups", "src1"), true},
	} {
		c := accept(t, v, sign(0, headerOf(0), test.claims))
		if c.GroupsOverage != test.want {
			t.Errorf("%s: %v, want %v", test.name, c.GroupsOverage, test.want)
		}
	}
}

// What is printed and logged of claims names the token, not the person.
func TestClaimsPrintNoPerson(t *testing.T) {
	c := accept(t, mustNew(t, newAuthority(jwk(0)).config()), sign(0, headerOf(0), userV2()))
	var out strings.Builder
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format+format+"\n", c, *c)
	}
	fmt.Fprintf(&out, "%+v\n", struct{ held *verify.Claims }{c})
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "claims", c, "value", *c)
	}
	for _, personal := range []string{"Ada", "ada@", userOID} {
		if strings.Contains(out.String(), personal) {
			t.Errorf("%q is printed: %s", personal, out.String())
		}
	}
	for kind, claims := range map[string]object{"user": userV2(), "app": appV2(), "other": userV2().with("idtyp", "device")} {
		c := accept(t, mustNew(t, newAuthority(jwk(0)).config()), sign(0, headerOf(0), claims))
		if want := "verify.Claims(" + kind + " tid=" + tenantA + " uti=uti-1)"; c.String() != want {
			t.Errorf("got %s, want %s", c, want)
		}
	}
}

// A nonce is good for one sign-in, and not for the JSON that a program writes.
func TestClaimsJSONHasNoNonce(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	c, err := v.IDToken(t.Context(), sign(0, headerOf(0), idV2().with("nonce", "the-nonce")), "the-nonce")
	if err != nil {
		t.Fatal(err)
	}
	if text := mustJSON(t, c); c.Nonce != "the-nonce" || strings.Contains(text, "the-nonce") {
		t.Errorf("the nonce is %q in %s", c.Nonce, text)
	}
}

func TestZeroClaims(t *testing.T) {
	var c verify.Claims
	if _, ok := c.User(); ok || c.AppOnly() || c.Has("iss") || c.Decode("iss", new(string)) == nil || len(slices.Collect(c.Names())) != 0 {
		t.Error("the zero Claims say something")
	}
	text, err := json.Marshal(c.Roles)
	if err != nil || string(text) != "[]" {
		t.Errorf("the empty set is %s, %v", text, err)
	}
}

// Every reason has a text of its own that fits into a challenge.
func TestEveryReasonHasAText(t *testing.T) {
	seen := map[string]verify.Reason{}
	for _, r := range []verify.Reason{
		verify.ReasonNoToken, verify.ReasonBadAuthorization, verify.ReasonTooLarge, verify.ReasonMalformed, verify.ReasonEncrypted, verify.ReasonBadJSON,
		verify.ReasonBadUTF8, verify.ReasonDuplicateMember, verify.ReasonTooComplex, verify.ReasonBadHeader, verify.ReasonForeignToken,
		verify.ReasonBadAlgorithm, verify.ReasonBadType, verify.ReasonCriticalHeader, verify.ReasonEmbeddedKey, verify.ReasonNoKeyID,
		verify.ReasonMissingClaim, verify.ReasonBadClaim, verify.ReasonBadVersion, verify.ReasonUnsupportedIssuer, verify.ReasonBadIssuer,
		verify.ReasonTenantMismatch, verify.ReasonBadAudience, verify.ReasonNotAccessToken, verify.ReasonProofOfPossession, verify.ReasonNotIDToken, verify.ReasonExpired,
		verify.ReasonNotYetValid, verify.ReasonIssuedInFuture, verify.ReasonBadLifetime, verify.ReasonUnknownKey, verify.ReasonKeysUnavailable,
		verify.ReasonKeyIssuer, verify.ReasonBadSignature, verify.ReasonTenantNotAllowed, verify.ReasonBadNonce, verify.ReasonBadAuthorizedParty,
		verify.ReasonBadCodeHash, verify.ReasonBadAccessTokenHash,
	} {
		text := (&verify.Error{Reason: r}).Error()
		if strings.Contains(text, "the token was rejected") {
			t.Errorf("%s has no text", r)
		}
		if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
			t.Errorf("%s can't stand in a challenge: %s", r, text)
		}
		if other, ok := seen[text]; ok {
			t.Errorf("%s and %s have the same text", r, other)
		}
		seen[text] = r
	}
	e := &verify.Error{Reason: verify.ReasonMissingClaim, Claim: "tid"}
	if !errors.Is(e, &verify.Error{Reason: verify.ReasonMissingClaim}) || errors.Is(e, &verify.Error{Reason: verify.ReasonBadClaim}) ||
		errors.Is(e, &verify.Error{Reason: verify.ReasonMissingClaim, Claim: "iss"}) || errors.Is(e, context.Canceled) {
		t.Error("errors.Is")
	}
}

// What a log gets of a refusal is the fields to count by.
func TestErrorsLogTheirFields(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && a.Key != "error" {
			return slog.Attr{}
		}
		return a
	}}))
	for _, e := range []error{
		&verify.Error{Reason: verify.ReasonExpired},
		&verify.Error{Reason: verify.ReasonMissingClaim, Claim: "tid"},
		&verify.Error{Reason: verify.ReasonKeysUnavailable, StatusCode: 500},
	} {
		log.Info("", "error", e)
	}
	const want = "error.reason=expired\nerror.reason=missing_claim error.claim=tid\nerror.reason=keys_unavailable error.status=500\n"
	if out.String() != want {
		t.Errorf("got %s, want %s", out.String(), want)
	}
}

func TestConfigIsChecked(t *testing.T) {
	ok := verify.Config{Audiences: []string{apiID}, Tenants: []string{tenantA}}
	if _, err := verify.New(ok); err != nil {
		t.Fatal(err)
	}
	change := func(f func(*verify.Config)) verify.Config { c := ok; f(&c); return c }
	for _, test := range []struct {
		cfg   verify.Config
		field string // that the error names; "" if the Config is good
	}{
		{verify.Config{}, "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = nil }), "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = []string{""} }), "Audiences"},
		{change(func(c *verify.Config) { c.Audiences = []string{apiID + " "} }), "Audiences"},
		{change(func(c *verify.Config) { c.Tenants = nil }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{""} }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{"common"} }), "AnyTenant"},
		{change(func(c *verify.Config) { c.Tenants = []string{"organizations"} }), "AnyOrganization"},
		{change(func(c *verify.Config) { c.Tenants = []string{"contoso.onmicrosoft.com"} }), "Tenants"},
		{change(func(c *verify.Config) { c.Tenants = []string{verify.AnyTenant, tenantA} }), "AnyTenant"},
		{change(func(c *verify.Config) { c.Tenants = []string{verify.AnyTenant} }), ""},
		{change(func(c *verify.Config) { c.Tenants = []string{strings.ToUpper(tenantA), tenantB} }), ""},
		{change(func(c *verify.Config) { c.Leeway = 11 * time.Minute }), "Leeway"},
		{change(func(c *verify.Config) { c.Leeway = 10 * time.Minute }), ""},
		{change(func(c *verify.Config) { c.Cloud = "https://login.microsoftonline.com" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = "login.microsoftonline.com/common" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud = "user@host" }), "Cloud"},
		{change(func(c *verify.Config) { c.Cloud, c.Tenants = "contoso.ciamlogin.com", []string{verify.AnyTenant} }), "External ID"},
		{change(func(c *verify.Config) { c.Cloud = "[::1]:8443" }), ""},
		{change(func(c *verify.Config) { c.V1Issuer = "https://sts.windows.net/" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.V1Issuer = "http://sts.windows.net/{tenantid}/" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.V1Issuer = "https://login.microsoftonline.com/{tenantid}/v2.0" }), "V1Issuer"},
		{change(func(c *verify.Config) { c.KeysFor = "my app" }), "KeysFor"},
	} {
		v, err := verify.New(test.cfg)
		if (err == nil) != (test.field == "") || (v == nil) == (err == nil) {
			t.Errorf("%+v: %v", test.cfg, err)
			continue
		}
		var e *entra.Error
		if err != nil && (!errors.As(err, &e) || e.Code != "invalid_request" || !strings.HasPrefix(e.Description, "Config.") || err.Error() != "verify: "+e.Description || !strings.Contains(e.Description, test.field)) {
			t.Errorf("%v isn't about %s", err, test.field)
		}
	}
}

func TestWhoseTenants(t *testing.T) {
	a := newAuthority(jwk(0))
	in := func(tenant string) string {
		return sign(0, headerOf(0), userV2().with("tid", tenant).with("iss", "https://"+host+"/"+tenant+"/v2.0"))
	}
	for _, test := range []struct {
		tenants []string
		want    [3]verify.Reason // for tenants A, B and personal accounts
	}{
		{[]string{tenantA}, [3]verify.Reason{"", verify.ReasonTenantNotAllowed, verify.ReasonTenantNotAllowed}},
		{[]string{strings.ToUpper(tenantA), tenantB}, [3]verify.Reason{"", "", verify.ReasonTenantNotAllowed}},
		{[]string{verify.PersonalAccounts}, [3]verify.Reason{verify.ReasonTenantNotAllowed, verify.ReasonTenantNotAllowed, ""}},
		{[]string{verify.AnyOrganization}, [3]verify.Reason{"", "", verify.ReasonTenantNotAllowed}},
		{[]string{verify.AnyTenant}, [3]verify.Reason{}},
	} {
		cfg := a.config()
		cfg.Tenants = test.tenants
		v := mustNew(t, cfg)
		var got [3]verify.Reason
		for i, tenant := range []string{tenantA, tenantB, verify.PersonalAccounts} {
			_, err := v.Verify(context.Background(), in(tenant))
			got[i] = reason(t, err)
		}
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%v: got %q, want %q", test.tenants, got, test.want)
		}
	}
	// Who the customers are can't be found out with made-up tokens.
	v := mustNew(t, a.config())
	for _, tenant := range []string{tenantA, tenantB} {
		forged := sign(2, headerOf(0), userV2().with("tid", tenant).with("iss", "https://"+host+"/"+tenant+"/v2.0"))
		if _, err := v.Verify(context.Background(), forged); reason(t, err) != verify.ReasonBadSignature {
			t.Errorf("a forged token of %s: %v", tenant, err)
		}
	}
}
