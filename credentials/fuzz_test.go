package credentials

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/testkit"
)

const fuzzPassword = "xkcd-936-horse-battery"

// seeds returns a file in each format.
func seeds(f *testing.F) [][]byte {
	f.Helper()
	check := func(err error) {
		if err != nil {
			f.Fatal(err)
		}
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "seed"},
		NotAfter: time.Now().Add(1e6 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(err)
	cert, err := x509.ParseCertificate(der)
	check(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	check(err)
	pkcs1 := x509.MarshalPKCS1PrivateKey(key)
	encrypted, err := encrypt(pkcs8, 1000)
	check(err)
	list := [][]byte{der, pkcs8, pkcs1, encrypted}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	list = append(list,
		append(block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)...),
		append(block("RSA PRIVATE KEY", pkcs1), block("CERTIFICATE", der)...),
		append(block("ENCRYPTED PRIVATE KEY", encrypted), block("CERTIFICATE", der)...))
	for _, e := range []*pkcs12.Encoder{pkcs12.Passwordless, pkcs12.LegacyRC2, pkcs12.LegacyDES, pkcs12.Modern} {
		password := fuzzPassword
		if e == pkcs12.Passwordless {
			password = ""
		}
		pfx, err := e.Encode(key, cert, nil, password)
		check(err)
		list = append(list, pfx)
	}
	return list
}

// encrypt encrypts a private key as OpenSSL does.
func encrypt(plain []byte, iterations int) ([]byte, error) {
	salt, iv := []byte("saltsalt"), []byte("sixteen bytes iv")
	key, err := pbkdf2.Key(sha256.New, fuzzPassword, salt, iterations, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	n := aes.BlockSize - len(plain)%aes.BlockSize
	data := append(bytes.Clone(plain), bytes.Repeat([]byte{byte(n)}, n)...)
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)
	raw := func(v any) asn1.RawValue {
		b, _ := asn1.Marshal(v)
		return asn1.RawValue{FullBytes: b}
	}
	prf := pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9},
		Parameters: asn1.NullRawValue}
	return asn1.Marshal(encryptedPrivateKeyInfo{
		Algorithm: pkix.AlgorithmIdentifier{Algorithm: oidPBES2, Parameters: raw(pbes2{
			KDF: pkix.AlgorithmIdentifier{Algorithm: oidPBKDF2,
				Parameters: raw(kdf2{Salt: salt, Iterations: iterations, PRF: prf})},
			Cipher: pkix.AlgorithmIdentifier{Algorithm: asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42},
				Parameters: raw(iv)},
		})},
		Data: data,
	})
}

// Every file yields either a certificate with its key, or an error that does not repeat the
// contents.
func FuzzCertificateFile(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
		f.Add(s[:len(s)-7])
		for _, i := range []int{4, 30, 100} {
			changed := bytes.Clone(s)
			changed[i] ^= 0x41
			f.Add(changed)
		}
	}
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END " +
		"RSA PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x80, 2, 1, 3, 0, 0})
	// The time is that of an RSA key of the largest accepted size.
	limit := testkit.Cost{Fixed: 8 << 20, PerByte: 64, Time: 2 * time.Second}
	f.Fuzz(func(t *testing.T, data []byte) {
		testkit.CostsAtMost(t, "readCertificate", limit, string(data), func(s string) {
			_, _ = readCertificate([]string{"/file"}, [][]byte{[]byte(s)}, nil)
		})
		for _, password := range []func() (string, error){nil, func() (string, error) { return fuzzPassword, nil }} {
			pair, err := readCertificate([]string{"/file"}, [][]byte{data}, password)
			chain, key := pair.chain, pair.key
			var e *entra.Error
			switch {
			case err == nil:
				if !key.PublicKey.Equal(chain[0].PublicKey) || key.Validate() != nil || key.N.BitLen() < minKeyBits {
					t.Error("the key does not match the certificate")
				}
				for i, c := range chain[1:] {
					if chain[i].CheckSignatureFrom(c) != nil {
						t.Error("the chain is broken")
					}
				}
			case !errors.As(err, &e) || e.Code != "invalid_client" || e.Err != nil:
				t.Errorf("got %#v", err)
			case !strings.Contains(e.Description, `"/file"`) || len(e.Description) > 500 ||
				strings.Contains(e.Description, fuzzPassword):
				t.Errorf("got %q", e.Description)
			}
		}
	})
}

// The claims of a JWT are only used if they are plausible.
func FuzzJWTClaims(f *testing.F) {
	for _, payload := range []string{`{"exp":1700000000}`, `{"exp":1.7e9}`, `{"exp":-1}`, `{"exp":1e300}`,
		`{"exp":"1700000000"}`, `{"exp":null}`, `{}`, `[]`, `null`, `{"exp":{}}`} {
		f.Add("e30." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln")
	}
	f.Add("e30.e30")
	f.Add("..")
	f.Fuzz(func(t *testing.T, s string) {
		testkit.CostsAtMost(t, "parseClaims", testkit.Cost{Fixed: 64 << 10, PerByte: 40}, s, func(s string) { parseClaims(s) })
		claims, ok := parseClaims(s)
		exp := claims.expiry
		if !ok && !exp.IsZero() || !exp.IsZero() && (exp.Unix() < 0 || exp.Unix() >= 1<<40) {
			t.Errorf("%q: %v, %v", s, exp, ok)
		}
		if ok && (strings.Count(s, ".") != 2 || strings.ContainsAny(s, " \r\n\t\"=+/")) {
			t.Errorf("%q is not a JWT", s)
		}
		refreshAt, expiresAt := assertionSchedule(time.Now(), exp)
		if expiresAt.Before(refreshAt) || !exp.IsZero() && time.Now().Before(exp) && !expiresAt.Before(exp) {
			t.Errorf("%v: got an expiry at %v and a refresh at %v", exp, expiresAt, refreshAt)
		}
	})
}

// AZURE_AUTHORITY_HOST yields a host and nothing else.
func FuzzAuthorityHost(f *testing.F) {
	for _, s := range []string{"https://login.microsoftonline.us/", "login.microsoftonline.com", "http://a",
		"https://u:p@a", "https://a/b", "https://a?b", "https://[::1]:443", "a@b", "//a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		cloud, err := cloudFromHost(s)
		var e *entra.Error
		if err != nil && (!errors.As(err, &e) || e.Code != "invalid_client") {
			t.Errorf("got %#v", err)
		}
		if err == nil && strings.ContainsAny(string(cloud), "/@?#") {
			t.Errorf("%q: %q", s, cloud)
		}
	})
}
