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

func TestScopeSet(t *testing.T) {
	for _, tt := range []struct {
		scopes []string
		want   string
	}{
		{nil, ""},
		{[]string{"API://B/.default"}, "api://b/.default"},
		{[]string{"b", "A", "a", "B"}, "a b"},
	} {
		if got := scopeSet(tt.scopes); got != tt.want {
			t.Errorf("scopeSet(%q) = %q, want %q", tt.scopes, got, tt.want)
		}
	}
}
