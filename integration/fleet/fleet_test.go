package fleet_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/entratoken/entra/integration/fleet"
	"github.com/entratoken/entra/internal/refresh"
)

// After two hours, the requests of processes that started at once are evenly spread, and no call ever waits.
func TestStartIsSpreadAfterTwoHours(t *testing.T) {
	t.Parallel()
	for _, w := range []fleet.World{fleet.Together(10_000), fleet.Rolling(10_000)} {
		w.For = 14 * time.Hour
		r := fleet.Run(w, fleet.Of(refresh.Policy{}))
		if got := r.PeakToMean(fleet.Settled, 10*time.Minute); got > 1.2 {
			t.Errorf("started over %v: got %.2f times the mean in ten minutes, want at most 1.2", w.StartOver, got)
		}
		if blocked, failed := fleet.Sum(r.Blocked, 0, w.For), fleet.Sum(r.Failed, 0, w.For); blocked+failed > 0 {
			t.Errorf("started over %v: got %d calls that waited and %d that failed, want 0", w.StartOver, blocked, failed)
		}
		if got := r.PerLife(); got > 1.65 {
			t.Errorf("started over %v: got %.2f requests per token lifetime, want at most 1.65", w.StartOver, got)
		}
	}
}

// In an outage of 15 minutes, no call waits or fails. The rate of requests stays low during the outage and after it.
func TestOutageAffectsNoCall(t *testing.T) {
	t.Parallel()
	const lasting = 15 * time.Minute
	got := fleet.Run(fleet.Outage(10_000, lasting), fleet.Of(refresh.Policy{})).Incident(fleet.Trouble,
		fleet.Trouble+lasting)
	if got.Blocked != 0 || got.Failed != 0 || got.Noticed != 0 {
		t.Errorf("got %d calls that waited and %d that failed, in %.2f %% of the processes; want 0", got.Blocked, got.Failed,
			100*got.Noticed)
	}
	if got.During > 2 || got.Highest > 2.5 || got.Echo > 1.4 {
		t.Errorf("got %.2f times the usual requests during the outage, %.2f in a minute after it, %.2f in the next round; "+
			"want at most 2, 2.5, 1.4", got.During, got.Highest, got.Echo)
	}
}

// The same seed gives the same run.
func TestRunsAreDeterministic(t *testing.T) {
	t.Parallel()
	w := fleet.Storm(300)
	for _, rule := range []fleet.Rule{fleet.Of(refresh.Policy{}), fleet.XOAuth2(), fleet.FiveMinutes()} {
		if a, b := fleet.Run(w, rule), fleet.Run(w, rule); !reflect.DeepEqual(a, b) {
			t.Errorf("%s: got different results, want equal ones", rule.Name)
		}
	}
}

// With one process, lifetimes of exactly an hour and calls almost without pauses, the results are known.
func TestOneProcess(t *testing.T) {
	t.Parallel()
	one := fleet.World{
		Processes: 1, For: 10*time.Hour + 30*time.Minute, ReadEvery: time.Millisecond,
		LifeMin: time.Hour, LifeMax: time.Hour, Latency: time.Second, Seed: 1,
	}
	for _, test := range []struct {
		name               string
		rule               fleet.Rule
		change             func(*fleet.World)
		requests, rejected int
		waited, failed     bool
	}{
		// A new token every 3,590 s plus the second of its request.
		{"x/oauth2", fleet.XOAuth2(), nil, 11, 0, true, false},
		// A new token every 30 minutes and two seconds of requests.
		{"half-life", fleet.HalfLife(), nil, 21, 0, false, false},
		// Down from 1:10 to 1:20, while the token of 1:00 is valid. Refreshes are at 0:30, 1:00, 1:30.
		{"half-life, an outage between two refreshes", fleet.HalfLife(), func(w *fleet.World) {
			w.For, w.DownFrom, w.DownFor = 100*time.Minute, 70*time.Minute, 10*time.Minute
		}, 4, 0, false, false},
		// Down from 0:50 to 1:10. The token expires at 0:59:50. Then every second has an error.
		{"x/oauth2, an outage", fleet.XOAuth2(), func(w *fleet.World) {
			w.For, w.DownFrom, w.DownFor = 80*time.Minute, 50*time.Minute, 20*time.Minute
		}, 1 + 609 + 1, 609, true, true},
	} {
		w := one
		if test.change != nil {
			test.change(&w)
		}
		r := fleet.Run(w, test.rule)
		requests, rejected := fleet.Sum(r.Requests, 0, w.For), fleet.Sum(r.Rejected, 0, w.For)
		// The pauses between calls are short, but not zero.
		if diff := requests - test.requests; diff < -2 || diff > 2 || requests-rejected != test.requests-test.rejected {
			t.Errorf("%s: got %d requests, %d rejected; want %d, %d", test.name, requests, rejected, test.requests,
				test.rejected)
		}
		if waited := fleet.Sum(r.Blocked, 0, w.For) > 0; waited != test.waited {
			t.Errorf("%s: calls waited: got %t, want %t", test.name, waited, test.waited)
		}
		if failed := fleet.Sum(r.Failed, 0, w.For) > 0; failed != test.failed {
			t.Errorf("%s: calls failed: got %t, want %t", test.name, failed, test.failed)
		}
	}
	// An outage longer than the remaining lifetime affects the one process.
	w := one
	w.DownFrom, w.DownFor = 2*time.Hour, time.Hour
	if r := fleet.Run(w, fleet.HalfLife()); r.Noticed != 1 {
		t.Errorf("processes with failed calls in an hour of outage: got %d, want 1", r.Noticed)
	}
}

// A throttled endpoint issues no more tokens than its capacity, and all processes get a token.
func TestThrottledEndpointServesAll(t *testing.T) {
	t.Parallel()
	w := fleet.ColdStart(1000)
	r := fleet.Run(w, fleet.Of(refresh.Policy{}))
	if got := r.Ready(); got < 16 || got > 35 {
		t.Errorf("1000 processes at 60 tokens a minute: got ready after %v minutes, want 16 to 35", got)
	}
	for minute := range r.Requests {
		if got := r.Requests[minute] - r.Rejected[minute]; got > w.Capacity+2 {
			t.Errorf("minute %d: got %d tokens, want at most %d", minute, got, w.Capacity+2)
		}
	}
}

// Retries multiply the requests of a cold start by less than two, and less than three in its first minute. They add
// nothing if the endpoint requests a long pause, and less than a third in two hours in which every request fails.
func TestRetriesMultiplyRequestsLittle(t *testing.T) {
	t.Parallel()
	rule := fleet.Of(refresh.Policy{})
	for _, test := range []struct {
		name               string
		world              fleet.World
		least, most, start float64 // of the factor, and its bound in the first minute
	}{
		{"429, Retry-After: 1", fleet.ThrottledStart(500, time.Second), 1.2, 2, 3},
		{"429, Retry-After: 60", fleet.ThrottledStart(500, time.Minute), 0.97, 1.03, 1.01},
		{"503 without Retry-After", fleet.ThrottledStart(500, 0), 1.2, 2, 3},
		{"503 for every request", fleet.DeadStart(500), 1.1, 1.33, 3},
	} {
		with, without := fleet.Run(test.world, fleet.Repeating(rule)), fleet.Run(test.world, rule)
		total, start := with.Factor(without, 0, test.world.For), with.Factor(without, 0, time.Minute)
		if total < test.least || total > test.most || start > test.start {
			t.Errorf("%s: got %.2f times the requests, %.2f in the first minute; want %.2f to %.2f, at most %.2f", test.name,
				total, start, test.least, test.most, test.start)
		}
	}
}

// Processes that share a token send the requests of one process. If the store fails when the token is due, each process
// sends its own, spread over the remaining lifetime, and few of them write their tokens when the store is back.
func TestSharedTokenNeedsFewRequests(t *testing.T) {
	t.Parallel()
	const processes = 1000
	w := fleet.Together(processes)
	w.For = 24 * time.Hour
	r := fleet.RunShared(w, fleet.Store{})
	if n := fleet.Sum(r.Requests, 0, w.For); n < 24 || n > 40 {
		t.Errorf("got %d requests in a day, want 24 to 40", n)
	}
	if !reflect.DeepEqual(r, fleet.RunShared(w, fleet.Store{})) {
		t.Error("got different results with the same seed, want equal ones")
	}
	calls := 0
	for _, n := range r.StoreCalls[60:] {
		calls += n
	}
	if perLife := float64(calls) / float64(fleet.Sum(r.Requests, time.Minute, w.For)) / processes; perLife > 3 {
		t.Errorf("got %.2f calls of the store per token life and process, want at most 3", perLife)
	}
	// The outage is longer than any token lives.
	w = fleet.Outage(processes, 0)
	store := fleet.StoreOutage(2 * time.Hour)
	end := fleet.Trouble + store.DownFor
	r = fleet.RunShared(w, store)
	store.Hasty = true
	hasty := fleet.RunShared(w, store)
	busiest := func(r fleet.SharedResult) int {
		return int(slices.Max(fleet.Windows(r.Requests, fleet.Trouble, end, time.Minute)))
	}
	if got, most := busiest(r), processes/8; got > most {
		t.Errorf("got %d requests in a minute of the outage, want at most %d", got, most)
	}
	if got, least := busiest(hasty), processes/2; got < least {
		t.Errorf("hasty: got %d requests in a minute of the outage, want at least %d", got, least)
	}
	if got, other := r.BusiestSecond(end, end+time.Minute), hasty.BusiestSecond(end, end+time.Minute); got > 4*processes ||
		other < 2*got {
		t.Errorf("got %d calls of the store in a second after it, %d if hasty; want at most %d, and more than twice that",
			got, other, 4*processes)
	}
	if fleet.Sum(r.Failed, 0, w.For) > 0 {
		t.Error("a call failed, want none")
	}
}
