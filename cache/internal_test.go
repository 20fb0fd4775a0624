package cache

import (
	"testing"
	"time"
)

// Both clocks must agree that a token is still good. A time without its monotonic part
// stands for one whose wall clock was moved.
func TestBefore(t *testing.T) {
	now := time.Now()
	later := now.Add(time.Hour)
	for _, tt := range []struct {
		name string
		now  time.Time
		want bool
	}{
		{"an hour before", now, true},
		{"a second after", later.Add(time.Second), false},
		{"the wall clock alone is past: the machine slept", now.Round(0).Add(2 * time.Hour), false},
	} {
		if got := before(tt.now, later); got != tt.want {
			t.Errorf("%s: before = %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestScopeSets(t *testing.T) {
	for _, tt := range []struct {
		a, b []string
		same bool
	}{
		{nil, []string{}, true},
		{[]string{"API://B/.default"}, []string{"api://b/.default"}, true},
		{[]string{"b", "A", "a", "B"}, []string{"A", "B"}, true},
		{[]string{"A", "a"}, []string{"a"}, true},
		{[]string{"a"}, []string{"b"}, false},
		{[]string{"a", "b"}, []string{"a"}, false},
		{nil, []string{"a"}, false},
	} {
		if got := sameScopes(scopeSet(tt.a), scopeSet(tt.b)); got != tt.same {
			t.Errorf("%q and %q: same = %v", tt.a, tt.b, got)
		}
	}
}
