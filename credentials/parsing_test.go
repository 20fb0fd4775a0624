package credentials

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/testkit"
)

// The cost of parsing a file or a token is linear in its size.
func TestParsingCostIsLinear(t *testing.T) {
	var deep []byte // 60 elements in each other
	for range 60 {
		var err error
		if deep, err = asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: deep}); err != nil {
			t.Fatal(err)
		}
	}
	pfx := func(text string) func(int) string {
		return func(n int) string {
			b, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true,
				Bytes: []byte("\x02\x01\x03" + strings.Repeat(text, n/len(text)))})
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	repeat := func(s string) func(int) string { return func(n int) string { return strings.Repeat(s, n/len(s)) } }
	for name, input := range map[string]func(int) string{
		"headers":      repeat("-----BEGIN CERTIFICATE-----\n"),
		"certificates": repeat("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
		"keys":         repeat("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n"),
		"encrypted":    repeat("-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n"),
		"names":        repeat("-----BEGIN X-----\na: b\nc: d\n\n-----END X-----\n"),
		"line feeds":   func(n int) string { return "-----BEGIN X-----\n" + strings.Repeat("\n", n) },
		"nested DER":   pfx(string(deep)),
		"empty DER":    pfx("\x30\x00"),
	} {
		for _, size := range []int{1 << 10, 64 << 10, maxFile - 200} {
			testkit.CostsAtMost(t, name, testkit.Cost{Fixed: 64 << 10, PerByte: 64}, input(size), func(s string) {
				_, _ = readCertificate([]string{"/file"}, [][]byte{[]byte(s)}, nil)
			})
		}
	}
	for name, text := range map[string]string{
		"dots": ".", "audiences": `"a",`, "arrays": `[],`, "nested": "[", "members": `"a":0,`,
	} {
		for _, size := range []int{1 << 10, 64 << 10, maxFile} {
			s := strings.Repeat(text, size/len(text))
			jwt := "e30." + base64.RawURLEncoding.EncodeToString([]byte(`{"aud":[`+s+`"a"]}`)) + ".c2ln"
			for _, token := range []string{s, jwt} {
				testkit.CostsAtMost(t, name, testkit.Cost{Fixed: 64 << 10, PerByte: 40}, token, func(s string) { parseClaims(s) })
			}
		}
	}
}

// A chain is bounded. In a file of certificates with the same name and key, each may have issued each.
func TestChainIsBounded(t *testing.T) {
	key := testkit.RSAKey(t)
	data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for i := range 40 {
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i + 1)), Subject: pkix.Name{CommonName: "same"},
			NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	pair, err := readCertificate([]string{"/file"}, [][]byte{data}, nil)
	if err != nil || len(pair.chain) != maxChain {
		t.Errorf("got a chain of %d certificates and the error %v, want %d", len(pair.chain), err, maxChain)
	}
}

// Lines of a challenge that are longer than 32 KiB, and those after the 20th, are not read.
func TestVaultChallengeIsBounded(t *testing.T) {
	const challenge = `Bearer resource="https://vault.azure.net"`
	for name, tt := range map[string]struct {
		lines []string
		want  string
	}{
		"two lines":   {[]string{`Bearer scope="a"`, challenge}, "https://vault.azure.net"},
		"20 lines":    {append(slices.Repeat([]string{"a"}, 19), challenge), "https://vault.azure.net"},
		"21 lines":    {append(slices.Repeat([]string{"a"}, 20), challenge), ""},
		"32 KiB":      {[]string{challenge + strings.Repeat(" ", 32<<10-len(challenge))}, "https://vault.azure.net"},
		"over 32 KiB": {[]string{challenge + strings.Repeat(" ", 32<<10-len(challenge)+1)}, ""},
	} {
		if got := challengeParameters(http.Header{"Www-Authenticate": tt.lines})["resource"]; got != tt.want {
			t.Errorf("%s: got the resource %q, want %q", name, got, tt.want)
		}
	}
	for _, text := range []string{"a ", `"`, `scope="`, `scope="a",`} {
		for _, size := range []int{32 << 10, 4 << 20} {
			line := strings.Repeat(text, size/len(text))
			testkit.CostsAtMost(t, text, testkit.Cost{Fixed: 64 << 10}, line, func(s string) {
				challengeParameters(http.Header{"Www-Authenticate": {s, s}})
			})
		}
	}
}
