package refresh_test

import (
	"testing"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

func TestRequestIsRepeatedTwice(t *testing.T) {
	for _, tt := range []struct {
		retries     int
		retryAfter  time.Duration
		least, most time.Duration // both 0 if it is not repeated
	}{
		{0, 0, 100 * time.Millisecond, time.Second},
		{1, 0, 100 * time.Millisecond, time.Second},
		{2, 0, 0, 0},
		{1, 2 * time.Second, 2100 * time.Millisecond, 3 * time.Second},
		{0, 2*time.Second + 1, 0, 0},
	} {
		least, ok := refresh.WaitingRetryIn(tt.retries, tt.retryAfter, 0)
		most, _ := refresh.WaitingRetryIn(tt.retries, tt.retryAfter, 1)
		if least != tt.least || most != tt.most || ok != (tt.most > 0) {
			t.Errorf("%d retries, Retry-After %v: got a wait of %v to %v, %t; want %v to %v", tt.retries, tt.retryAfter, least,
				most, ok, tt.least, tt.most)
		}
	}
}

func TestBudgetOfRetries(t *testing.T) {
	now := time.Unix(0, 0)
	b := refresh.NewBudget(now)
	take := func(want int) {
		t.Helper()
		n := 0
		for b.Take(now) {
			n++
		}
		if n != want {
			t.Errorf("got %d retries, want %d", n, want)
		}
	}
	take(10)
	b.Return(now)
	take(1)
	for range 10 {
		b.Add(now)
	}
	take(1)
	now = now.Add(time.Hour)
	take(10)
	for range 10_000 {
		b.Add(now)
	}
	take(100)
}
