package digest_test

import (
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/digest"
)

func TestSHA256(t *testing.T) {
	for _, n := range []int{0, 1, 1023, 1024, 1025, 5000} {
		s := strings.Repeat("abc", n)[:n]
		if digest.SHA256(s) != sha256.Sum256([]byte(s)) {
			t.Errorf("wrong for %d bytes", n)
		}
	}
}
