// Package digest hashes tokens.
package digest

import "crypto/sha256"

// SHA256 returns the SHA-256 hash of s. Unlike sha256.Sum256([]byte(s)) it does not copy s to
// the heap.
func SHA256(s string) (sum [sha256.Size]byte) {
	h := sha256.New()
	var chunk [1024]byte
	for len(s) > 0 {
		n := copy(chunk[:], s)
		h.Write(chunk[:n])
		s = s[n:]
	}
	h.Sum(sum[:0])
	return sum
}
