package retry

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBudgetIsRefilledByRequestsAndByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		take := func(want int) {
			t.Helper()
			n := 0
			for b.take() {
				n++
			}
			if n != want {
				t.Errorf("got %d retries, want %d", n, want)
			}
		}
		take(10)
		for range 99 {
			b.add()
		}
		take(9)
		b.add()
		take(1)
		for range 10_000 {
			b.add()
		}
		take(100)
		time.Sleep(30 * time.Minute)
		take(5)
		time.Sleep(24 * time.Hour)
		take(10)
	})
}
