package verify

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// The examples in the standards are not Entra's tokens, so the tests call the functions for them
// one by one.

// joe is the payload of the examples in RFC 7515, appendix A, and RFC 7519, section 3.1.
const joe = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

// RFC 7515, appendix A.2.
func TestRFC7515RS256(t *testing.T) {
	key := parseKey([]byte(`{"kty":"RSA","kid":"a2","e":"AQAB","n":"` +
		"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCg" +
		"NMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg66" +
		"5xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWy" +
		"uXpoQ" + `"}`))
	if key == nil {
		t.Fatal("got no key")
	}
	const signed = "eyJhbGciOiJSUzI1NiJ9." + joe
	signature, err := encoding.DecodeString("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-" +
		"0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L0" +
		"7Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rq" +
		"Vt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw")
	if err != nil {
		t.Fatal(err)
	}
	if err := methods["RS256"].Verify(signed, signature, key.public); err != nil {
		t.Error(err)
	}
	if methods["PS256"].Verify(signed, signature, key.public) == nil {
		t.Error("the signature is valid for PS256")
	}
	signature[0] ^= 1
	if methods["RS256"].Verify(signed, signature, key.public) == nil {
		t.Error("a changed signature is valid")
	}
	text, err := decode(joe)
	if err != nil || text != "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}" {
		t.Errorf("got payload %q, %v", text, err)
	}
	o, err := parseObject(text)
	if err != nil || len(o.members) != 3 || o.members[1] != (member{"exp", "1300819380"}) {
		t.Errorf("got claims %v, %v", o, err)
	}
}

// Published examples that must be rejected.
func TestPublishedExamplesAreRejected(t *testing.T) {
	for _, test := range []struct {
		name, raw string
		want      Reason
	}{
		{"RFC 7519, section 3.1 (HS256)", "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + joe +
			".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", ReasonBadAlgorithm},
		{"RFC 7515, appendix A.2 (no typ)", "eyJhbGciOiJSUzI1NiJ9." + joe + ".cC4hiUPo", ReasonBadType},
		{"RFC 7515, appendix A.3 (ES256)", "eyJhbGciOiJFUzI1NiJ9." + joe +
			".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q", ReasonBadAlgorithm},
		{"RFC 7519, section 6.1 (unsecured)", "eyJhbGciOiJub25lIn0." + joe + ".", ReasonMalformed},
		{"the same, with a signature", "eyJhbGciOiJub25lIn0." + joe + ".AAAA", ReasonBadAlgorithm},
		{"RFC 7515, appendix A.6 (JSON, two signatures)",
			`{"payload":"` + joe +
				`","signatures":[{"protected":"eyJhbGciOiJSUzI1NiJ9","signature":"cC4h"},{"protected":"eyJhbGciOiJFUzI1NiJ9",` +
				`"signature":"DtEh"}]}`, ReasonMalformed},
		{"RFC 7515, appendix E (crit)",
			base64.RawURLEncoding.EncodeToString([]byte("{\"alg\":\"none\",\r\n \"crit\":[\"http://example.com/UNDEFINED\"],"+
				"\r\n \"http://example.com/UNDEFINED\":true\r\n}")) + ".RkFJTA.AAAA", ReasonCriticalHeader},
		{"RFC 7516, appendix A.3 (encrypted)",
			"eyJhbGciOiJBMTI4S1ciLCJlbmMiOiJBMTI4Q0JDLUhTMjU2In0.6KB707dM9YTIgHtLvtgWQ8mKwboJW3of9locizkDTHzBC2IlrT1oOQ." +
				"AxY8DCtDaGlsbGljb3RoZQ.KDlTtXchhZTGufMYmOYGS4HffxPSUrfmqCHXaI9wOGY.U0m_YmjN04DJvceFICbCVQ", ReasonEncrypted},
	} {
		if _, err := parseJWS(test.raw); !errors.Is(err, &Error{Reason: test.want}) {
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}

// RFC 7515, appendix C.
func TestRFC7515Base64URL(t *testing.T) {
	text, err := decode("A-z_4ME")
	if err != nil || text != string([]byte{3, 236, 255, 224, 193}) {
		t.Errorf("got %q, %v", text, err)
	}
	for _, bad := range []string{"A-z_4ME=", "A+z/4ME", "A-z_4MF", "A-z_4", "A-z_ 4ME", "A-z_\n4ME", ""} {
		if _, err := decode(bad); !errors.Is(err, &Error{Reason: ReasonMalformed}) {
			t.Errorf("%q: got %v, want %s", bad, err, ReasonMalformed)
		}
	}
}

// OpenID Connect Core, appendix A.4.
func TestOpenIDConnectHashes(t *testing.T) {
	if got := halfHash("Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk"); got != "LDktKdoQak3Pk0cnXxCltA" {
		t.Errorf("got c_hash %s", got)
	}
	if got := halfHash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"); got != "77QmUPtjPfzWtF2AnpK9RQ" {
		t.Errorf("got at_hash %s", got)
	}
}

// RFC 6750, sections 2.1 and 3.
func TestRFC6750Bearer(t *testing.T) {
	if token, err := BearerToken([]string{"Bearer mF_9.B5f-4.1JqM"}); err != nil || token != "mF_9.B5f-4.1JqM" {
		t.Errorf("got %q, %v", token, err)
	}
	if token, err := BearerToken([]string{"Bearer " + strings.Repeat("~+/", 3) + "=="}); err != nil || token != "~+/~+/~+/==" {
		t.Errorf("got %q, %v", token, err)
	}
}

// The characters of a token are those of b64token in RFC 6750, section 2.1.
func TestBearerTokensHaveTheCharactersOfTheRFC(t *testing.T) {
	const allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/"
	for c := range 256 {
		token := "a" + string([]byte{byte(c)}) + "b"
		got, err := BearerToken([]string{"Bearer " + token})
		if want := strings.IndexByte(allowed, byte(c)) >= 0; (err == nil) != want || want && got != token {
			t.Errorf("%q: got %q, %v, want accepted %v", token, got, err, want)
		}
	}
}
