package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/entratoken/entra/integration/fleet"
	"github.com/entratoken/entra/integration/internal/page"
	"github.com/entratoken/entra/internal/refresh"
)

func number(x float64, digits int) string {
	if math.IsNaN(x) {
		return "-"
	}
	return strconv.FormatFloat(x, 'f', digits, 64)
}

// thousands formats a number with separators.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func percent(part float64) string {
	if part == 0 {
		return "0"
	}
	return number(100*part, 1) + " %"
}

// blocked returns the number of calls that waited, per process and day.
func blocked(r fleet.Result) string {
	n := fleet.Sum(r.Blocked, 0, r.World.For)
	if n == 0 {
		return "0"
	}
	return number(float64(n)/float64(r.World.Processes)/(r.World.For.Hours()/24), 1)
}

// daysTable has the results of normal days.
func (r results) daysTable() string {
	rows := [][]string{{
		"rule", "requests a minute", "peak to mean, 10 minutes", "1 minute", "1,000 processes: 10 minutes", "1 minute",
		"rolling start: 10 minutes", "requests per life", "calls that waited, per process and day",
	}}
	peak := func(result fleet.Result, width time.Duration) string {
		return number(result.PeakToMean(fleet.Settled, width), 2)
	}
	for _, p := range r {
		rows = append(rows, []string{
			p.name, number(fleet.Mean(p.together.Requests, fleet.Settled, p.together.World.For), 0),
			peak(p.together, 10*time.Minute), peak(p.together, time.Minute),
			peak(p.small, 10*time.Minute), peak(p.small, time.Minute), peak(p.rolling, 10*time.Minute),
			number(p.together.PerLife(), 2), blocked(p.together),
		})
	}
	mean := fleet.Mean(r[0].together.Requests, fleet.Settled, r[0].together.World.For)
	chance := func(mean float64, width time.Duration) string {
		return number(fleet.Chance(mean, int((70*time.Hour).Minutes()), width, 1), 2)
	}
	rows = append(rows, []string{
		"*requests at random moments*", number(mean, 0), chance(mean, 10*time.Minute), chance(mean, time.Minute),
		chance(mean/10, 10*time.Minute), chance(mean/10, time.Minute), chance(mean, 10*time.Minute), "", "",
	})
	return page.Table(rows)
}

func times(x float64) string { return number(x, 1) + " x" }

// outageTable has the results of an outage of 15 minutes.
func (r results) outageTable() string {
	rows := [][]string{{
		"rule", "requests during it", "first minute after", "busiest minute after", "next round, 10 minutes",
		"calls that waited", "calls that failed", "affected processes", "longest outage without a failed call",
	}}
	for _, p := range r {
		longest := fmt.Sprintf("%.0f min", p.longest.Minutes())
		if p.longest == 0 {
			longest = fmt.Sprintf("under %.0f min", step.Minutes())
		}
		i := p.inOutage
		rows = append(rows, []string{
			p.name, times(i.During), times(i.FirstMinute), times(i.Highest), times(i.Echo),
			thousands(i.Blocked), thousands(i.Failed), percent(i.Noticed), longest,
		})
	}
	return page.Table(rows)
}

// stormTable has the results of throttling.
func (r results) stormTable() string {
	rows := [][]string{{
		"rule", "throttled: requests during it", "busiest minute after", "calls that failed", "affected processes",
		"cold start: rejected requests", "all have a token after",
	}}
	for _, p := range r {
		i := p.inStorm
		rows = append(rows, []string{
			p.name, times(i.During), times(i.Highest), thousands(i.Failed), percent(i.Noticed),
			thousands(fleet.Sum(p.cold.Rejected, 0, p.cold.World.For)), number(p.cold.Ready(), 0) + " min",
		})
	}
	return page.Table(rows)
}

// retriesTable has the results of cold starts with and without retries of requests for which calls wait.
func retriesTable() string {
	rows := [][]string{{
		"endpoint", "requests without retries", "with retries", "factor", "factor in the first minute",
		"all have a token without retries after", "with retries after",
	}}
	rule := fleet.Of(refresh.Policy{})
	for _, scenario := range []struct {
		name  string
		world fleet.World
	}{
		{"429 with `Retry-After: 1`", fleet.ThrottledStart(processes, time.Second)},
		{"429 with `Retry-After: 60`", fleet.ThrottledStart(processes, time.Minute)},
		{"503 without `Retry-After`", fleet.ThrottledStart(processes, 0)},
		{"503 for every request", fleet.DeadStart(processes)},
	} {
		with, without := fleet.Run(scenario.world, fleet.Repeating(rule)), fleet.Run(scenario.world, rule)
		total := func(r fleet.Result) string { return thousands(fleet.Sum(r.Requests, 0, r.World.For)) }
		ready := func(r fleet.Result) string {
			if m := r.Ready(); !math.IsNaN(m) {
				return number(m, 0) + " min"
			}
			return "never"
		}
		rows = append(rows, []string{
			scenario.name, total(without), total(with),
			number(with.Factor(without, 0, scenario.world.For), 2), number(with.Factor(without, 0, time.Minute), 2),
			ready(without), ready(with),
		})
	}
	return page.Table(rows)
}

// sharedTable compares processes that have a token each with processes that share one in a store.
func sharedTable() string {
	rows := [][]string{{
		"incident", "each its own: requests", "busiest minute", "affected processes", "shared: requests", "busiest minute",
		"affected processes", "busiest second of the store",
	}}
	day := fleet.Together(processes)
	day.For = 24 * time.Hour
	const after = 3 * time.Hour
	type scenario struct {
		name     string
		world    fleet.World
		store    fleet.Store
		from, to time.Duration
	}
	long := 40 * time.Minute
	outageOf := func(name string, world, store time.Duration) scenario {
		w := fleet.Outage(processes, world)
		return scenario{name, w, fleet.StoreOutage(store), fleet.Trouble, fleet.Trouble + max(world, store) + after}
	}
	hasty := outageOf("store down for 15 minutes, without the rules below", 0, outage)
	hasty.store.Hasty = true
	for _, s := range []scenario{
		{"none: a day after all processes start at once", day, fleet.Store{}, 0, day.For},
		{"start at once, 600 tokens a minute", fleet.ColdStart(processes), fleet.Store{}, 0, 2 * time.Hour},
		outageOf("Entra down for 15 minutes", outage, 0),
		outageOf("Entra down for 40 minutes", long, 0),
		outageOf("store down for 15 minutes", 0, outage),
		hasty,
		outageOf("both down for 15 minutes", outage, outage),
	} {
		own, shared := fleet.Run(s.world, fleet.Of(refresh.Policy{})), fleet.RunShared(s.world, s.store)
		row := []string{s.name}
		for _, r := range []fleet.Result{own, shared.Result} {
			row = append(row, thousands(fleet.Sum(r.Requests, s.from, s.to)),
				thousands(int(slices.Max(fleet.Windows(r.Requests, s.from, s.to, time.Minute)))),
				percent(float64(r.Noticed)/processes))
		}
		rows = append(rows, append(row, thousands(shared.BusiestSecond(s.from, s.to))))
	}
	return page.Table(rows)
}
