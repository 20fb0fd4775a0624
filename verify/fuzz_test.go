package verify

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/testkit"
)

// cost bounds the parsers of tokens.
var cost = testkit.Cost{Fixed: 64 << 10, PerByte: 40}

// checkError fails unless err is an *Error with a constant text.
func checkError(t *testing.T, err error) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("got a %T, want an *Error: %v", err, err)
	}
	if _, ok := texts[e.Reason]; !ok {
		t.Fatalf("no text for %s", e.Reason)
	}
	if e.Claim != "" && !knownClaims[e.Claim] {
		t.Fatalf("the error names %q", e.Claim)
	}
}

var knownClaims = func() map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields("alg typ kid iss aud exp nbf iat sub scp roles tid oid upn preferred_username " +
		"appid appidacr " +
		"azp azpacr idtyp ver uti name groups acrs xms_cc idp wids amr sid nonce unique_name email hasgroups") {
		m[n] = true
	}
	return m
}()

// encoding/json reads an accepted text in the same way, and rejects the texts that are not JSON.
func FuzzParseObject(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, ` { "a" : [ 1 , -0.5e+3 , true , false , null , "x\u00e9\ud83d\ude00\n" ] } `,
		`{"a":{"b":{"c":[[]]}}}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":"\ud800"}`, `{"a":01}`, `{"a":1,}`, `{"a"}`, `[]`, `{} x`,
		"{\"a\":\"\xff\"}", `{"a":-}`, `{"a":1e}`, `{"a":"` + "\x00" + `"}`,
		`{"a":"\u0123\u4567\u89ab\ucdef\uABCD\uEF01"}`, `{"a":"\u00g0"}`, `{"a":"\u00G0"}`, `{"a":"\u00/0"}`,
		`{"a":"\u00:0"}`,
		`{"a":"\u00@0"}`, "{\"a\":\"\\u00`0\"}", `{"a":"\ud7ff\ue000\ud800\udc00\udbff\udfff"}`, `{"a":"\ud800\udbff"}`,
		`{"a":"\ud800\ue000"}`, `{"a":"\ud800x"}`, `{"a":"\udfff"}`, `{"a":"\b\f\n\r\t\/\\\""}`,
		"\t\n\r{\t\"a\"\n:\r0\t,\"b\":1}\r\n", "{\"a\":\"\x1f\"}",
		`{"a":-0}`, `{"a":10.5}`, `{"a":1E-5}`, `{"a":1e+5}`, `{"a":-01}`,
		`{"a":1.}`, `{"a":.5}`, `{"a":+1}`, `{"a":1e+}`, `{"a":9}`, `{"a":/}`, `{"a"::}`, `{"a":tru}`,
		`{"a":"x`, `{"a":"\`, `{"a":"\u00`,
		`{"a":[`, `{"a":[1`, `{"a":{`, `{a:1}`, `{"a":[1 2]}`, `{"a":1 "b":2}`,
		`{"":{}}`, `{"a":[1,]}`, `{"a":"\x"}`, `{"a":"\u12"}`, strings.Repeat(`{"a":`, 20) + "1" + strings.Repeat("}", 20),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		testkit.CostsAtMost(t, "parseObject", cost, text, func(s string) { parseObject(s) })
		o, err := parseObject(text)
		var want map[string]json.RawMessage
		wrong := json.Unmarshal([]byte(text), &want)
		if err != nil {
			checkError(t, err)
			if errors.Is(err, &Error{Reason: ReasonBadJSON}) && wrong == nil && want != nil {
				t.Fatalf("%q is a JSON object", text)
			}
			return
		}
		if wrong != nil {
			t.Fatalf("%q was accepted: %v", text, wrong)
		}
		if len(o.members) != len(want) {
			t.Fatalf("%q: got %d members, want %d", text, len(o.members), len(want))
		}
		for _, m := range o.members {
			if raw, ok := want[m.name]; !ok || string(raw) != m.value {
				t.Fatalf("%q: member %q: got %q, want %q", text, m.name, m.value, raw)
			}
			checkValues(t, m.value)
		}
	})
}

// checkValues compares the decoded value with that of encoding/json.
func checkValues(t *testing.T, value string) {
	t.Helper()
	var anything any
	if err := json.Unmarshal([]byte(value), &anything); err != nil {
		t.Fatal(err)
	}
	s, ok := stringValue(value)
	if want, is := anything.(string); ok != is || s != want {
		t.Fatalf("%q read as the string %q, %v", value, s, ok)
	}
	list, ok := stringsValue(value)
	items, is := anything.([]any)
	var want []string
	for _, item := range items {
		text, isString := item.(string)
		is = is && isString
		want = append(want, text)
	}
	if ok != is || ok && !reflect.DeepEqual(list, want) {
		t.Fatalf("%q read as the strings %q, %v", value, list, ok)
	}
	if when, ok := timeValue(value); ok {
		seconds, isNumber := anything.(float64)
		if !isNumber || when.Before(time.Unix(0, 0)) || when.Unix() > maxSeconds || when.Unix() != int64(seconds) {
			t.Fatalf("%q read as the time %v", value, when)
		}
	}
}

// The parser does not panic, and accepts only tokens of three parts with one encoded form.
func FuzzParse(f *testing.F) {
	header := `{"alg":"RS256","kid":"k","typ":"JWT"}`
	f.Add(encoding.EncodeToString([]byte(header)) + "." + joe + ".AAAA")
	f.Add("eyJhbGciOiJub25lIn0." + joe + ".")
	f.Add("a.b.c.d.e")
	f.Add("..")
	f.Add("")
	f.Fuzz(func(t *testing.T, raw string) {
		testkit.CostsAtMost(t, "parseJWS", cost, raw, func(s string) { parseJWS(s) })
		p, err := parseJWS(raw)
		if err != nil {
			checkError(t, err)
			return
		}
		if strings.Count(raw, ".") != 2 || p.signed+"."+p.signature != raw || p.header.keyID == "" ||
			methods[p.header.algorithm] == nil {
			t.Fatalf("%q was accepted", raw)
		}
		parts := strings.Split(raw, ".")
		if encoding.EncodeToString([]byte(p.payload)) != parts[1] {
			t.Fatalf("%q has more than one form", parts[1])
		}
	})
}

// Reading and checking the claims of any payload does not panic.
func FuzzClaims(f *testing.F) {
	for _, s := range []string{
		`{"iss":"https://login.microsoftonline.com/aaaaaaaa-0000-4000-8000-000000000001/v2.0",` +
			`"tid":"aaaaaaaa-0000-4000-8000-000000000001","ver":"2.0","sub":"s","aud":"11111111-0000-4000-8000-00000000000a",` +
			`"azp":"c","exp":946688400,"iat":946684800,"nbf":946684800,"scp":"a b"}`,
		`{"iss":"https://sts.windows.net/aaaaaaaa-0000-4000-8000-000000000001/","ver":"1.0","appid":"c","roles":["r"],` +
			`"groups":"src1","_claim_names":{"groups":"src1"}}`,
		`{"exp":1e300,"nbf":-1,"iat":1.5}`, `{"roles":[]}`, `{"scp":" "}`, `{"hasgroups":true}`, `{"_claim_names":[]}`,
	} {
		f.Add(s)
	}
	r, err := newRules(Config{Audiences: []string{"11111111-0000-4000-8000-00000000000a"},
		Tenants: []string{"aaaaaaaa-0000-4000-8000-000000000001"}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseObject(text)
		if err != nil {
			return
		}
		testkit.CostsAtMost(t, "readClaims", cost, text, func(string) {
			if c, err := readClaims(o); err == nil {
				c.readSets()
			}
		})
		c, err := readClaims(o)
		if err != nil {
			checkError(t, err)
			return
		}
		if err := c.readSets(); err != nil {
			checkError(t, err)
			return
		}
		c.AppOnly()
		c.User()
		_ = c.String()
		p := &jws{claims: o}
		for _, k := range []tokenUse{accessToken, idToken} {
			fit, err := r.match(c)
			if err == nil {
				err = r.check(p, c, k, time.Unix(946684800, 0))
			}
			if err != nil {
				checkError(t, err)
				continue
			}
			if fit == 3 != (c.TenantID == "aaaaaaaa-0000-4000-8000-000000000001") {
				t.Fatalf("%q: got fit %d", text, fit)
			}
			if !r.audiences[c.Audience] || !strings.Contains(c.Issuer, c.TenantID) || !guid.ValidLower(c.TenantID) ||
				c.Expires.IsZero() {
				t.Fatalf("%q was accepted", text)
			}
			if k == accessToken && c.ClientID == "" || k == idToken && c.Scopes.Len() > 0 {
				t.Fatalf("%q was accepted for the wrong use", text)
			}
		}
	})
}

// The token is the text behind the scheme, or there is an error.
func FuzzAuthorization(f *testing.F) {
	for _, s := range []string{"Bearer abc.def.ghi", "bearer  a=", "Basic dTpw", "Bearer", "Bearer a,b", "Bearer a b", "",
		" Bearer a", "Bearer\ta", "Bearer =", "BEARER ~+/-._"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		testkit.CostsAtMost(t, "BearerToken", cost, value, func(s string) { BearerToken([]string{s}) })
		if _, err := BearerToken([]string{value, value}); !errors.Is(err, &Error{Reason: ReasonBadAuthorization}) {
			t.Fatal("two headers were accepted")
		}
		token, err := BearerToken([]string{value})
		if err != nil {
			checkError(t, err)
			return
		}
		scheme, rest, ok := strings.Cut(value, " ")
		if !ok || !strings.EqualFold(scheme, "bearer") || strings.TrimLeft(rest, " ") != token || token == "" ||
			strings.ContainsAny(token, " ,\"\\\t\r\n") {
			t.Fatalf("%q: got token %q", value, token)
		}
	})
}

// Parsed keys are within the bounds, and verifying with them does not panic.
func FuzzKeys(f *testing.F) {
	n := strings.Repeat("_", 341) + "8"
	for _, s := range []string{
		`{"keys":[{"kty":"RSA","kid":"k","e":"AQAB","n":"` + n + `"}]}`,
		`{"keys":[{"kty":"RSA","kid":"k","e":"AQAB","n":"` + n +
			`","issuer":"https://x/{tenantid}/v2.0","alg":"PS256","use":"sig"},{"kty":"RSA","kid":"k","e":"Aw","n":"` + n +
			`"}]}`,
		`{"keys":[{"kty":"oct","k":"AAAA","kid":"k"}]}`, `{"keys":{}}`, `{"keys":[1]}`, `[]`, ``,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		testkit.CostsAtMost(t, "parseKeys", testkit.Cost{Fixed: 3 << 20, PerByte: 100}, string(document), func(s string) {
			parseKeys([]byte(s))
		})
		keys, err := parseKeys(document)
		if err != nil {
			return
		}
		if len(keys) == 0 {
			t.Fatal("no keys and no error")
		}
		for id, k := range keys {
			if bits := k.public.N.BitLen(); id != k.id || id == "" || bits < minKeyBits || bits > maxKeyBits || k.public.E < 3 ||
				k.public.E%2 == 0 {
				t.Fatalf("key %q was accepted", id)
			}
			// Verifying with it must return.
			if methods["RS256"].Verify("a.b", make([]byte, k.public.Size()), k.public) == nil {
				t.Fatal("zeros are a signature")
			}
		}
	})
}
