package fleet_test

import (
	"reflect"
	"testing"
	"time"

	"github.com/entratoken/entra/integration/fleet"
	"github.com/entratoken/entra/internal/refresh"
)

// What the rule is to reach: after two hours nobody can tell that all started at once, and no
// call ever waits.
func TestAfterAStart(t *testing.T) {
	t.Parallel()
	for _, w := range []fleet.World{fleet.Together(10_000), fleet.Rolling(10_000)} {
		w.For = 14 * time.Hour
		r := fleet.Run(w, fleet.Of(refresh.Policy{}))
		if got := r.PeakToMean(fleet.Settled, 10*time.Minute); got > 1.2 {
			t.Errorf("started over %v: the busiest ten minutes have %.2f times the mean, want at most 1.2", w.StartOver, got)
		}
		if blocked, failed := fleet.Sum(r.Blocked, 0, w.For), fleet.Sum(r.Failed, 0, w.For); blocked+failed > 0 {
			t.Errorf("started over %v: %d calls waited, %d failed", w.StartOver, blocked, failed)
		}
		if got := r.PerLife(); got > 1.65 {
			t.Errorf("started over %v: %.2f requests for each life of a token, want at most 1.65", w.StartOver, got)
		}
	}
}

// An outage of a quarter of an hour is seen by nobody, the endpoint isn't hammered while it lasts,
// and there is no herd when it ends.
func TestOutage(t *testing.T) {
	t.Parallel()
	const lasting = 15 * time.Minute
	got := fleet.Run(fleet.Outage(10_000, lasting), fleet.Of(refresh.Policy{})).Incident(fleet.Trouble, fleet.Trouble+lasting)
	if got.Blocked != 0 || got.Failed != 0 || got.Noticed != 0 {
		t.Errorf("%d calls waited and %d failed, in %.2f %% of the processes", got.Blocked, got.Failed, 100*got.Noticed)
	}
	if got.During > 2 || got.Highest > 2.5 || got.Echo > 1.4 {
		t.Errorf("requests in multiples of before: %.2f during, at most %.2f in a minute and %.2f in the next round", got.During, got.Highest, got.Echo)
	}
}

// The same seed is the same run.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	w := fleet.Storm(300)
	for _, rule := range []fleet.Rule{fleet.Of(refresh.Policy{}), fleet.XOAuth2(), fleet.FiveMinutes()} {
		if a, b := fleet.Run(w, rule), fleet.Run(w, rule); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: two runs differ", rule.Name)
		}
	}
}

// One process, lives of exactly an hour, calls that come practically without a pause: everything
// can be counted by hand.
func TestByHand(t *testing.T) {
	t.Parallel()
	one := fleet.World{
		Processes: 1, For: 10*time.Hour + 30*time.Minute, ReadEvery: time.Millisecond,
		LifeMin: time.Hour, LifeMax: time.Hour, Latency: time.Second, Seed: 1,
	}
	for _, test := range []struct {
		name              string
		rule              fleet.Rule
		change            func(*fleet.World)
		requests, refused int
		waited, failed    bool
	}{
		// A new token every 3,590 s and the second of its request.
		{"x/oauth2", fleet.XOAuth2(), nil, 11, 0, true, false},
		// Every 30 minutes and two seconds of requests.
		{"half-life", fleet.HalfLife(), nil, 21, 0, false, false},
		// Down from 1:10 to 1:20, when the token of 1:00 is still good: refreshes at 0:30, 1:00, 1:30.
		{"half-life, an outage between two refreshes", fleet.HalfLife(), func(w *fleet.World) {
			w.For, w.DownFrom, w.DownFor = 100*time.Minute, 70*time.Minute, 10*time.Minute
		}, 4, 0, false, false},
		// Down from 0:50 to 1:10: the token ends at 0:59:50, then every second brings an error.
		{"x/oauth2, an outage", fleet.XOAuth2(), func(w *fleet.World) {
			w.For, w.DownFrom, w.DownFor = 80*time.Minute, 50*time.Minute, 20*time.Minute
		}, 1 + 609 + 1, 609, true, true},
	} {
		w := one
		if test.change != nil {
			test.change(&w)
		}
		r := fleet.Run(w, test.rule)
		requests, refused := fleet.Sum(r.Requests, 0, w.For), fleet.Sum(r.Refused, 0, w.For)
		// The pauses between calls are short, but not nothing.
		if diff := requests - test.requests; diff < -2 || diff > 2 || requests-refused != test.requests-test.refused {
			t.Errorf("%s: %d requests, %d refused; want %d, %d", test.name, requests, refused, test.requests, test.refused)
		}
		if waited := fleet.Sum(r.Blocked, 0, w.For) > 0; waited != test.waited {
			t.Errorf("%s: calls waited: %t", test.name, waited)
		}
		if failed := fleet.Sum(r.Failed, 0, w.For) > 0; failed != test.failed {
			t.Errorf("%s: calls failed: %t", test.name, failed)
		}
	}
	// Never more than one process can notice, and an outage longer than what is left is noticed.
	w := one
	w.DownFrom, w.DownFor = 2*time.Hour, time.Hour
	if r := fleet.Run(w, fleet.HalfLife()); r.Noticed != 1 {
		t.Errorf("%d processes noticed an hour without tokens", r.Noticed)
	}
}

// A throttled endpoint gives what it can and no more, and everybody has a token in the end.
func TestCapacity(t *testing.T) {
	t.Parallel()
	w := fleet.ColdStart(1000)
	r := fleet.Run(w, fleet.Of(refresh.Policy{}))
	if got := r.Ready(); got < 16 || got > 35 {
		t.Errorf("1000 processes at 60 tokens a minute were ready after %v minutes", got)
	}
	for minute := range r.Requests {
		if got := r.Requests[minute] - r.Refused[minute]; got > w.Capacity+2 {
			t.Errorf("%d tokens in minute %d, want at most %d", got, minute, w.Capacity)
		}
	}
}
