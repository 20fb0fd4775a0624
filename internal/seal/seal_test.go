package seal

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"testing"
)

var testKeys = []Key{NewKey([]byte("0123456789abcdef0123456789abcdef")), NewKey([]byte("fedcba9876543210fedcba9876543210"))}

func ring(t *testing.T, purpose string, keys ...Key) *Keyring {
	t.Helper()
	r, err := NewKeyring(purpose, keys)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// A record sealed for one purpose, under one name, with one key cannot be opened otherwise.
func TestRecordIsBoundToPurposeNameAndKey(t *testing.T) {
	r := ring(t, "purpose", testKeys[0])
	sealed := r.Seal("name", []byte("text"))
	for _, test := range []struct {
		name string
		ring *Keyring
		as   string
		ok   bool
	}{
		{"the same", r, "name", true},
		{"a new key first", ring(t, "purpose", testKeys[1], testKeys[0]), "name", true},
		{"another name", r, "name2", false},
		{"another purpose", ring(t, "purpose2", testKeys[0]), "name", false},
		{"shifted", ring(t, "purpose\x00na", testKeys[0]), "me", false},
		{"another key", ring(t, "purpose", testKeys[1]), "name", false},
		{"a random key", ring(t, "purpose"), "name", false},
	} {
		plain, ok := test.ring.Open(test.as, sealed)
		if ok != test.ok || ok && string(plain) != "text" {
			t.Errorf("%s: got %q, %t, want %t", test.name, plain, ok, test.ok)
		}
	}
	if bytes.Equal(sealed, r.Seal("name", []byte("text"))) {
		t.Error("got the same ciphertext twice, want a random nonce")
	}
	for i := range sealed {
		if _, ok := r.Open("name", sealed[:i]); ok {
			t.Errorf("the first %d bytes can be opened", i)
		}
		flipped := bytes.Clone(sealed)
		flipped[i] ^= 1
		if _, ok := r.Open("name", flipped); ok {
			t.Errorf("the record can be opened after a change of byte %d", i)
		}
	}
}

// The encryption key and the additional data both depend on the name.
func TestDerivedKeysDependOnTheName(t *testing.T) {
	r := ring(t, "purpose", testKeys[0])
	sealed := r.aead(r.keys[0], "name").Seal(nil, nil, []byte("x"), nil)
	if _, err := r.aead(r.keys[0], "name2").Open(nil, nil, sealed, nil); err == nil {
		t.Error("two names have the same derived key")
	}
	sealed = r.aead(r.keys[0], "name").Seal(nil, nil, []byte("x"), []byte("name"))
	if _, err := r.aead(r.keys[0], "name").Open(nil, nil, sealed, []byte("name2")); err == nil {
		t.Error("the additional data is not authenticated")
	}
}

// The key of a record is that of RFC 5869, with the purpose and the name as its info.
func TestKeysAreDerivedWithHKDF(t *testing.T) {
	r := ring(t, "purpose", testKeys[0])
	want, err := hkdf.Key(sha256.New, testKeys[0].secret.Value(), nil, "purpose\x00name", KeySize)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.derive(r.keys[0], "name"); !bytes.Equal(got, want) {
		t.Errorf("got the key %x, want %x", got, want)
	}
}

func TestNamesDependOnKeyAndPurpose(t *testing.T) {
	r := ring(t, "purpose", testKeys...)
	names := r.Names("user")
	if len(names) != 2 || names[0] == names[1] || len(names[0]) != 43 {
		t.Fatalf("got names %q, want two different ones of 43 characters", names)
	}
	for what, other := range map[string]string{
		"a purpose": ring(t, "purpose2", testKeys...).Names("user")[0],
		"a text":    r.Names("user2")[0],
	} {
		if other == names[0] {
			t.Errorf("got the same name for another of %s", what)
		}
	}
	if got := ring(t, "purpose", testKeys[1], testKeys[0]).Names("user"); got[0] != names[1] || got[1] != names[0] {
		t.Errorf("got names %q with the keys in the other order, want %q reversed", got, names)
	}
}

func TestInvalidKeysAreRejected(t *testing.T) {
	for name, key := range map[string]Key{
		"zero":      {},
		"too short": NewKey(make([]byte, 16)),
		"too long":  NewKey(make([]byte, 33)),
		"one byte":  NewKey(bytes.Repeat([]byte{7}, 32)),
	} {
		if _, err := NewKeyring("x", []Key{testKeys[0], key}); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
	secret := bytes.Clone([]byte("0123456789abcdef0123456789abcdef"))
	key := NewKey(secret)
	sealed := ring(t, "x", key).Seal("name", nil)
	clear(secret)
	if _, ok := ring(t, "x", key).Open("name", sealed); !ok {
		t.Error("changing the slice changed the key")
	}
}
