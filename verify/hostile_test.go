package verify_test

import (
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/verify"
)

// part encodes one part of a token.
func part(text string) string { return b64.EncodeToString([]byte(text)) }

// replacePart puts another text into part i of a token, leaving the signature.
func replacePart(raw string, i int, text string) string {
	p := strings.Split(raw, ".")
	p[i] = part(text)
	return strings.Join(p, ".")
}

// hmacToken is signed with HMAC-SHA256 under any key.
func hmacToken(key []byte) string {
	signed := part(headerOf(0).with("alg", "HS256").text()) + "." + part(userV2().text())
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}

// shortSalt is signed with PS256 and no salt, which RFC 7518 doesn't allow.
func shortSalt() string {
	signed := part(headerOf(0).with("alg", "PS256").text()) + "." + part(userV2().text())
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, testKeys[0](), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 1})
	if err != nil {
		panic(err)
	}
	return signed + "." + b64.EncodeToString(signature)
}

// nested is a JSON array that many levels deep.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// insert puts members at the front of a JSON object.
func insert(o object, members string) string { return "{" + members + "," + o.text()[1:] }

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":0,`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func TestHostileTokens(t *testing.T) {
	good := sign(0, headerOf(0), userV2())
	goodParts := strings.Split(good, ".")
	public, err := x509.MarshalPKIXPublicKey(&testKeys[0]().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})
	claims := func(c object) string { return sign(0, headerOf(0), c) }
	header := func(h object) string { return sign(0, h, userV2()) }
	payload := func(text string) string { return signText(0, headerOf(0).text(), text) }
	now := time.Now().Unix()

	for _, test := range []struct {
		name string
		raw  string
		want verify.Reason
	}{
		// The form.
		{"nothing", "", verify.Malformed},
		{"opaque", "not-a-jwt", verify.Malformed},
		{"one dot", goodParts[0] + "." + goodParts[1], verify.Malformed},
		{"stripped signature", goodParts[0] + "." + goodParts[1] + ".", verify.Malformed},
		{"two signatures", good + "." + goodParts[2], verify.Malformed},
		{"a JWE", "a.b.c.d.e", verify.Encrypted},
		{"JSON serialization", `{"payload":"e30","signatures":[{},{}]}`, verify.Malformed},
		{"huge", good + strings.Repeat("A", verify.MaxTokenSize), verify.TooLarge},
		{"padding", goodParts[0] + "=." + goodParts[1] + "." + goodParts[2], verify.Malformed},
		{"line break in the header", goodParts[0][:4] + "\n" + goodParts[0][4:] + "." + goodParts[1] + "." + goodParts[2], verify.Malformed},
		{"line break in the payload", goodParts[0] + "." + goodParts[1] + "\r." + goodParts[2], verify.Malformed},
		{"line break in the signature", good + "\n", verify.Malformed},
		{"space", " " + good, verify.Malformed},
		{"standard base64", goodParts[0] + "." + goodParts[1] + ".+/" + goodParts[2], verify.Malformed},
		{"stray bits in the signature", strayBits(good), verify.Malformed},

		// The header.
		{"alg none", replacePart(good, 0, headerOf(0).with("alg", "none").text()), verify.BadAlgorithm},
		{"alg nOnE", replacePart(good, 0, headerOf(0).with("alg", "nOnE").text()), verify.BadAlgorithm},
		{"alg none, no signature", part(headerOf(0).with("alg", "none").text()) + "." + goodParts[1] + ".", verify.Malformed},
		{"HS256 with the public key in PEM", hmacToken(publicPEM), verify.BadAlgorithm},
		{"HS256 with the public key in DER", hmacToken(public), verify.BadAlgorithm},
		{"HS256 with the modulus", hmacToken(testKeys[0]().N.Bytes()), verify.BadAlgorithm},
		{"unknown alg", header(headerOf(0).with("alg", "XX999")), verify.BadAlgorithm},
		{"RS512", header(headerOf(0).with("alg", "RS512")), verify.BadAlgorithm},
		{"lower-case alg", header(headerOf(0).with("alg", "rs256")), verify.BadAlgorithm},
		{"no alg", header(headerOf(0).without("alg")), verify.BadAlgorithm},
		{"alg is a list", header(headerOf(0).with("alg", []string{"RS256"})), verify.BadHeader},
		{"kid is a number", header(headerOf(0).with("kid", 1)), verify.BadHeader},
		{"typ is null", header(headerOf(0).with("typ", nil)), verify.BadHeader},
		{"no typ", header(headerOf(0).without("typ")), verify.BadType},
		{"another typ", header(headerOf(0).with("typ", "logout+jwt")), verify.BadType},
		{"no kid", header(headerOf(0).without("kid")), verify.NoKeyID},
		{"crit", header(headerOf(0).with("crit", []string{"exp"})), verify.CriticalHeader},
		{"b64 and crit", header(headerOf(0).with("b64", false).with("crit", []string{"b64"})), verify.CriticalHeader},
		{"its own key", header(headerOf(0).with("jwk", jwk(0))), verify.EmbeddedKey},
		{"its own key's address", header(headerOf(0).with("jku", "https://evil.example/keys")), verify.EmbeddedKey},
		{"its own certificate", header(headerOf(0).with("x5c", []string{"MII"})), verify.EmbeddedKey},
		{"its own certificate's address", header(headerOf(0).with("x5u", "https://evil.example/cert")), verify.EmbeddedKey},
		{"Graph's nonce", header(headerOf(0).with("nonce", "abc")), verify.ForeignToken},
		{"header isn't JSON", replacePart(good, 0, "header"), verify.BadJSON},
		{"header is an array", replacePart(good, 0, "[]"), verify.BadJSON},
		{"two algs", replacePart(good, 0, insert(headerOf(0), `"alg":"none"`)), verify.DuplicateMember},
		{"two algs, one escaped", replacePart(good, 0, insert(headerOf(0), `"\u0061lg":"none"`)), verify.DuplicateMember},
		{"alg under another case", signText(0, insert(headerOf(0), `"ALG":"none"`), userV2().text()), ""},

		// The payload's form.
		{"payload isn't JSON", payload("claims"), verify.BadJSON},
		{"payload is a string", payload(`"claims"`), verify.BadJSON},
		{"something after the payload", payload(userV2().text() + "{}"), verify.BadJSON},
		{"cut short", payload(userV2().text()[:50]), verify.BadJSON},
		{"a byte order mark", payload("\uFEFF" + userV2().text()), verify.BadJSON},
		{"a trailing comma", payload(`{"a":1,}`), verify.BadJSON},
		{"a leading zero", payload(insert(userV2(), `"x":01`)), verify.BadJSON},
		{"a raw control character", payload(insert(userV2(), "\"x\":\"\x01\"")), verify.BadJSON},
		{"duplicate claims", payload(insert(userV2(), `"aud":"`+otherID+`"`)), verify.DuplicateMember},
		{"duplicate claims, alike", payload(insert(userV2(), `"aud":"`+apiID+`"`)), verify.DuplicateMember},
		{"duplicate claims, escaped", payload(insert(userV2(), `"t\u0069d":"`+tenantB+`"`)), verify.DuplicateMember},
		{"duplicates further down", payload(insert(userV2(), `"x":[{"y":1,"y":2}]`)), verify.DuplicateMember},
		{"deeply nested", payload(insert(userV2(), `"x":`+nested(9000))), verify.TooComplex},
		{"nested a level too deep", payload(insert(userV2(), `"x":`+nested(8))), verify.TooComplex},
		{"nested as deep as may be", payload(insert(userV2(), `"x":`+nested(7))), ""},
		{"too many claims", payload("{" + many(129) + "}"), verify.TooComplex},
		{"as many as may be", payload(insert(userV2(), many(128-len(userV2())))), ""},
		{"a list that is too long", payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 1024)+`0]`)), verify.TooComplex},
		{"lists that are too long together", payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 512)+`[`+strings.Repeat("0,", 511)+`0]]`)), verify.TooComplex},
		{"a list as long as may be", payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 1023)+`0]`)), ""},
		{"too many further down", payload(insert(userV2(), `"x":[{`+many(60)+`},{`+many(60)+`}]`)), verify.TooComplex},
		{"invalid UTF-8", payload(insert(userV2(), "\"x\":\"\xff\"")), verify.BadUTF8},
		{"half a surrogate pair", payload(insert(userV2(), `"x":"\ud800"`)), verify.BadUTF8},
		{"the other half", payload(insert(userV2(), `"x":"\udc00"`)), verify.BadUTF8},
		{"the other half twice", payload(insert(userV2(), `"x":"\udc00\udc00"`)), verify.BadUTF8},
		{"the first half twice", payload(insert(userV2(), `"x":"\ud800\ud800"`)), verify.BadUTF8},
		{"a whole pair", payload(insert(userV2(), `"x":"\ud83d\uDE00"`)), ""},
		{"half a pair in a name", payload(insert(userV2(), `"\ud800x":1`)), verify.BadUTF8},

		// Where it comes from.
		{"swapped tenant in iss", claims(userV2().with("iss", "https://"+host+"/"+tenantB+"/v2.0")), verify.TenantMismatch},
		{"swapped tenant in tid", claims(userV2().with("tid", tenantB)), verify.TenantMismatch},
		{"swapped tenant in a v1 iss", claims(userV1().with("iss", "https://sts.windows.net/"+tenantB+"/")), verify.TenantMismatch},
		{"another tenant", claims(userV2().with("tid", tenantB).with("iss", "https://"+host+"/"+tenantB+"/v2.0")), verify.TenantNotAllowed},
		{"tid isn't a GUID", claims(userV2().with("tid", "contoso.onmicrosoft.com").with("iss", "https://"+host+"/contoso.onmicrosoft.com/v2.0")), verify.BadClaim},
		{"tid in upper case", claims(userV2().with("tid", strings.ToUpper(tenantA)).with("iss", "https://"+host+"/"+strings.ToUpper(tenantA)+"/v2.0")), verify.BadClaim},
		{"tid is a number", claims(userV2().with("tid", 7)), verify.BadClaim},
		{"oid isn't a GUID", claims(userV2().with("oid", "ada@contoso.example")), verify.BadClaim},
		{"issuer template", claims(userV2().with("iss", "https://"+host+"/{tenantid}/v2.0")), verify.BadIssuer},
		{"common issuer", claims(userV2().with("iss", "https://"+host+"/common/v2.0")), verify.BadIssuer},
		{"issuer with a slash at the end", claims(userV2().with("iss", "https://"+host+"/"+tenantA+"/v2.0/")), verify.BadIssuer},
		{"issuer over http", claims(userV2().with("iss", "http://"+host+"/"+tenantA+"/v2.0")), verify.BadIssuer},
		{"issuer's look-alike", claims(userV2().with("iss", "https://"+host+".evil.example/"+tenantA+"/v2.0")), verify.BadIssuer},
		{"issuer with a user", claims(userV2().with("iss", "https://"+host+"@evil.example/"+tenantA+"/v2.0")), verify.BadIssuer},
		{"External ID", claims(userV2().with("iss", "https://contoso.ciamlogin.com/"+tenantA+"/v2.0")), verify.UnsupportedHost},
		{"Azure AD B2C", claims(userV2().with("iss", "https://contoso.b2clogin.com/"+tenantA+"/v2.0/")), verify.UnsupportedHost},
		{"v1 issuer in a v2 token", claims(userV2().with("iss", "https://sts.windows.net/"+tenantA+"/")), verify.BadVersion},
		{"v2 issuer in a v1 token", claims(userV1().with("iss", "https://"+host+"/"+tenantA+"/v2.0")), verify.BadVersion},
		{"version 3", claims(userV2().with("ver", "3.0")), verify.BadVersion},
		{"version is a number", claims(userV2().with("ver", 2.0)), verify.BadClaim},
		{"no iss", claims(userV2().without("iss")), verify.MissingClaim},
		{"no tid", claims(userV2().without("tid")), verify.MissingClaim},
		{"no ver", claims(userV2().without("ver")), verify.MissingClaim},
		{"no sub", claims(userV2().without("sub")), verify.MissingClaim},

		// Whom and what it is for.
		{"another app's audience", claims(userV2().with("aud", otherID)), verify.BadAudience},
		{"Graph", claims(userV2().with("aud", "00000003-0000-0000-c000-000000000000")), verify.BadAudience},
		{"audience with a slash", claims(userV1().with("aud", apiURI+"/")), verify.BadAudience},
		{"audience in a list", claims(userV2().with("aud", []string{apiID, otherID})), verify.BadClaim},
		{"App ID URI in a v2 token", claims(userV2().with("aud", apiURI)), verify.BadAudience},
		{"no audience", claims(userV2().without("aud")), verify.MissingClaim},
		{"an ID token", claims(idV2()), verify.NotAccessToken},
		{"an ID token without a nonce", claims(idV2().without("nonce")), verify.NotAccessToken},
		{"an ID token with azp", claims(idV2().with("azp", apiID)), verify.NotAccessToken},
		{"an ID token with a c_hash", claims(idV2().without("nonce").with("azp", apiID).with("c_hash", "x")), verify.NotAccessToken},
		{"an ID token with an at_hash", claims(idV2().without("nonce").with("azp", apiID).with("at_hash", "x")), verify.NotAccessToken},
		{"v1 client in a v2 token", claims(userV2().without("azp").with("appid", clientID)), verify.NotAccessToken},

		// When.
		{"expired", claims(userV2().with("iat", now-7200).with("nbf", now-7200).with("exp", now-3600)), verify.Expired},
		{"not yet valid", claims(userV2().with("nbf", now+3600)), verify.NotYetValid},
		{"from the future", claims(userV2().with("iat", now+3600).with("exp", now+7200)), verify.IssuedInFuture},
		{"far future", claims(userV2().with("exp", now+10*365*24*3600)), verify.BadLifetime},
		{"farther future", payload(insert(userV2().without("exp"), `"exp":1e300`)), verify.BadClaim},
		{"beyond 64 bits", payload(insert(userV2().without("exp"), `"exp":99999999999999999999999`)), verify.BadClaim},
		{"negative", claims(userV2().with("exp", -1)), verify.BadClaim},
		{"exp is a string", claims(userV2().with("exp", fmt.Sprint(now+3600))), verify.BadClaim},
		{"exp is null", claims(userV2().with("exp", nil)), verify.BadClaim},
		{"exp is true", claims(userV2().with("exp", true)), verify.BadClaim},
		{"no exp", claims(userV2().without("exp")), verify.MissingClaim},
		{"no iat", claims(userV2().without("iat")), verify.MissingClaim},
		{"no nbf", claims(userV2().without("nbf")), verify.MissingClaim},

		{"an ID token with azp of another, without its nonce", claims(idV2().without("nonce").with("azp", clientID)), verify.NotAccessToken},
		{"the same with roles", claims(idV2().without("nonce").with("azp", clientID).with("roles", []string{"Admin"})), verify.NotAccessToken},
		{"no azpacr, but scp", claims(userV2().without("azpacr")), ""},
		{"no azpacr, but idtyp", claims(appV2().without("azpacr")), ""},
		{"no azpacr, but typed as an access token", sign(0, headerOf(0).with("typ", "at+jwt"), appV2().without("azpacr", "idtyp")), ""},
		{"azpacr alone", claims(appV2().without("idtyp", "roles")), ""},
		{"bound to a key by its ID", claims(userV2().with("cnf", object{"kid": "x"})), verify.ProofOfPossession},
		{"bound to a certificate", claims(userV2().with("cnf", object{"x5t#S256": "x"})), verify.ProofOfPossession},
		{"bound to a key that it brings", claims(userV1().with("cnf", object{"jwk": jwk(1)})), verify.ProofOfPossession},
		{"bound to nothing that can be read", claims(appV2().with("cnf", nil)), verify.ProofOfPossession},

		// Other claims that aren't as documented.
		{"scp is a list", claims(userV2().with("scp", []string{"Tasks.Read"})), verify.BadClaim},
		{"roles is a string", claims(appV2().with("roles", "Tasks.Read.All")), verify.BadClaim},
		{"roles has a number", claims(appV2().with("roles", []any{"a", 1})), verify.BadClaim},
		{"idtyp is a list", claims(appV2().with("idtyp", []string{"app"})), verify.BadClaim},
		{"groups is an object", claims(userV2().with("groups", object{})), verify.BadClaim},
		{"azp is null", claims(userV2().with("azp", nil)), verify.BadClaim},

		// Lists are read only when it is known whose they are.
		{"forged, scp is a list", replacePart(good, 1, userV2().with("scp", []string{"Tasks.Read"}).text()), verify.BadSignature},
		{"forged, roles has a number", replacePart(good, 1, appV2().with("roles", []any{"a", 1}).text()), verify.BadSignature},

		// Who signed.
		{"a key nobody publishes", sign(2, headerOf(2), userV2()), verify.UnknownKey},
		{"a key nobody publishes, under a kid that is", sign(2, headerOf(0), userV2()), verify.BadSignature},
		{"another tenant's key", sign(1, headerOf(1), userV2()), verify.KeyIssuer},
		{"another tenant's key, v1", sign(1, headerOf(1), userV1()), verify.KeyIssuer},
		{"key of another cloud", sign(3, headerOf(3), userV2()), verify.KeyIssuer},
		{"changed claims", replacePart(good, 1, userV2().with("scp", "Tasks.Admin").text()), verify.BadSignature},
		{"changed header", replacePart(good, 0, headerOf(0).with("alg", "PS256").text()), verify.BadSignature},
		{"PS256 with a short salt", shortSalt(), verify.BadSignature},
		{"empty-looking signature", goodParts[0] + "." + goodParts[1] + ".AA", verify.BadSignature},
		{"signature of zeros", goodParts[0] + "." + goodParts[1] + "." + b64.EncodeToString(make([]byte, 256)), verify.BadSignature},
		{"signature a byte longer", goodParts[0] + "." + goodParts[1] + "." + b64.EncodeToString(append(signature(good), 0)), verify.BadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := mustNew(t, newAuthority(
				jwk(0),
				jwk(1).with("issuer", "https://"+host+"/"+tenantB+"/v2.0"),
				jwk(3).with("issuer", "https://login.partner.microsoftonline.cn/{tenantid}/v2.0"),
			).config())
			_, err := v.AccessToken(context.Background(), test.raw)
			if got := reason(t, err); got != test.want {
				t.Fatalf("got %q (%v), want %q", got, err, test.want)
			}
			if err == nil {
				return
			}
			checkSafe(t, err, test.raw)
			accept(t, v, good) // nothing sticks
		})
	}
}

// checkSafe fails if a text of the error repeats something of the token.
func checkSafe(t *testing.T, err error, raw string) {
	t.Helper()
	var e *verify.Error
	if !errors.As(err, &e) {
		t.Fatalf("a %T", err)
	}
	text := fmt.Sprintf("%v|%+v|%#v|%q", e, e, e, e)
	for _, secret := range append(strings.Split(raw, "."), tenantA, tenantB, apiID, otherID, userOID, "Ada", "evil", "pairwise", "Tasks") {
		if len(secret) > 2 && strings.Contains(text, secret) {
			t.Errorf("the error repeats %q: %s", secret, text)
		}
	}
}

func signature(raw string) []byte {
	s, err := b64.DecodeString(raw[strings.LastIndexByte(raw, '.')+1:])
	if err != nil {
		panic(err)
	}
	return s
}

// strayBits changes the bits of the last character that stand for nothing: the
// same signature, written in another way.
func strayBits(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + alphabet[last|1:last|1+1]
}

// Refused tokens push no good ones out of memory, and cause no key fetches.
func TestRefusedTokensLeaveNoTrace(t *testing.T) {
	a := newAuthority(jwk(0))
	cfg := a.config()
	cfg.CacheSize = 1
	v := mustNew(t, cfg)
	good := sign(0, headerOf(0), userV2())
	accept(t, v, good)
	a.publish() // from now on a signature check would still work, a fetch would not
	bad := replacePart(good, 1, userV2().with("scp", "Tasks.Admin").text())
	for range 100 {
		if _, err := v.AccessToken(context.Background(), bad); reason(t, err) != verify.BadSignature {
			t.Fatalf("a forged token: %v", err)
		}
	}
	if n := testing.AllocsPerRun(100, func() { accept(t, v, good) }); n > 1 {
		t.Errorf("the good token was verified anew: %v allocations", n)
	}
	if got := a.fetches.Load(); got != 1 {
		t.Errorf("%d key fetches, want 1", got)
	}
}
