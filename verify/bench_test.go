package verify_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra/verify"
)

// benchClaims returns as many claims as a user's token of Entra has, with ten groups.
func benchClaims() object {
	groups := []string{}
	for range 10 {
		groups = append(groups, tenantB)
	}
	return userV2().with("exp", userV2()["iat"].(int64)+28*3600).
		with("groups", groups).with("roles", []string{"Approver", "Reader"}).
		with("aio", strings.Repeat("QVRRQXkvOEFBQUFB", 8)).with("rh", strings.Repeat("0.AXoA", 10)).
		with("uti", "fqiBqXLPj0eQa82S-IYFAA").with("azpacr", "1").with("sid", userOID).
		with("xms_ftd", strings.Repeat("ZXVyb3Bld2VzdDI", 3)).with("email", "ada@contoso.example").
		with("given_name", "Ada").with("family_name", "Example").with("ipaddr", "203.0.113.9")
}

// BenchmarkRepeat compares a cached token with the hash of the same token. The limit is
// 1.25 x the hash and 300 ns.
func BenchmarkRepeat(b *testing.B) {
	raw := sign(0, headerOf(0), benchClaims())
	v := mustNew(b, newAuthority(jwk(0)).config())
	accept(b, v, raw)
	b.Run("sha256", func(b *testing.B) {
		b.ReportAllocs()
		text := []byte(raw)
		for b.Loop() {
			sha256.Sum256(text)
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := v.Verify(context.Background(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify-parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if _, err := v.Verify(context.Background(), raw); err != nil {
					b.Error(err)
				}
			}
		})
	})
}

// BenchmarkFirstSight compares a token that is not cached with the minimum for any verifier:
// decode base64, check the signature and decode the JSON. The limit is 1.15 x that.
func BenchmarkFirstSight(b *testing.B) {
	a := newAuthority(jwk(0))
	raw := sign(0, headerOf(0), benchClaims())
	cfg := a.config()
	cfg.CacheSize = 1
	v := mustNew(b, cfg)
	// Two alternating tokens evict each other from a cache of one.
	other := sign(0, headerOf(0), benchClaims().with("uti", "gqiBqXLPj0eQa82S-IYFAA"))
	b.Run("bare", func(b *testing.B) {
		b.ReportAllocs()
		public := &testKeys[0]().PublicKey
		for b.Loop() {
			parts := strings.Split(raw, ".")
			var header, claims map[string]any
			for i, into := range []*map[string]any{&header, &claims} {
				text, err := b64.DecodeString(parts[i])
				if err != nil {
					b.Fatal(err)
				}
				if err := json.Unmarshal(text, into); err != nil {
					b.Fatal(err)
				}
			}
			signature, err := b64.DecodeString(parts[2])
			if err != nil {
				b.Fatal(err)
			}
			if err := jwt.SigningMethodRS256.Verify(raw[:len(parts[0])+1+len(parts[1])], signature, public); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("bare-typed", func(b *testing.B) { // decoding into fields is faster than into a map
		b.ReportAllocs()
		public := &testKeys[0]().PublicKey
		for b.Loop() {
			parts := strings.Split(raw, ".")
			var header struct{ Alg, Typ, Kid string }
			var claims typedClaims
			for i, into := range []any{&header, &claims} {
				text, err := b64.DecodeString(parts[i])
				if err != nil {
					b.Fatal(err)
				}
				if err := json.Unmarshal(text, into); err != nil {
					b.Fatal(err)
				}
			}
			signature, err := b64.DecodeString(parts[2])
			if err != nil {
				b.Fatal(err)
			}
			if err := jwt.SigningMethodRS256.Verify(raw[:len(parts[0])+1+len(parts[1])], signature, public); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("verify", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			raw, other = other, raw
			if _, err := v.Verify(context.Background(), raw); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// typedClaims has the fields of Claims, for encoding/json.
type typedClaims struct {
	Iss, Aud, Ver, Tid, Oid, Sub, Azp, Azpacr, Idtyp, Idp, Sid, Uti, Nonce string
	Name, Upn, Email, Scp                                                  string
	PreferredUsername                                                      string `json:"preferred_username"`
	UniqueName                                                             string `json:"unique_name"`
	Roles, Groups, Wids, Acrs, Amr                                         []string
	XMSCC                                                                  []string `json:"xms_cc"`
	Exp, Nbf, Iat                                                          int64
}

// longNames returns members whose names differ only at their ends.
func longNames(character string, length int) string {
	var b strings.Builder
	for i := range 90 {
		fmt.Fprintf(&b, `"%s%03d":0,`, strings.Repeat(character, length), i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// BenchmarkReject measures the cost of invalid tokens.
func BenchmarkReject(b *testing.B) {
	good := sign(0, headerOf(0), benchClaims())
	v := mustNew(b, newAuthority(jwk(0)).config())
	accept(b, v, good)
	for _, bench := range []struct {
		name string
		raw  string
		want verify.Reason
	}{
		{"opaque", strings.Repeat("x", 2000), verify.ReasonMalformed},
		{"too-large", strings.Repeat("x", 1<<20), verify.ReasonTooLarge},
		{"alg-none", replacePart(good, 0, headerOf(0).with("alg", "none").text()), verify.ReasonBadAlgorithm},
		{"duplicates", replacePart(good, 1, `{`+strings.Repeat(`"a":1,`, 1000)+`"b":1}`), verify.ReasonDuplicateMember},
		{"many-objects", replacePart(good, 1, `{"a":[`+strings.Repeat(`{`+many(128)+`},`, 20)+`0]}`),
			verify.ReasonTooComplex},
		{"long-list", replacePart(good, 1,
			insert(benchClaims().without("roles"), `"roles":[`+strings.Repeat(`"\n",`, 4300)+`""]`)), verify.ReasonTooComplex},
		{"full-list", replacePart(good, 1,
			insert(benchClaims().without("roles"), `"roles":[`+strings.Repeat(`"\n",`, 1000)+`""]`)), verify.ReasonBadSignature},
		{"many-scopes", replacePart(good, 1,
			insert(benchClaims().without("scp"), `"scp":"`+strings.Repeat("a ", 10_000)+`"`)), verify.ReasonBadSignature},
		{"long-names", replacePart(good, 1, insert(benchClaims().with("aud", otherID), longNames("a", 170))),
			verify.ReasonBadAudience},
		{"escaped-names", replacePart(good, 1, insert(benchClaims().with("aud", otherID), longNames(`\u0061`, 28))),
			verify.ReasonBadAudience},
		{"nested", replacePart(good, 1, `{"a":`+nested(9000)+`}`), verify.ReasonTooComplex},
		{"audience", sign(0, headerOf(0), benchClaims().with("aud", otherID)), verify.ReasonBadAudience},
		{"unknown-key", sign(0, headerOf(0).with("kid", "made-up"), benchClaims()), verify.ReasonUnknownKey},
		{"signature", replacePart(good, 1, benchClaims().with("scp", "Tasks.Admin").text()), verify.ReasonBadSignature},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(context.Background(), bench.raw); reason(b, err) != bench.want {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkMiddleware measures a request with a cached token.
func BenchmarkMiddleware(b *testing.B) {
	raw := sign(0, headerOf(0), benchClaims())
	v := mustNew(b, newAuthority(jwk(0)).config())
	h := v.Middleware(verify.RequireScope("Tasks.Read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+raw)
	w := httptest.NewRecorder()
	b.ReportAllocs()
	for b.Loop() {
		h.ServeHTTP(w, r)
	}
}
