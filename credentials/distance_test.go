package credentials

import "testing"

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"abc", "", 3}, {"abc", "abc", 0}, {"abc", "abd", 1},
		{"abc", "xabc", 1}, {"xabc", "abc", 1}, {"xxabc", "abc", 2}, {"abc", "abcxx", 2},
		{"kitten", "sitting", 3}, {"AZURECLIENTSECRTE", "AZURECLIENTSECRET", 2},
	} {
		if got := distance(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
}
