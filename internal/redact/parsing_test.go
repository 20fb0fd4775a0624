package redact_test

import (
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/testkit"
)

// The cost of redaction is linear in the size of the text, and its stack does not depend on the text.
func TestRedactionCostIsLinear(t *testing.T) {
	const secret = "s3cr3t-with-%25-and-space"
	for _, text := range []string{
		"%", "%25", "%2525", "\\", "+", " a", "eyJ ", "eyJ", "a.", "\n", "\xff", secret, secret[:8], "secret secret ",
		"&amp;", "&" + strings.Repeat("amp", 12) + ";", "&nGt;", "&",
	} {
		for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
			wantLinear(t, text, strings.Repeat(text, size/len(text)), secret)
		}
	}
	// The last byte completes an escape, whose character completes the one before it, and so on.
	for first, last := range map[string]string{
		"%3": "5", "%253": "5", `\x3`: "5", `\u003`: "5", "&semi": ";", "%3&#98-------------------------------": ";",
	} {
		for _, size := range []int{64 << 10, 256 << 10} {
			wantLinear(t, first, strings.Repeat(first, size/len(first))+last, secret)
		}
	}
}

func wantLinear(t *testing.T, name, text, secret string) {
	limit := testkit.Cost{Fixed: 16 << 10, PerByte: 100}
	testkit.CostsAtMost(t, "Text of "+name, limit, text, func(s string) { redact.Text(s, 300, secret, secret+"2") })
	testkit.CostsAtMost(t, "JSON of "+name, limit, text, func(s string) { redact.JSON(s, 10_000, secret) })
}
