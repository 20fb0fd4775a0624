package verify_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/verify"
)

func TestAccessTokensOfEveryKindAreAccepted(t *testing.T) {
	a := newAuthority(jwk(0), jwk(1).with("issuer", "https://"+host+"/"+tenantA+"/v2.0"))
	v := mustNew(t, a.config())
	cfg := a.config()
	cfg.Audiences, cfg.Tenants = []string{apiID}, []string{verify.AnyTenant}
	anyone := mustNew(t, cfg)
	inB := func(c object, issuer string) object { return c.with("tid", tenantB).with("iss", issuer) }
	for name, test := range map[string]struct {
		v       *verify.Verifier
		raw     string
		tenant  string
		appOnly bool
	}{
		"user v2":              {v, sign(0, headerOf(0), userV2()), tenantA, false},
		"user v1":              {v, sign(0, headerOf(0), userV1()), tenantA, false},
		"v1 for the client ID": {v, sign(0, headerOf(0), userV1().with("aud", apiID)), tenantA, false},
		"app":                  {v, sign(0, headerOf(0), appV2()), tenantA, true},
		"app without idtyp":    {v, sign(0, headerOf(0), appV2().without("idtyp")), tenantA, true},
		"PS256":                {v, sign(0, headerOf(0).with("alg", "PS256"), userV2()), tenantA, false},
		"x5t":                  {v, sign(0, headerOf(0).with("x5t", kid(0)), userV2()), tenantA, false},
		"RFC 9068 type": {v, sign(0, headerOf(0).with("typ", "application/at+JWT"), userV2()), tenantA,
			false},
		"key of the tenant":     {v, sign(1, headerOf(1), userV2()), tenantA, false},
		"key of the tenant, v1": {v, sign(1, headerOf(1), userV1()), tenantA, false},
		"long-lived (CAE)": {v, sign(0, headerOf(0), userV2().with("exp", time.Now().Unix()+28*3600)), tenantA,
			false},
		"fractions of seconds": {v, sign(0, headerOf(0), userV2().with("exp", float64(time.Now().Unix())+4500.5)),
			tenantA, false},
		"another tenant, any accepted": {anyone, sign(0, headerOf(0), inB(userV2(), "https://"+host+"/"+tenantB+"/v2.0")),
			tenantB, false},
		"another tenant, any accepted v1": {anyone,
			sign(0, headerOf(0), inB(userV1().with("aud", apiID), "https://sts.windows.net/"+tenantB+"/")), tenantB, false},
		"personal account, any accepted": {anyone,
			sign(0, headerOf(0), userV2().with("tid", verify.PersonalAccounts).with("iss",
				"https://"+host+"/"+verify.PersonalAccounts+"/v2.0")), verify.PersonalAccounts, false},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time from the cache
				c := accept(t, test.v, test.raw)
				if c.TenantID != test.tenant || c.AppOnly() != test.appOnly || c.ClientID != clientID {
					t.Errorf("got tid %s, app-only %v, client %s", c.TenantID, c.AppOnly(), c.ClientID)
				}
			}
		})
	}
}

func TestSovereignAndPrivateClouds(t *testing.T) {
	for _, test := range []struct {
		name     string
		cloud    entra.Cloud
		v1Issuer string // Config.V1Issuer
		issuer   string
		version  string
		want     verify.Reason
	}{
		{"US Government v2", entra.CloudUSGovernment, "", "https://login.microsoftonline.us/" + tenantA + "/v2.0", "2.0", ""},
		{"US Government v1", entra.CloudUSGovernment, "", "https://sts.windows.net/" + tenantA + "/", "1.0", ""},
		{"China v2", entra.CloudChina, "", "https://login.partner.microsoftonline.cn/" + tenantA + "/v2.0", "2.0", ""},
		{"China v1", entra.CloudChina, "", "https://sts.chinacloudapi.cn/" + tenantA + "/", "1.0", ""},
		{"Bleu v2", entra.CloudBleu, "", "https://login.sovcloud-identity.fr/" + tenantA + "/v2.0", "2.0", ""},
		{"Delos v2", entra.CloudDelos, "", "https://login.sovcloud-identity.de/" + tenantA + "/v2.0", "2.0", ""},
		{"GovSG v2", entra.CloudGovSG, "", "https://login.sovcloud-identity.sg/" + tenantA + "/v2.0", "2.0", ""},
		{"private v2", "127.0.0.1:43210", "", "https://127.0.0.1:43210/" + tenantA + "/v2.0", "2.0", ""},
		{"private v1", "127.0.0.1:43210", "", "https://sts.windows.net/" + tenantA + "/", "1.0", ""},
		{"private v1, configured", "127.0.0.1:43210", "https://127.0.0.1:43210/{tenantid}/",
			"https://127.0.0.1:43210/" + tenantA + "/", "1.0", ""},
		{"private v1, configured otherwise", "127.0.0.1:43210", "https://127.0.0.1:43210/{tenantid}/",
			"https://sts.windows.net/" + tenantA + "/", "1.0", verify.ReasonBadIssuer},
		{"public token in China", entra.CloudChina, "", "https://login.microsoftonline.com/" + tenantA + "/v2.0", "2.0",
			verify.ReasonBadIssuer},
		{"public v1 token in China", entra.CloudChina, "", "https://sts.windows.net/" + tenantA + "/", "1.0",
			verify.ReasonBadIssuer},
		{"China's token in the public cloud", "", "", "https://login.partner.microsoftonline.cn/" + tenantA + "/v2.0", "2.0",
			verify.ReasonBadIssuer},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority(jwk(0).with("issuer", "https://"+test.cloud.Host()+"/{tenantid}/v2.0"))
			cfg := a.config()
			cfg.Cloud, cfg.V1Issuer = test.cloud, test.v1Issuer
			v := mustNew(t, cfg)
			claims := userV2()
			if test.version == "1.0" {
				claims = userV1()
			}
			_, err := v.Verify(context.Background(), sign(0, headerOf(0), claims.with("iss", test.issuer)))
			if got := reason(t, err); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			if want := "https://" + test.cloud.Host() + "/" + tenantA + "/discovery/v2.0/keys"; test.want == "" &&
				*a.lastURL.Load() != want {
				t.Errorf("got keys from %s, want %s", *a.lastURL.Load(), want)
			}
		})
	}
}

func TestKeysURL(t *testing.T) {
	for _, test := range []struct {
		tenants []string
		app     string
		want    string
	}{
		{[]string{tenantA}, "", "https://" + host + "/" + tenantA + "/discovery/v2.0/keys"},
		{[]string{tenantA, tenantB}, "", "https://" + host + "/common/discovery/v2.0/keys"},
		{[]string{verify.AnyTenant}, "", "https://" + host + "/common/discovery/v2.0/keys"},
		{[]string{tenantA}, apiID, "https://" + host + "/" + tenantA + "/discovery/v2.0/keys?appid=" + apiID},
	} {
		a := newAuthority(jwk(0))
		cfg := a.config()
		cfg.Audiences, cfg.Tenants, cfg.KeysFor = []string{apiID}, test.tenants, test.app
		accept(t, mustNew(t, cfg), sign(0, headerOf(0), userV2()))
		if got := *a.lastURL.Load(); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}

func TestTimesAreCheckedWithLeeway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(jwk(0))
		now := time.Now().Unix()
		at := func(iat, nbf, exp int64) object {
			return userV2().with("iat", now+iat).with("nbf", now+nbf).with("exp", now+exp)
		}
		for _, test := range []struct {
			name   string
			leeway time.Duration
			claims object
			want   verify.Reason
		}{
			{"just expired, within the leeway", 0, at(-3600, -3600, -59), ""},
			{"just expired, beyond the leeway", 0, at(-3600, -3600, -60), verify.ReasonExpired},
			{"expires now, no leeway", -1, at(-3600, -3600, 0), verify.ReasonExpired},
			{"expires in a second, no leeway", -1, at(-3600, -3600, 1), ""},
			{"begins within the leeway", 0, at(0, 60, 3600), ""},
			{"begins beyond the leeway", 0, at(0, 61, 3600), verify.ReasonNotYetValid},
			{"begins in a second, no leeway", -1, at(0, 1, 3600), verify.ReasonNotYetValid},
			{"issued within the leeway", 0, at(60, 0, 3600), ""},
			{"issued beyond the leeway", 0, at(61, 0, 3600), verify.ReasonIssuedInFuture},
			{"a long leeway", 5 * time.Minute, at(-3600, -3600, -299), ""},
			{"expires before it was issued", 0, at(0, 0, -1), verify.ReasonBadLifetime},
			{"expires when it is issued", 0, at(0, 0, 0), verify.ReasonBadLifetime},
			{"lives for two days", 0, at(0, 0, 48*3600), ""},
			{"lives longer", 0, at(0, 0, 48*3600+1), verify.ReasonBadLifetime},
		} {
			cfg := a.config()
			cfg.Leeway = test.leeway
			_, err := mustNew(t, cfg).Verify(context.Background(), sign(0, headerOf(0), test.claims))
			if got := reason(t, err); got != test.want {
				t.Errorf("%s: got %q, want %q", test.name, got, test.want)
			}
		}
	})
}

func TestIDTokens(t *testing.T) {
	code, access := "the-code", "the-access-token"
	half := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return b64.EncodeToString(sum[:16])
	}
	hybrid := idV2().with("c_hash", half(code)).with("at_hash", half(access))
	v1 := userV1().without("appid", "appidacr", "scp").with("aud", apiID).with("nonce", "n-1")
	for _, test := range []struct {
		name   string
		header object
		claims object
		expect verify.Expected
		want   verify.Reason
	}{
		{"v2", headerOf(0), idV2(), verify.Expected{Nonce: "n-1"}, ""},
		{"v1", headerOf(0), v1, verify.Expected{Nonce: "n-1"}, ""},
		{"with roles and groups", headerOf(0), idV2().with("roles", []string{"Admin"}), verify.Expected{Nonce: "n-1"}, ""},
		{"after a refresh", headerOf(0), idV2().without("nonce"), verify.Expected{}, ""},
		{"another sign-in's", headerOf(0), idV2(), verify.Expected{Nonce: "n-2"}, verify.ReasonBadNonce},
		{"without a nonce", headerOf(0), idV2().without("nonce"), verify.Expected{Nonce: "n-1"}, verify.ReasonBadNonce},
		{"with an unexpected nonce", headerOf(0), idV2(), verify.Expected{}, verify.ReasonBadNonce},
		{"with an empty nonce", headerOf(0), idV2().with("nonce", ""), verify.Expected{}, verify.ReasonBadNonce},
		{"azp is us", headerOf(0), idV2().with("azp", apiID), verify.Expected{Nonce: "n-1"}, ""},
		{"azp is another", headerOf(0), idV2().with("azp", clientID), verify.Expected{Nonce: "n-1"},
			verify.ReasonBadAuthorizedParty},
		{"hybrid", headerOf(0), hybrid, verify.Expected{Nonce: "n-1", Code: code, AccessToken: access}, ""},
		{"another code", headerOf(0), hybrid, verify.Expected{Nonce: "n-1", Code: code + "x"}, verify.ReasonBadCodeHash},
		{"another access token", headerOf(0), hybrid, verify.Expected{Nonce: "n-1", AccessToken: access + "x"},
			verify.ReasonBadAccessTokenHash},
		{"no c_hash", headerOf(0), idV2(), verify.Expected{Nonce: "n-1", Code: code}, verify.ReasonBadCodeHash},
		{"no at_hash", headerOf(0), idV2(), verify.Expected{Nonce: "n-1", AccessToken: access},
			verify.ReasonBadAccessTokenHash},
		{"an access token", headerOf(0), userV2(), verify.Expected{}, verify.ReasonNotIDToken},
		{"an access token with a nonce", headerOf(0), userV2().with("nonce", "n-1"), verify.Expected{Nonce: "n-1"},
			verify.ReasonNotIDToken},
		{"an access token to itself", headerOf(0), userV2().with("azp", apiID), verify.Expected{}, verify.ReasonNotIDToken},
		{"an app-only token to itself", headerOf(0), appV2().with("azp", apiID), verify.Expected{}, verify.ReasonNotIDToken},
		{"a v1 access token", headerOf(0), userV1(), verify.Expected{}, verify.ReasonNotIDToken},
		{"an app-only token to itself without idtyp and azpacr", headerOf(0),
			appV2().without("idtyp", "azpacr").with("azp", apiID), verify.Expected{}, verify.ReasonNotIDToken},
		{"for an App ID URI", headerOf(0), v1.with("aud", apiURI), verify.Expected{Nonce: "n-1"}, verify.ReasonBadAudience},
		{"with scp", headerOf(0), idV2().with("scp", "Tasks.Read"), verify.Expected{Nonce: "n-1"}, verify.ReasonNotIDToken},
		{"with idtyp", headerOf(0), idV2().with("idtyp", "user"), verify.Expected{Nonce: "n-1"}, verify.ReasonNotIDToken},
		{"with appid", headerOf(0), idV2().with("appid", "x"), verify.Expected{Nonce: "n-1"}, verify.ReasonNotIDToken},
		{"with appidacr", headerOf(0), idV2().with("appidacr", "1"), verify.Expected{Nonce: "n-1"}, verify.ReasonNotIDToken},
		{"with azpacr", headerOf(0), idV2().with("azpacr", "1"), verify.Expected{Nonce: "n-1"}, verify.ReasonNotIDToken},
		{"typed as an access token", headerOf(0).with("typ", "at+jwt"), idV2(), verify.Expected{Nonce: "n-1"},
			verify.ReasonNotIDToken},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := mustNew(t, newAuthority(jwk(0)).config())
			c, err := v.IDTokenFor(context.Background(), sign(0, test.header, test.claims), test.expect)
			if got := reason(t, err); got != test.want {
				t.Fatalf("got %q, want %q", got, test.want)
			}
			if (c != nil) != (err == nil) {
				t.Errorf("got claims %v with error %v", c, err)
			}
		})
	}
	v := mustNew(t, newAuthority(jwk(0)).config())
	c, err := v.IDToken(context.Background(), sign(0, headerOf(0), idV2()), "n-1")
	if err != nil || c.Nonce != "n-1" || c.Name != "Ada Example" {
		t.Errorf("IDToken: got %v, %v", c, err)
	}
	if _, err := v.IDToken(context.Background(), sign(0, headerOf(0), idV2().without("nonce")), ""); reason(t,
		err) != verify.ReasonBadNonce {
		t.Errorf("IDToken with an empty nonce: got %v, want %s", err, verify.ReasonBadNonce)
	}
}

func TestCallersGetTheirOwnClaims(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	raw := sign(0, headerOf(0), appV2())
	for range 3 {
		c := accept(t, v, raw)
		if !slices.Equal(slices.Collect(c.Roles.All()), []string{"Tasks.Read.All"}) || c.TenantID != tenantA {
			t.Fatalf("got claims that another caller changed: %v, roles %v", c, c.Roles)
		}
		c.Roles, c.TenantID = verify.Set{}, tenantB
	}
}

func TestCachedTokensExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := mustNew(t, newAuthority(jwk(0)).config())
		raw := sign(0, headerOf(0), userV2())
		accept(t, v, raw)
		advance(4500*time.Second + time.Minute - time.Second)
		accept(t, v, raw)
		advance(time.Second)
		_, err := v.Verify(t.Context(), raw)
		if !errors.Is(err, &verify.Error{Reason: verify.ReasonExpired}) {
			t.Errorf("expired cached token: got %v, want %s", err, verify.ReasonExpired)
		}
	})
}

func TestCacheSize(t *testing.T) {
	tokens := []string{sign(0, headerOf(0), userV2()), sign(0, headerOf(0), appV2())}
	for _, test := range []struct {
		size, hits int // of two tokens in turn, three times
	}{
		{0, 4},
		{2, 4},
		{1, 0},
		{-1, 0},
	} {
		cfg := newAuthority(jwk(0)).config()
		cfg.CacheSize = test.size
		hits := countHits(&cfg)
		v := mustNew(t, cfg)
		for range 3 {
			for _, raw := range tokens {
				accept(t, v, raw)
			}
		}
		if *hits != test.hits {
			t.Errorf("size %d: got %d hits of the cache, want %d", test.size, *hits, test.hits)
		}
	}
}

func TestNegativeCacheSizeDisablesTheCache(t *testing.T) {
	cfg := newAuthority(jwk(0)).config()
	cfg.CacheSize = -1
	v := mustNew(t, cfg)
	for range 2 {
		accept(t, v, sign(0, headerOf(0), userV2()))
	}
}

// If a token fits several Verifiers of Any, the first verifies it, also if another one has cached it.
func TestAnyTakesCachedTokensFromTheFirst(t *testing.T) {
	a := newAuthority(jwk(0))
	cfg := a.config()
	strict := mustNew(t, cfg)
	cached := 0
	cfg.AllowAppsWithoutRoles = true
	cfg.OnEvent = func(e verify.Event) {
		if e.Cached {
			cached++
		}
	}
	lax := mustNew(t, cfg)
	raw := sign(0, headerOf(0), appV2().without("roles"))
	for range 2 { // the second time, lax has the token in its cache
		if _, err := verify.Any(strict, lax).Verify(t.Context(), raw); reason(t, err) != verify.ReasonNoPermissions {
			t.Errorf("strict first: got %v, want %s", err, verify.ReasonNoPermissions)
		}
		accept(t, verify.Any(lax, strict), raw)
	}
	cfg.Audiences = []string{otherID}
	accept(t, verify.Any(mustNew(t, cfg), lax), raw)
	if cached != 2 {
		t.Errorf("got %d tokens from the cache, want 2", cached)
	}
}

// Any does not compare a cached token with its Verifiers again.
func TestAnyAllocatesOnceForCachedTokens(t *testing.T) {
	a := newAuthority(jwk(0))
	cfg := a.config()
	cfg.Audiences = []string{apiID}
	first := mustNew(t, cfg)
	cfg.Audiences = []string{otherID}
	both := verify.Any(first, mustNew(t, cfg))
	inFirst := sign(0, headerOf(0), userV2())
	shared := sign(0, headerOf(0), userV2().with("uti", "cached by first"))
	accept(t, first, shared)
	for name, raw := range map[string]string{
		"first": inFirst, "second": sign(0, headerOf(0), userV2().with("aud", otherID)), "shared": shared,
	} {
		accept(t, both, raw)
		got := testing.AllocsPerRun(100, func() {
			if _, err := both.Verify(t.Context(), raw); err != nil {
				t.Fatal(err)
			}
		})
		if got > 1 {
			t.Errorf("%s: got %v allocations, want 1", name, got)
		}
	}
}
