package redact_test

import (
	"strings"
	"testing"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/testkit"
)

// The cost of redaction is linear in the size of the text.
func TestRedactionCostIsLinear(t *testing.T) {
	const secret = "s3cr3t-with-%25-and-space"
	for _, text := range []string{
		"%", "%25", "%2525", "\\", "+", " a", "eyJ ", "eyJ", "a.", "\n", "\xff", secret, secret[:8], "secret secret ",
	} {
		for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
			s := strings.Repeat(text, size/len(text))
			limit := testkit.Cost{Fixed: 16 << 10, PerByte: 100}
			testkit.CostsAtMost(t, "Text of "+text, limit, s, func(s string) { redact.Text(s, 300, secret, secret+"2") })
			testkit.CostsAtMost(t, "JSON of "+text, limit, s, func(s string) { redact.JSON(s, 10_000, secret) })
		}
	}
}
