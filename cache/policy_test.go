package cache_test

import (
	"math"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
)

func TestSchedule(t *testing.T) {
	const never = 0
	for _, tt := range []struct {
		name                  string
		life, refreshIn, left time.Duration
		draw                  float64
		early, end            time.Duration
	}{
		{"75 minutes, earliest draw", 75 * time.Minute, 0, never, 0, 52*time.Minute + 30*time.Second, 74 * time.Minute},
		{"75 minutes, latest draw", 75 * time.Minute, 0, never, 1, 60 * time.Minute, 74 * time.Minute},
		{"60 minutes, middle draw", 60 * time.Minute, 0, never, 0.5, 45 * time.Minute, 59 * time.Minute},
		{"28 hours of a CAE token", 28 * time.Hour, 0, never, 0, 19*time.Hour + 36*time.Minute, 28*time.Hour - time.Minute},
		{"ten minutes keep the whole margin", 10 * time.Minute, 0, never, 0, 7 * time.Minute, 9 * time.Minute},
		{"under ten minutes the margin is a tenth", 5 * time.Minute, 0, never, 0, 210 * time.Second, 270 * time.Second},
		{"one second", time.Second, 0, never, 1, 800 * time.Millisecond, 900 * time.Millisecond},
		{"refresh_in is followed", 24 * time.Hour, 12 * time.Hour, never, 0.9, 12 * time.Hour, 24*time.Hour - time.Minute},
		{"refresh_in at the end of the life is not", time.Hour, time.Hour, never, 0, 42 * time.Minute, 59 * time.Minute},
		{"negative refresh_in is not", time.Hour, -time.Hour, never, 0, 42 * time.Minute, 59 * time.Minute},
		{"a grant that ends first: no early refresh, no margin", time.Hour, 0, 40 * time.Minute, 0, 40 * time.Minute, 40 * time.Minute},
		{"a grant that ends first, with refresh_in", time.Hour, time.Minute, 40 * time.Minute, 0, 40 * time.Minute, 40 * time.Minute},
		{"a grant that ends within the margin", time.Hour, 0, 59*time.Minute + 30*time.Second, 0, 42 * time.Minute, 59 * time.Minute},
		{"a grant that outlives the token", time.Hour, 0, 2 * time.Hour, 0, 42 * time.Minute, 59 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			early, end := cache.Policy{}.Schedule(tt.life, tt.refreshIn, tt.left, tt.draw)
			if early != tt.early {
				t.Errorf("early after %v, want %v", early, tt.early)
			}
			if end != tt.end {
				t.Errorf("no longer served after %v, want %v", end, tt.end)
			}
		})
	}
}

func TestRetryIn(t *testing.T) {
	for _, tt := range []struct {
		failures   int
		retryAfter time.Duration
		draw       float64
		want       time.Duration
	}{
		{1, 0, 0, time.Second},
		{1, 0, 1, 2 * time.Second},
		{2, 0, 1, 4 * time.Second},
		{3, 0, 0.5, 4500 * time.Millisecond},
		{6, 0, 1, 60 * time.Second},
		{100, 0, 1, 60 * time.Second},
		{5000, 0, 0, time.Second},
		{1, time.Minute, 1, time.Minute},
		{100, 10 * time.Second, 1, 60 * time.Second},
	} {
		if got := (cache.Policy{}).RetryIn(tt.failures, tt.retryAfter, tt.draw); got != tt.want {
			t.Errorf("failure %d, Retry-After %v, draw %v: %v, want %v", tt.failures, tt.retryAfter, tt.draw, got, tt.want)
		}
	}
}

// What makes no sense in a policy is as good as nothing.
func TestPolicyNonsense(t *testing.T) {
	nan := math.NaN()
	for _, p := range []cache.Policy{
		{EarlyFrom: nan, EarlyTo: nan}, {EarlyFrom: 3, EarlyTo: -1}, {Margin: -1},
		{RetryMin: math.MaxInt64, RetryMax: math.MaxInt64}, {RetryMin: -1, RetryMax: -1},
	} {
		if early, end := p.Schedule(time.Hour, 0, 0, 0); early != 42*time.Minute || end != 59*time.Minute {
			t.Errorf("%+v: early after %v, served for %v", p, early, end)
		}
		if got := p.RetryIn(100, 0, 1); got != time.Minute {
			t.Errorf("%+v: retry in %v", p, got)
		}
	}
}
