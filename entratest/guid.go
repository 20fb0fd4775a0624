package entratest

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// isGUID reports whether s is a GUID with hyphens and without braces.
func isGUID(s string) bool {
	if len(s) != 36 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	_, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return err == nil && strings.Count(s, "-") == 4
}

// newGUID returns a random GUID (RFC 9562, section 5.4).
func newGUID() string {
	var b [16]byte
	rand.Read(b[:])
	return formatGUID(b, 4)
}

// derivedGUID returns a GUID that depends on parts only (RFC 9562, section 5.8).
func derivedGUID(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(strings.Join(parts, "\x00"))))
	return formatGUID([16]byte(sum[:16]), 8)
}

func formatGUID(b [16]byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func decimal(n int64) string { return strconv.FormatInt(n, 10) }
