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

// part encodes a part of a token.
func part(text string) string { return b64.EncodeToString([]byte(text)) }

// replacePart replaces part i of a token and keeps the signature.
func replacePart(raw string, i int, text string) string {
	p := strings.Split(raw, ".")
	p[i] = part(text)
	return strings.Join(p, ".")
}

// hmacToken returns a token that is signed with HMAC-SHA256.
func hmacToken(key []byte) string {
	signed := part(headerOf(0).with("alg", "HS256").text()) + "." + part(userV2().text())
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(signed))
	return signed + "." + b64.EncodeToString(mac.Sum(nil))
}

// shortSalt returns a PS256 token with a salt of one byte, which RFC 7518 does not allow.
func shortSalt() string {
	signed := part(headerOf(0).with("alg", "PS256").text()) + "." + part(userV2().text())
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPSS(rand.Reader, testKeys[0](), crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: 1})
	if err != nil {
		panic(err)
	}
	return signed + "." + b64.EncodeToString(signature)
}

// nested returns nested JSON arrays of that depth.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// nestedObjects returns nested JSON objects of that depth.
func nestedObjects(depth int) string {
	return strings.Repeat(`{"x":`, depth-1) + "{}" + strings.Repeat("}", depth-1)
}

// insert inserts members at the start of a JSON object.
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
		{"nothing", "", verify.ReasonMalformed},
		{"opaque", "not-a-jwt", verify.ReasonMalformed},
		{"one dot", goodParts[0] + "." + goodParts[1], verify.ReasonMalformed},
		{"stripped signature", goodParts[0] + "." + goodParts[1] + ".", verify.ReasonMalformed},
		{"two signatures", good + "." + goodParts[2], verify.ReasonMalformed},
		{"a JWE", "a.b.c.d.e", verify.ReasonEncrypted},
		{"JSON serialization", `{"payload":"e30","signatures":[{},{}]}`, verify.ReasonMalformed},
		{"huge", good + strings.Repeat("A", verify.MaxTokenSize), verify.ReasonTooLarge},
		{"padding", goodParts[0] + "=." + goodParts[1] + "." + goodParts[2], verify.ReasonMalformed},
		{"line break in the header", goodParts[0][:4] + "\n" + goodParts[0][4:] + "." + goodParts[1] + "." + goodParts[2],
			verify.ReasonMalformed},
		{"line break in the payload", goodParts[0] + "." + goodParts[1] + "\r." + goodParts[2], verify.ReasonMalformed},
		{"line break in the signature", good + "\n", verify.ReasonMalformed},
		{"space", " " + good, verify.ReasonMalformed},
		{"standard base64", goodParts[0] + "." + goodParts[1] + ".+/" + goodParts[2], verify.ReasonMalformed},
		{"stray bits in the signature", strayBits(good), verify.ReasonMalformed},

		// The header.
		{"alg none", replacePart(good, 0, headerOf(0).with("alg", "none").text()), verify.ReasonBadAlgorithm},
		{"alg nOnE", replacePart(good, 0, headerOf(0).with("alg", "nOnE").text()), verify.ReasonBadAlgorithm},
		{"alg none, no signature", part(headerOf(0).with("alg", "none").text()) + "." + goodParts[1] + ".",
			verify.ReasonMalformed},
		{"HS256 with the public key in PEM", hmacToken(publicPEM), verify.ReasonBadAlgorithm},
		{"HS256 with the public key in DER", hmacToken(public), verify.ReasonBadAlgorithm},
		{"HS256 with the modulus", hmacToken(testKeys[0]().N.Bytes()), verify.ReasonBadAlgorithm},
		{"unknown alg", header(headerOf(0).with("alg", "XX999")), verify.ReasonBadAlgorithm},
		{"RS512", header(headerOf(0).with("alg", "RS512")), verify.ReasonBadAlgorithm},
		{"lower-case alg", header(headerOf(0).with("alg", "rs256")), verify.ReasonBadAlgorithm},
		{"no alg", header(headerOf(0).without("alg")), verify.ReasonBadAlgorithm},
		{"alg is a list", header(headerOf(0).with("alg", []string{"RS256"})), verify.ReasonBadHeader},
		{"kid is a number", header(headerOf(0).with("kid", 1)), verify.ReasonBadHeader},
		{"typ is null", header(headerOf(0).with("typ", nil)), verify.ReasonBadHeader},
		{"no typ", header(headerOf(0).without("typ")), verify.ReasonBadType},
		{"another typ", header(headerOf(0).with("typ", "logout+jwt")), verify.ReasonBadType},
		{"no kid", header(headerOf(0).without("kid")), verify.ReasonNoKeyID},
		{"crit", header(headerOf(0).with("crit", []string{"exp"})), verify.ReasonCriticalHeader},
		{"b64 and crit", header(headerOf(0).with("b64", false).with("crit", []string{"b64"})), verify.ReasonCriticalHeader},
		{"its own key", header(headerOf(0).with("jwk", jwk(0))), verify.ReasonEmbeddedKey},
		{"its own key's address", header(headerOf(0).with("jku", "https://evil.example/keys")), verify.ReasonEmbeddedKey},
		{"its own certificate", header(headerOf(0).with("x5c", []string{"MII"})), verify.ReasonEmbeddedKey},
		{"its own certificate's address", header(headerOf(0).with("x5u", "https://evil.example/cert")),
			verify.ReasonEmbeddedKey},
		{"Graph's nonce", header(headerOf(0).with("nonce", "abc")), verify.ReasonForeignToken},
		{"header is not JSON", replacePart(good, 0, "header"), verify.ReasonBadJSON},
		{"header is an array", replacePart(good, 0, "[]"), verify.ReasonBadJSON},
		{"two algs", replacePart(good, 0, insert(headerOf(0), `"alg":"none"`)), verify.ReasonDuplicateMember},
		{"two algs, one escaped", replacePart(good, 0, insert(headerOf(0), `"\u0061lg":"none"`)),
			verify.ReasonDuplicateMember},
		{"alg under another case", signText(0, insert(headerOf(0), `"ALG":"none"`), userV2().text()), ""},

		// The form of the payload.
		{"payload is not JSON", payload("claims"), verify.ReasonBadJSON},
		{"payload is a string", payload(`"claims"`), verify.ReasonBadJSON},
		{"something after the payload", payload(userV2().text() + "{}"), verify.ReasonBadJSON},
		{"cut short", payload(userV2().text()[:50]), verify.ReasonBadJSON},
		{"a byte order mark", payload("\uFEFF" + userV2().text()), verify.ReasonBadJSON},
		{"a trailing comma", payload(`{"a":1,}`), verify.ReasonBadJSON},
		{"a leading zero", payload(insert(userV2(), `"x":01`)), verify.ReasonBadJSON},
		{"a raw control character", payload(insert(userV2(), "\"x\":\"\x01\"")), verify.ReasonBadJSON},
		{"duplicate claims", payload(insert(userV2(), `"aud":"`+otherID+`"`)), verify.ReasonDuplicateMember},
		{"duplicate claims, alike", payload(insert(userV2(), `"aud":"`+apiID+`"`)), verify.ReasonDuplicateMember},
		{"duplicate claims, escaped", payload(insert(userV2(), `"t\u0069d":"`+tenantB+`"`)), verify.ReasonDuplicateMember},
		{"duplicates further down", payload(insert(userV2(), `"x":[{"y":1,"y":2}]`)), verify.ReasonDuplicateMember},
		{"deeply nested", payload(insert(userV2(), `"x":`+nested(9000))), verify.ReasonTooComplex},
		{"nested a level too deep", payload(insert(userV2(), `"x":`+nested(8))), verify.ReasonTooComplex},
		{"nested to the maximum depth", payload(insert(userV2(), `"x":`+nested(7))), ""},
		{"objects nested a level too deep", payload(insert(userV2(), `"x":`+nestedObjects(8))), verify.ReasonTooComplex},
		{"objects nested to the maximum depth", payload(insert(userV2(), `"x":`+nestedObjects(7))), ""},
		{"too many claims", payload("{" + many(129) + "}"), verify.ReasonTooComplex},
		{"the maximum number of claims", payload(insert(userV2(), many(128-len(userV2())))), ""},
		{"a list that is too long", payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 1024)+`0]`)),
			verify.ReasonTooComplex},
		{"lists that are too long together",
			payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 512)+`[`+strings.Repeat("0,", 511)+`0]]`)),
			verify.ReasonTooComplex},
		{"a list of the maximum length", payload(insert(userV2(), `"x":[`+strings.Repeat("0,", 1023)+`0]`)), ""},
		{"too many further down", payload(insert(userV2(), `"x":[{`+many(60)+`},{`+many(60)+`}]`)), verify.ReasonTooComplex},
		{"invalid UTF-8", payload(insert(userV2(), "\"x\":\"\xff\"")), verify.ReasonBadUTF8},
		{"half a surrogate pair", payload(insert(userV2(), `"x":"\ud800"`)), verify.ReasonBadUTF8},
		{"the other half", payload(insert(userV2(), `"x":"\udc00"`)), verify.ReasonBadUTF8},
		{"the other half twice", payload(insert(userV2(), `"x":"\udc00\udc00"`)), verify.ReasonBadUTF8},
		{"the first half twice", payload(insert(userV2(), `"x":"\ud800\ud800"`)), verify.ReasonBadUTF8},
		{"the first pair", payload(insert(userV2(), `"x":"\ud800\udc00"`)), ""},
		{"the last pair", payload(insert(userV2(), `"x":"\udbff\udfff"`)), ""},
		{"a whole pair", payload(insert(userV2(), `"x":"\ud83d\uDE00"`)), ""},
		{"half a pair in a name", payload(insert(userV2(), `"\ud800x":1`)), verify.ReasonBadUTF8},

		// The issuer and the tenant.
		{"swapped tenant in iss", claims(userV2().with("iss", "https://"+host+"/"+tenantB+"/v2.0")),
			verify.ReasonTenantMismatch},
		{"swapped tenant in tid", claims(userV2().with("tid", tenantB)), verify.ReasonTenantMismatch},
		{"swapped tenant in a v1 iss", claims(userV1().with("iss", "https://sts.windows.net/"+tenantB+"/")),
			verify.ReasonTenantMismatch},
		{"another tenant", claims(userV2().with("tid", tenantB).with("iss", "https://"+host+"/"+tenantB+"/v2.0")),
			verify.ReasonTenantNotAllowed},
		{"tid is not a GUID", claims(userV2().with("tid", "contoso.onmicrosoft.com").with("iss",
			"https://"+host+"/contoso.onmicrosoft.com/v2.0")), verify.ReasonBadClaim},
		{"tid in upper case", claims(userV2().with("tid", strings.ToUpper(tenantA)).with("iss",
			"https://"+host+"/"+strings.ToUpper(tenantA)+"/v2.0")), verify.ReasonBadClaim},
		{"tid is a number", claims(userV2().with("tid", 7)), verify.ReasonBadClaim},
		{"oid is not a GUID", claims(userV2().with("oid", "ada@contoso.example")), verify.ReasonBadClaim},
		{"issuer template", claims(userV2().with("iss", "https://"+host+"/{tenantid}/v2.0")), verify.ReasonBadIssuer},
		{"common issuer", claims(userV2().with("iss", "https://"+host+"/common/v2.0")), verify.ReasonBadIssuer},
		{"issuer with a slash at the end", claims(userV2().with("iss", "https://"+host+"/"+tenantA+"/v2.0/")),
			verify.ReasonBadIssuer},
		{"issuer without a version", claims(userV2().with("iss", "https://"+host+"/"+tenantA)), verify.ReasonBadIssuer},
		{"issuer without a host", claims(userV2().with("iss", tenantA+"/v2.0")), verify.ReasonBadIssuer},
		{"issuer over http", claims(userV2().with("iss", "http://"+host+"/"+tenantA+"/v2.0")), verify.ReasonBadIssuer},
		{"issuer's look-alike", claims(userV2().with("iss", "https://"+host+".evil.example/"+tenantA+"/v2.0")),
			verify.ReasonBadIssuer},
		{"issuer with a user", claims(userV2().with("iss", "https://"+host+"@evil.example/"+tenantA+"/v2.0")),
			verify.ReasonBadIssuer},
		{"External ID", claims(userV2().with("iss", "https://contoso.ciamlogin.com/"+tenantA+"/v2.0")),
			verify.ReasonUnsupportedIssuer},
		{"Azure AD B2C", claims(userV2().with("iss", "https://contoso.b2clogin.com/"+tenantA+"/v2.0/")),
			verify.ReasonUnsupportedIssuer},
		{"v1 issuer in a v2 token", claims(userV2().with("iss", "https://sts.windows.net/"+tenantA+"/")),
			verify.ReasonBadVersion},
		{"v2 issuer in a v1 token", claims(userV1().with("iss", "https://"+host+"/"+tenantA+"/v2.0")),
			verify.ReasonBadVersion},
		{"version 3", claims(userV2().with("ver", "3.0")), verify.ReasonBadVersion},
		{"version is a number", claims(userV2().with("ver", 2.0)), verify.ReasonBadClaim},
		{"no iss", claims(userV2().without("iss")), verify.ReasonMissingClaim},
		{"no tid", claims(userV2().without("tid")), verify.ReasonMissingClaim},
		{"no ver", claims(userV2().without("ver")), verify.ReasonMissingClaim},
		{"no sub", claims(userV2().without("sub")), verify.ReasonMissingClaim},

		// The audience and the use.
		{"another app's audience", claims(userV2().with("aud", otherID)), verify.ReasonBadAudience},
		{"Graph", claims(userV2().with("aud", "00000003-0000-0000-c000-000000000000")), verify.ReasonBadAudience},
		{"audience with a slash", claims(userV1().with("aud", apiURI+"/")), verify.ReasonBadAudience},
		{"audience in a list", claims(userV2().with("aud", []string{apiID, otherID})), verify.ReasonBadClaim},
		{"App ID URI in a v2 token", claims(userV2().with("aud", apiURI)), verify.ReasonBadAudience},
		{"no audience", claims(userV2().without("aud")), verify.ReasonMissingClaim},
		{"an ID token", claims(idV2()), verify.ReasonNotAccessToken},
		{"an ID token without a nonce", claims(idV2().without("nonce")), verify.ReasonNotAccessToken},
		{"an ID token with azp", claims(idV2().with("azp", apiID)), verify.ReasonNotAccessToken},
		{"an ID token with a c_hash", claims(idV2().without("nonce").with("azp", apiID).with("c_hash", "x")),
			verify.ReasonNotAccessToken},
		{"an ID token with an at_hash", claims(idV2().without("nonce").with("azp", apiID).with("at_hash", "x")),
			verify.ReasonNotAccessToken},
		{"an access token with a nonce", claims(userV2().with("nonce", "n-1")), verify.ReasonNotAccessToken},
		{"an access token with a c_hash", claims(userV2().with("c_hash", "x")), verify.ReasonNotAccessToken},
		{"an access token with an at_hash", claims(userV2().with("at_hash", "x")), verify.ReasonNotAccessToken},
		{"v1 client in a v2 token", claims(userV2().without("azp").with("appid", clientID)), verify.ReasonNotAccessToken},

		// The times.
		{"expired", claims(userV2().with("iat", now-7200).with("nbf", now-7200).with("exp", now-3600)), verify.ReasonExpired},
		{"not yet valid", claims(userV2().with("nbf", now+3600)), verify.ReasonNotYetValid},
		{"from the future", claims(userV2().with("iat", now+3600).with("exp", now+7200)), verify.ReasonIssuedInFuture},
		{"far future", claims(userV2().with("exp", now+10*365*24*3600)), verify.ReasonBadLifetime},
		{"farther future", payload(insert(userV2().without("exp"), `"exp":1e300`)), verify.ReasonBadClaim},
		{"beyond 64 bits", payload(insert(userV2().without("exp"), `"exp":99999999999999999999999`)), verify.ReasonBadClaim},
		{"negative", claims(userV2().with("exp", -1)), verify.ReasonBadClaim},
		{"exp is a string", claims(userV2().with("exp", fmt.Sprint(now+3600))), verify.ReasonBadClaim},
		{"exp is null", claims(userV2().with("exp", nil)), verify.ReasonBadClaim},
		{"exp is true", claims(userV2().with("exp", true)), verify.ReasonBadClaim},
		{"no exp", claims(userV2().without("exp")), verify.ReasonMissingClaim},
		{"no iat", claims(userV2().without("iat")), verify.ReasonMissingClaim},
		{"no nbf", claims(userV2().without("nbf")), verify.ReasonMissingClaim},

		{"an ID token with azp of another, without its nonce", claims(idV2().without("nonce").with("azp", clientID)),
			verify.ReasonNotAccessToken},
		{"the same with roles", claims(idV2().without("nonce").with("azp", clientID).with("roles", []string{"Admin"})),
			verify.ReasonNotAccessToken},
		{"no azpacr, but scp", claims(userV2().without("azpacr")), ""},
		{"no azpacr, but idtyp", claims(appV2().without("azpacr")), ""},
		{"no azpacr, but typed as an access token",
			sign(0, headerOf(0).with("typ", "at+jwt"), appV2().without("azpacr", "idtyp")), ""},
		{"azpacr alone", claims(appV2().without("idtyp")), ""},
		{"neither scopes nor roles", claims(appV2().without("roles")), verify.ReasonNoPermissions},
		{"bound to a key by its ID", claims(userV2().with("cnf", object{"kid": "x"})), verify.ReasonProofOfPossession},
		{"bound to a certificate", claims(userV2().with("cnf", object{"x5t#S256": "x"})), verify.ReasonProofOfPossession},
		{"bound to an embedded key", claims(userV1().with("cnf", object{"jwk": jwk(1)})), verify.ReasonProofOfPossession},
		{"bound to null", claims(appV2().with("cnf", nil)), verify.ReasonProofOfPossession},

		// Other claims that are not as documented.
		{"scp is a list", claims(userV2().with("scp", []string{"Tasks.Read"})), verify.ReasonBadClaim},
		{"roles is a string", claims(appV2().with("roles", "Tasks.Read.All")), verify.ReasonBadClaim},
		{"roles has a number", claims(appV2().with("roles", []any{"a", 1})), verify.ReasonBadClaim},
		{"idtyp is a list", claims(appV2().with("idtyp", []string{"app"})), verify.ReasonBadClaim},
		{"groups is an object", claims(userV2().with("groups", object{})), verify.ReasonBadClaim},
		{"azp is a number", claims(userV2().with("azp", 1)), verify.ReasonBadClaim},
		{"azpacr is a number", claims(userV2().with("azpacr", 1)), verify.ReasonBadClaim},
		{"appid is a number", claims(userV2().with("appid", 1)), verify.ReasonBadClaim},
		{"appidacr is a number", claims(userV2().with("appidacr", 1)), verify.ReasonBadClaim},
		{"hasgroups is a number", claims(userV2().with("hasgroups", 1)), verify.ReasonBadClaim},
		{"hasgroups is a string", claims(userV2().with("hasgroups", "true")), verify.ReasonBadClaim},
		{"azp is null", claims(userV2().with("azp", nil)), verify.ReasonBadClaim},

		// Lists are read after the signature check.
		{"forged, scp is a list", replacePart(good, 1, userV2().with("scp", []string{"Tasks.Read"}).text()),
			verify.ReasonBadSignature},
		{"forged, roles has a number", replacePart(good, 1, appV2().with("roles", []any{"a", 1}).text()),
			verify.ReasonBadSignature},

		// The key and the signature.
		{"an unpublished key", sign(2, headerOf(2), userV2()), verify.ReasonUnknownKey},
		{"an unpublished key with a published kid", sign(2, headerOf(0), userV2()), verify.ReasonBadSignature},
		{"another tenant's key", sign(1, headerOf(1), userV2()), verify.ReasonKeyIssuer},
		{"another tenant's key, v1", sign(1, headerOf(1), userV1()), verify.ReasonKeyIssuer},
		{"key of another cloud", sign(3, headerOf(3), userV2()), verify.ReasonKeyIssuer},
		{"key of an issuer without a version", sign(4, headerOf(4), userV2()), verify.ReasonKeyIssuer},
		{"changed claims", replacePart(good, 1, userV2().with("scp", "Tasks.Admin").text()), verify.ReasonBadSignature},
		{"changed header", replacePart(good, 0, headerOf(0).with("alg", "PS256").text()), verify.ReasonBadSignature},
		{"PS256 with a short salt", shortSalt(), verify.ReasonBadSignature},
		{"empty-looking signature", goodParts[0] + "." + goodParts[1] + ".AA", verify.ReasonBadSignature},
		{"signature of zeros", goodParts[0] + "." + goodParts[1] + "." + b64.EncodeToString(make([]byte, 256)),
			verify.ReasonBadSignature},
		{"signature a byte longer", goodParts[0] + "." + goodParts[1] + "." + b64.EncodeToString(append(signature(good), 0)),
			verify.ReasonBadSignature},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := mustNew(t, newAuthority(
				jwk(0),
				jwk(1).with("issuer", "https://"+host+"/"+tenantB+"/v2.0"),
				jwk(3).with("issuer", "https://login.partner.microsoftonline.cn/{tenantid}/v2.0"),
				jwk(4).with("issuer", "https://"+host+"/"+tenantA),
			).config())
			_, err := v.Verify(context.Background(), test.raw)
			if got := reason(t, err); got != test.want {
				t.Fatalf("got %q (%v), want %q", got, err, test.want)
			}
			if err == nil {
				return
			}
			checkSafe(t, err, test.raw)
			accept(t, v, good) // rejected tokens have no effect
		})
	}
}

// The rules for keys, signatures and tenants hold for ID tokens, too.
func TestHostileIDTokens(t *testing.T) {
	good := sign(0, headerOf(0), idV2())
	v := mustNew(t, newAuthority(
		jwk(0),
		jwk(1).with("issuer", "https://"+host+"/"+tenantB+"/v2.0"),
	).config())
	for _, test := range []struct {
		name string
		raw  string
		want verify.Reason
	}{
		{"valid", good, ""},
		{"changed claims", replacePart(good, 1, idV2().with("oid", otherID).text()), verify.ReasonBadSignature},
		{"another key", sign(2, headerOf(0), idV2()), verify.ReasonBadSignature},
		{"an unpublished key", sign(2, headerOf(2), idV2()), verify.ReasonUnknownKey},
		{"another tenant's key", sign(1, headerOf(1), idV2()), verify.ReasonKeyIssuer},
		{"another tenant", sign(1, headerOf(1), idV2().with("tid", tenantB).
			with("iss", "https://"+host+"/"+tenantB+"/v2.0")), verify.ReasonTenantNotAllowed},
		{"another audience", sign(0, headerOf(0), idV2().with("aud", otherID)), verify.ReasonBadAudience},
		{"expired", sign(0, headerOf(0), idV2().with("exp", time.Now().Unix()-61).
			with("iat", time.Now().Unix()-3600)), verify.ReasonExpired},
		{"not a JWT", "not-a-jwt", verify.ReasonMalformed},
		{"too large", good + strings.Repeat("A", verify.MaxTokenSize), verify.ReasonTooLarge},
		{"roles is a string", sign(0, headerOf(0), idV2().with("roles", "Admin")), verify.ReasonBadClaim},
	} {
		c, err := v.IDToken(t.Context(), test.raw, "n-1")
		if got := reason(t, err); got != test.want || (c == nil) != (err != nil) {
			t.Errorf("%s: got claims %v, %v, want reason %q", test.name, c, err, test.want)
		}
	}
}

// sized returns a token of that length.
func sized(t *testing.T, length int) string {
	t.Helper()
	for _, h := range []object{headerOf(0), headerOf(0).with("x", ""), headerOf(0).with("x", "y")} {
		rest := len(part(h.text())) + len("..") + b64.EncodedLen(256)
		for pad := 3*(length-rest)/4 - len(userV2().text()) - 20; pad < length; pad++ {
			claims := userV2().with("pad", strings.Repeat("x", max(0, pad)))
			switch n := rest + b64.EncodedLen(len(claims.text())); {
			case n == length:
				return sign(0, h, claims)
			case n > length:
				pad = length
			}
		}
	}
	t.Fatalf("no token has %d bytes", length)
	return ""
}

func TestTokensHaveAMaximumSize(t *testing.T) {
	v := mustNew(t, newAuthority(jwk(0)).config())
	largest, larger := sized(t, verify.MaxTokenSize), sized(t, verify.MaxTokenSize+1)
	if len(largest) != 32<<10 || len(larger) != 32<<10+1 {
		t.Fatalf("got tokens of %d and %d bytes", len(largest), len(larger))
	}
	c := accept(t, v, largest)
	if _, err := v.Verify(t.Context(), larger); reason(t, err) != verify.ReasonTooLarge {
		t.Errorf("got %v, want %s", err, verify.ReasonTooLarge)
	}
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	stored := string(data) + strings.Repeat(" ", verify.MaxTokenSize-len(data))
	if err := new(verify.Claims).UnmarshalBinary([]byte(stored)); err != nil {
		t.Errorf("UnmarshalBinary of the maximum size: %v", err)
	}
	if err := new(verify.Claims).UnmarshalBinary([]byte(stored + " ")); reason(t, err) != verify.ReasonTooLarge {
		t.Errorf("UnmarshalBinary: got %v, want %s", err, verify.ReasonTooLarge)
	}
}

// checkSafe fails if a text of the error repeats a part of the token.
func checkSafe(t *testing.T, err error, raw string) {
	t.Helper()
	var e *verify.Error
	if !errors.As(err, &e) {
		t.Fatalf("got a %T, want an *Error", err)
	}
	text := fmt.Sprintf("%v|%+v|%#v|%q", e, e, e, e)
	for _, secret := range append(strings.Split(raw, "."), tenantA, tenantB, apiID, otherID, userOID, "Ada", "evil",
		"pairwise", "Tasks") {
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

// strayBits changes the unused bits of the last character. The result encodes the same
// signature.
func strayBits(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + alphabet[last|1:last|1+1]
}

// Rejected tokens evict no valid ones, and cause no key fetches.
func TestRejectedTokensHaveNoEffect(t *testing.T) {
	a := newAuthority(jwk(0))
	cfg := a.config()
	cfg.CacheSize = 1
	hits := countHits(&cfg)
	v := mustNew(t, cfg)
	good := sign(0, headerOf(0), userV2())
	accept(t, v, good)
	a.publish() // from now on a fetch fails
	bad := replacePart(good, 1, userV2().with("scp", "Tasks.Admin").text())
	for range 100 {
		if _, err := v.Verify(context.Background(), bad); reason(t, err) != verify.ReasonBadSignature {
			t.Fatalf("forged token: got %v, want %s", err, verify.ReasonBadSignature)
		}
	}
	if accept(t, v, good); *hits != 1 {
		t.Errorf("the valid token was verified again: got %d hits of the cache, want 1", *hits)
	}
	if got := a.fetches.Load(); got != 1 {
		t.Errorf("got %d key fetches, want 1", got)
	}
}
