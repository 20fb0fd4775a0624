package credentials

import (
	"encoding/asn1"
	"fmt"
	"strings"
	"testing"
)

// The iterations of a PFX are found under whatever tag they are put: the library that
// spends them looks at the tag of the outermost content as little as at that of a salt.
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
	scheme := seq(of(oidPBES2), seq(seq(of(oidPBKDF2), seq(of([]byte("salt")), of(maxIterations+1))), seq(of(aes256), of(make([]byte, 16)))))
	content := seq(of(data), scheme, of(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: make([]byte, 16)}))
	safe := seq(seq(of(encrypted), der(asn1.ClassContextSpecific, 0, seq(of(0), content))))
	for _, tag := range []int{asn1.TagOctetString, asn1.TagUTF8String, asn1.TagBitString} {
		pfx := seq(of(3), seq(of(data), der(asn1.ClassContextSpecific, 0, der(asn1.ClassUniversal, tag, safe))))
		_, err := parser{file: "/file"}.parse(pfx)
		if want := fmt.Sprintf(`the file "/file" is a PKCS#12 (PFX) file with %d iterations, more than %d`, maxIterations+1, maxIterations); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tag %d: got %v", tag, err)
		}
	}
}
