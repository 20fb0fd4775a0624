package credentials

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
)

// A huge key is rejected before it is parsed. Checking its numbers would take minutes.
func TestHugeKeyIsRejected(t *testing.T) {
	odd := new(big.Int).SetBytes(bytes.Repeat([]byte{0xfd}, 4<<10))
	der, err := asn1.Marshal(struct {
		Version                     int
		N                           *big.Int
		E                           int
		D, P, Q, DModP, DModQ, QInv *big.Int
	}{0, new(big.Int).Mul(odd, odd), 65537, odd, odd, odd, odd, odd, odd})
	if err != nil {
		t.Fatal(err)
	}
	for form, data := range map[string][]byte{"DER": der,
		"PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})} {
		if _, err := readCertificate([]string{"/file"}, [][]byte{data}, nil); err == nil ||
			!strings.HasSuffix(err.Error(), fmt.Sprintf(`the file "/file" has a private key of %d bytes; the limit is 16384`,
				len(der))) {
			t.Errorf("%s: %v", form, err)
		}
	}
}

// Signatures of a certificate with a huge key are not checked. That would take minutes.
func TestHugeIssuerIsIgnored(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	huge := &rsa.PublicKey{N: new(big.Int).SetBytes(bytes.Repeat([]byte{0xfd}, 60_000)), E: 1<<31 - 1}
	issuer := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"},
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "leaf"},
		NotAfter: time.Now().Add(time.Hour)}
	data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	for template, public := range map[*x509.Certificate]*rsa.PublicKey{issuer: huge, leaf: &key.PublicKey} {
		der, err := x509.CreateCertificate(rand.Reader, template, issuer, public, key)
		if err != nil {
			t.Fatal(err)
		}
		data = append(data, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	began := time.Now()
	pair, err := readCertificate([]string{"/file"}, [][]byte{data}, nil)
	if took := time.Since(began); err != nil || len(pair.chain) != 1 || took > 30*time.Second {
		t.Errorf("%d certificates in %v, %v", len(pair.chain), took, err)
	}
}

// Short files, and DER without the parts of a key or certificate, are rejected.
func TestParseShortFiles(t *testing.T) {
	const neither, other = "contains neither PEM nor PKCS#12", "is DER, but not PKCS#12"
	for data, want := range map[string]string{
		"0":             neither,
		"05 is not DER": neither,
		"é is not DER":  neither,
		"\x30\x81\x83\x30\x81\x80" + strings.Repeat("\x00", 128): other, // a SEQUENCE in a SEQUENCE
	} {
		if _, err := (parser{file: "/file"}).parse([]byte(data)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %q", data, err, want)
		}
	}
}

// A key of 16 KiB is parsed, a larger one is not.
func TestLargestKey(t *testing.T) {
	for size, want := range map[int]string{maxKey: "is corrupt", maxKey + 1: "the limit is 16384"} {
		err := parser{file: "/file"}.addKey(&bundle{}, make([]byte, size))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%d bytes: got %v, want %q", size, err, want)
		}
	}
}

// Iteration counts are searched 32 levels deep.
func TestIterationsDepth(t *testing.T) {
	for depth, want := range map[int]int64{0: 7, 31: 7, 32: 0, 100: 0} {
		der := []byte{asn1.TagOctetString, 1, 0, asn1.TagInteger, 1, 7}
		for range depth {
			var err error
			der, err = asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: der})
			if err != nil {
				t.Fatal(err)
			}
		}
		if got := iterations(der, 0); got != want {
			t.Errorf("depth %d: got %d, want %d", depth, got, want)
		}
	}
}

// Only an INTEGER after an OCTET STRING is an iteration count.
func TestIterationsAreIntegers(t *testing.T) {
	for der, want := range map[string]int64{
		"\x04\x01\x00\x02\x01\x07": 7,
		"\x04\x01\x00\x05\x00":     0, // NULL
		"\x04\x01\x00\x82\x01\x07": 0, // another class
		"\x05\x00\x02\x01\x07":     0, // after NULL
	} {
		if got := iterations([]byte(der), 0); got != want {
			t.Errorf("%x: got %d, want %d", der, got, want)
		}
	}
}

// Keys of 16384 bits are the largest whose signatures are checked.
func TestIsHuge(t *testing.T) {
	for bits, want := range map[uint]bool{2048: false, 16384: false, 16385: true} {
		c := &x509.Certificate{PublicKey: &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1)}}
		if got := isHuge(c); got != want {
			t.Errorf("%d bits: got %v, want %v", bits, got, want)
		}
	}
	if isHuge(&x509.Certificate{}) {
		t.Error("a certificate without an RSA key is huge")
	}
}

// Calls of a callback that ignores its context are bounded. When they return, it is called
// again.
func TestHungCallsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		release := make(chan struct{})
		c := &callback{
			kind: "client secret",
			get: func(context.Context) (value, error) {
				calls.Add(1)
				<-release
				return value{
					text:          func() string { return "some-secret" },
					newCredential: func() entra.Credential { return entra.Secret("some-secret") },
					refreshAt:     time.Now().Add(time.Hour),
				}, nil
			},
		}
		c.credential()
		for range cap(c.calls) + 50 {
			if _, err := c.load(t.Context(), entra.Credential{}); err == nil {
				t.Fatal("got a secret")
			}
		}
		if n := calls.Load(); n != 256 {
			t.Errorf("%d calls", n)
		}
		_, err := c.load(t.Context(), entra.Credential{})
		want := "client secret: 256 calls of the function have not returned: context deadline exceeded"
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		close(release)
		synctest.Wait()
		if got, err := c.load(t.Context(), entra.Credential{}); err != nil || !got.Equal(entra.Secret("some-secret")) {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

// The iteration counts of a PFX are found under any tag, because the library does not check
// the tags of the outermost content and of the salt.
func TestIterationsUnderAnyTag(t *testing.T) {
	der := func(class, tag int, parts ...[]byte) []byte {
		v := asn1.RawValue{Class: class, Tag: tag, IsCompound: class == asn1.ClassContextSpecific || tag == asn1.TagSequence}
		for _, p := range parts {
			v.Bytes = append(v.Bytes, p...)
		}
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	of := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	seq := func(parts ...[]byte) []byte { return der(asn1.ClassUniversal, asn1.TagSequence, parts...) }
	data, encrypted := asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 1}, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 6}
	aes256 := asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
	scheme := seq(of(oidPBES2), seq(seq(of(oidPBKDF2), seq(of([]byte("salt")), of(maxIterations+1))),
		seq(of(aes256), of(make([]byte, 16)))))
	content := seq(of(data), scheme, of(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: make([]byte, 16)}))
	safe := seq(seq(of(encrypted), der(asn1.ClassContextSpecific, 0, seq(of(0), content))))
	for _, tag := range []int{asn1.TagOctetString, asn1.TagUTF8String, asn1.TagBitString} {
		pfx := seq(of(3), seq(of(data), der(asn1.ClassContextSpecific, 0, der(asn1.ClassUniversal, tag, safe))))
		_, err := parser{file: "/file"}.parse(pfx)
		if want := fmt.Sprintf(`the file "/file" is a PKCS#12 (PFX) file with %d iterations; the limit is %d`,
			maxIterations+1, maxIterations); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tag %d: got %v", tag, err)
		}
	}
}
