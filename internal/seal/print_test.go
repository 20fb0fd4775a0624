package seal_test

import (
	"testing"

	"github.com/entratoken/entra/internal/seal"
	"github.com/entratoken/entra/internal/testkit"
)

func TestKeysDoNotPrint(t *testing.T) {
	k := seal.NewKey([]byte("0123456789abcdef0123456789abcdef"))
	type holder struct{ key, Key seal.Key }
	for _, v := range []any{k, holder{k, k}} {
		testkit.NoSecrets(t, v, "0123456789abcdef", "30313233", "48 49 50", "MDEyMzQ1Njc4")
	}
}
