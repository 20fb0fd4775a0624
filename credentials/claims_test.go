package credentials

import (
	"encoding/base64"
	"reflect"
	"testing"
	"time"
)

func TestParseClaims(t *testing.T) {
	for payload, want := range map[string]tokenClaims{
		`{}`:                               {},
		`{"iss":"i","sub":"s","aud":"a"}`:  {issuer: "i", subject: "s", audience: []string{"a"}},
		`{"aud":["a",1,"b"]}`:              {audience: []string{"a", "b"}},
		`{"iss":1,"sub":[],"aud":{}}`:      {},
		`{"exp":1}`:                        {expiry: time.Unix(1, 0)},
		`{"exp":0}`:                        {},
		`{"exp":-1}`:                       {},
		`{"exp":1099511627775}`:            {expiry: time.Unix(1<<40-1, 0)},
		`{"exp":1099511627776}`:            {},
		`{"exp":1e999}`:                    {},
		`{"exp":"1700000000","iss":"quo"}`: {issuer: "quo", expiry: time.Unix(1_700_000_000, 0)},
	} {
		got, ok := parseClaims("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln")
		if !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", payload, got, ok, want)
		}
	}
}

// The characters next to the ranges of base64url are not accepted.
func TestParseClaimsAlphabet(t *testing.T) {
	for _, c := range "AZaz09-_" {
		if _, ok := parseClaims(string(c) + "AAA.e30.c2ln"); !ok {
			t.Errorf("%q was rejected", c)
		}
	}
	for _, c := range "@[`{/:+=. \n" {
		if _, ok := parseClaims(string(c) + "AAA.e30.c2ln"); ok {
			t.Errorf("%q was accepted", c)
		}
	}
}
