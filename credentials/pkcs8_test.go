package credentials

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"strings"
	"testing"
)

// Malformed encrypted keys are rejected, each for its own reason.
func TestDecryptMalformed(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := func(iterations int, change func(*encryptedPrivateKeyInfo, *pbes2)) []byte {
		der, err := encrypt(plain, max(iterations, 1))
		if err != nil {
			t.Fatal(err)
		}
		var info encryptedPrivateKeyInfo
		var scheme pbes2
		var kdf kdf2
		if _, err := asn1.Unmarshal(der, &info); err != nil {
			t.Fatal(err)
		}
		unmarshal(info.Algorithm.Parameters, &scheme)
		unmarshal(scheme.KDF.Parameters, &kdf)
		kdf.Iterations = iterations
		scheme.KDF.Parameters = rawValue(t, kdf)
		if change != nil {
			change(&info, &scheme)
		}
		info.Algorithm.Parameters = rawValue(t, scheme)
		if der, err = asn1.Marshal(info); err != nil {
			t.Fatal(err)
		}
		return der
	}
	noKey, err := encrypt([]byte("no key, but with the right padding"), 1)
	if err != nil {
		t.Fatal(err)
	}
	const corrupt = "has an encrypted private key that is corrupt"
	for name, test := range map[string]struct {
		der  []byte
		want string
	}{
		"one iteration": {encrypted(1, nil), ""},
		"no iterations": {encrypted(0, nil), "with 0 iterations; 1 to 5000000 are allowed"},
		"too many": {encrypted(2, func(_ *encryptedPrivateKeyInfo, s *pbes2) {
			s.KDF.Parameters = rawValue(t, kdf2{Iterations: maxIterations + 1})
		}), "with 5000001 iterations; 1 to 5000000 are allowed"},
		"not DER":       {[]byte{0x30}, corrupt},
		"trailing data": {append(encrypted(1, nil), 0), corrupt},
		"short IV": {encrypted(1,
			func(_ *encryptedPrivateKeyInfo, s *pbes2) { s.Cipher.Parameters = rawValue(t, make([]byte, 15)) }), corrupt},
		"no data":          {encrypted(1, func(i *encryptedPrivateKeyInfo, _ *pbes2) { i.Data = nil }), corrupt},
		"incomplete block": {encrypted(1, func(i *encryptedPrivateKeyInfo, _ *pbes2) { i.Data = i.Data[1:] }), corrupt},
		"no KDF parameters": {encrypted(1,
			func(_ *encryptedPrivateKeyInfo, s *pbes2) { s.KDF.Parameters = rawValue(t, 1) }), corrupt},
		"no IV": {encrypted(1,
			func(_ *encryptedPrivateKeyInfo, s *pbes2) { s.Cipher.Parameters = rawValue(t, 1) }), corrupt},
		"changed ciphertext": {encrypted(1, func(i *encryptedPrivateKeyInfo, _ *pbes2) { i.Data[len(i.Data)-17] ^= 0x80 }),
			"the password is wrong"},
		"not a sequence": {noKey, "the password is wrong"},
	} {
		got, err := parser{file: "/file", password: func() (string, error) { return fuzzPassword, nil }}.decrypt(test.der)
		switch {
		case test.want == "" && (err != nil || string(got) != string(plain)):
			t.Errorf("%s: got %v, want the key", name, err)
		case test.want != "" && (err == nil || !strings.HasSuffix(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %q", name, err, test.want)
		}
	}
}

func rawValue(t *testing.T, v any) asn1.RawValue {
	t.Helper()
	b, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return asn1.RawValue{FullBytes: b}
}

func TestUnpad(t *testing.T) {
	for in, want := range map[string]string{
		"abc\x01": "abc", "ab\x02\x02": "ab", "\x04\x04\x04\x04": "",
		"abc\x00": "-", "ab\x01\x02": "-", "\x05\x05\x05\x05": "-",
	} {
		got, ok := unpad([]byte(in), 4)
		if ok != (want != "-") || ok && string(got) != want {
			t.Errorf("%q: got %q, %v", in, got, ok)
		}
	}
}

func TestIsSequence(t *testing.T) {
	for der, want := range map[string]bool{
		"\x30\x03\x02\x01\x00":     true,
		"\x30\x03\x02\x01\x00\x00": false, // trailing data
		"\x30\x03\x04\x01\x00":     false, // an OCTET STRING in a SEQUENCE
		"\x31\x03\x02\x01\x00":     false, // a SET
		"\x30\x00":                 false,
		"":                         false,
	} {
		if got := isSequence([]byte(der)); got != want {
			t.Errorf("%x: got %v, want %v", der, got, want)
		}
	}
}
