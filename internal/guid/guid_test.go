package guid_test

import (
	"testing"

	"github.com/entratoken/entra/internal/guid"
)

func TestValid(t *testing.T) {
	for s, want := range map[string]struct{ any, lower bool }{
		"00000000-0000-0000-0000-000000000000":     {true, true},
		"0a1b2c3d-4e5f-6789-abcd-ef0123456789":     {true, true},
		"0A1B2C3D-4E5F-6789-ABCD-EF0123456789":     {true, false},
		"0a1b2c3d-4e5f-6789-abcd-ef012345678F":     {true, false},
		"":                                         {},
		"0a1b2c3d4e5f6789abcdef0123456789":         {},
		"0a1b2c3d-4e5f-6789-abcd-ef012345678":      {},
		"0a1b2c3d-4e5f-6789-abcd-ef01234567890":    {},
		"0a1b2c3d-4e5f-6789-abcd-ef012345678g":     {},
		"0a1b2c3d-4e5f-6789-abcd-ef012345678G":     {},
		"0a1b2c3d-4e5f-6789-abcd-ef012345678\n":    {},
		"0a1b2c3d-4e5f-6789abcd-e-f0123456789":     {},
		"0a1b2c3d-4e5f-6789-abcd0ef0123456789":     {},
		"{a1b2c3d-4e5f-6789-abcd-ef012345678}":     {},
		"0a1b2c3d-4e5f-6789-abcd-ef01234567\u00e4": {},
	} {
		if got := guid.Valid(s); got != want.any {
			t.Errorf("Valid(%q): got %v, want %v", s, got, want.any)
		}
		if got := guid.ValidLower(s); got != want.lower {
			t.Errorf("ValidLower(%q): got %v, want %v", s, got, want.lower)
		}
	}
}
