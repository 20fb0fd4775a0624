package refresh_test

import (
	"math"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

func TestScheduleFollowsLifetimeAndRefreshIn(t *testing.T) {
	const never, spread = 0, true
	for _, tt := range []struct {
		name                      string
		lifetime, refreshIn, left time.Duration
		spread                    bool
		draw                      float64
		refreshAfter, usableFor   time.Duration
	}{
		{"75 minutes, earliest draw",
			75 * time.Minute, 0, never, !spread, 0, 45 * time.Minute, 74 * time.Minute},
		{"75 minutes, latest draw",
			75 * time.Minute, 0, never, !spread, 1, 52*time.Minute + 30*time.Second, 74 * time.Minute},
		{"60 minutes, middle draw",
			60 * time.Minute, 0, never, !spread, 0.5, 39 * time.Minute, 59 * time.Minute},
		{"spread, earliest draw", 60 * time.Minute, 0, never, spread, 0, 6 * time.Minute, 59 * time.Minute},
		{"spread, middle draw", 60 * time.Minute, 0, never, spread, 0.5, 24 * time.Minute, 59 * time.Minute},
		{"spread, latest draw", 60 * time.Minute, 0, never, spread, 1, 42 * time.Minute, 59 * time.Minute},
		{"28 hours of a CAE token",
			28 * time.Hour, 0, never, !spread, 0, 16*time.Hour + 48*time.Minute, 28*time.Hour - time.Minute},
		{"ten minutes have the whole margin",
			10 * time.Minute, 0, never, !spread, 0, 6 * time.Minute, 9 * time.Minute},
		{"under ten minutes the margin is a tenth",
			5 * time.Minute, 0, never, !spread, 0, 180 * time.Second, 270 * time.Second},
		{"one second", time.Second, 0, never, !spread, 1, 700 * time.Millisecond, 900 * time.Millisecond},
		{"refresh_in is followed",
			24 * time.Hour, 12 * time.Hour, never, !spread, 0.9, 12 * time.Hour, 24*time.Hour - time.Minute},
		{"refresh_in is followed instead of the spread",
			24 * time.Hour, 12 * time.Hour, never, spread, 0.1, 12 * time.Hour, 24*time.Hour - time.Minute},
		{"refresh_in of the whole lifetime is ignored",
			time.Hour, time.Hour, never, !spread, 0, 36 * time.Minute, 59 * time.Minute},
		{"negative refresh_in is ignored",
			time.Hour, -time.Hour, never, !spread, 0, 36 * time.Minute, 59 * time.Minute},
		{"a grant that ends first has neither early refresh nor margin",
			time.Hour, 0, 40 * time.Minute, !spread, 0, 40 * time.Minute, 40 * time.Minute},
		{"a grant that ends first, spread",
			time.Hour, 0, 40 * time.Minute, spread, 0, 40 * time.Minute, 40 * time.Minute},
		{"a grant that ends first, with refresh_in",
			time.Hour, time.Minute, 40 * time.Minute, !spread, 0, 40 * time.Minute, 40 * time.Minute},
		{"a grant that ends within the margin",
			time.Hour, 0, 59*time.Minute + 30*time.Second, !spread, 0, 36 * time.Minute, 59 * time.Minute},
		{"a grant that outlives the token",
			time.Hour, 0, 2 * time.Hour, !spread, 0, 36 * time.Minute, 59 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			refreshAfter, usableFor := refresh.Policy{}.Schedule(tt.lifetime, tt.refreshIn, tt.left, tt.spread, tt.draw)
			// The draws are floating-point numbers.
			if got := refreshAfter.Round(time.Microsecond); got != tt.refreshAfter {
				t.Errorf("refresh after: got %v, want %v", got, tt.refreshAfter)
			}
			if usableFor != tt.usableFor {
				t.Errorf("usable for: got %v, want %v", usableFor, tt.usableFor)
			}
		})
	}
}

func TestRetryInBacksOffAndFollowsRetryAfter(t *testing.T) {
	const none = 0
	for _, tt := range []struct {
		failures         int
		retryAfter, left time.Duration
		draw             float64
		want             time.Duration
	}{
		{1, 0, none, 0, time.Second},
		{1, 0, none, 1, 2 * time.Second},
		{2, 0, none, 1, 4 * time.Second},
		{3, 0, none, 0.5, 4500 * time.Millisecond},
		{6, 0, none, 1, 60 * time.Second},
		{100, 0, none, 1, 60 * time.Second},
		{5000, 0, none, 0, time.Second},
		// The random wait is added to Retry-After.
		{1, time.Minute, none, 0, 61 * time.Second},
		{1, time.Minute, none, 1, 62 * time.Second},
		{100, 10 * time.Second, none, 1, 70 * time.Second},
		// With a usable token: spread over nine tenths of its remaining time.
		{1, 0, 20 * time.Minute, 0, time.Second},
		{1, 0, 20 * time.Minute, 0.5, 9*time.Minute + 500*time.Millisecond},
		{1, 0, 20 * time.Minute, 1, 18 * time.Minute},
		{9, 0, 20 * time.Minute, 1, 18 * time.Minute},
		{1, 0, 10 * time.Hour, 1, 30 * time.Minute},
		{1, 0, 20 * time.Second, 1, 18 * time.Second},
		{9, 0, time.Second, 1, time.Second},
		{1, 8 * time.Minute, 20 * time.Minute, 0, 8*time.Minute + time.Second},
		{1, 8 * time.Minute, 20 * time.Minute, 1, 18 * time.Minute},
		{1, time.Hour, 10 * time.Hour, 1, 90 * time.Minute},
		// A token that expires before Retry-After does not change the wait.
		{2, 19 * time.Minute, 20 * time.Minute, 1, 19*time.Minute + 4*time.Second},
	} {
		if got := (refresh.Policy{}).RetryIn(tt.failures, tt.retryAfter, tt.left, tt.draw); got != tt.want {
			t.Errorf("%+v: got %v, want %v", tt, got, tt.want)
		}
	}
}

func TestInvalidFieldsMeanDefaults(t *testing.T) {
	nan := math.NaN()
	for _, p := range []refresh.Policy{
		{EarlyFrom: nan, EarlyTo: nan}, {EarlyFrom: 3, EarlyTo: -1}, {Margin: -1}, {SpreadFrom: nan}, {SpreadFrom: 0.65},
		{RetryMin: math.MaxInt64, RetryMax: math.MaxInt64}, {RetryMin: -1, RetryMax: -1},
		{BackgroundMax: -1}, {BackgroundMax: math.MaxInt64},
	} {
		after, usable := p.Schedule(time.Hour, 0, 0, false, 0)
		if after != 36*time.Minute || usable != 59*time.Minute {
			t.Errorf("%+v: got refresh after %v and usable for %v, want 36m and 59m", p, after, usable)
		}
		if after, _ = p.Schedule(time.Hour, 0, 0, true, 0); after != 6*time.Minute {
			t.Errorf("%+v with spread: got refresh after %v, want 6m", p, after)
		}
		if got := p.RetryIn(100, 0, 0, 1); got != time.Minute {
			t.Errorf("%+v: got retry in %v, want 1m", p, got)
		}
		if got := p.RetryIn(1, 0, time.Hour, 1); got != 30*time.Minute {
			t.Errorf("%+v with a usable token: got retry in %v, want 30m", p, got)
		}
	}
}
