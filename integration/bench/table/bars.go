package main

import (
	"fmt"
	"math"

	"github.com/entratoken/entra/integration/internal/page"
)

// bar is a target.
type bar struct {
	what          string
	value         float64
	measured, bar string // in words
	met           bool
}

// atMost returns a bar with an upper limit.
func atMost(what string, measured, limit float64, unit string) bar {
	digits := 2
	if limit >= 10 || unit == allocations {
		digits = 0
	}
	return bar{what, measured, number(measured, digits) + unit, "at most " + number(limit, digits) + unit,
		measured <= limit}
}

const allocations = " allocations"

// atLeast returns a bar with a lower limit.
func atLeast(what string, measured, limit float64, unit string) bar {
	return bar{what, measured, number(measured, 2) + unit, "at least " + number(limit, 2) + unit, measured >= limit}
}

// bars returns the table of targets. Targets in nanoseconds use the fastest round, in which the machine was least busy.
func (r *results) bars() (string, error) {
	var bars []bar
	add := func(b bar) { bars = append(bars, b) }
	for _, how := range []string{"serial", "parallel"} {
		clock, hash := "Hit/time.Now/"+how, "Hit/sha256/"+how
		add(atMost("hit on a reused source, "+how, r.ratio("Hit/entra/"+how, clock), 1, " x time.Now"))
		add(atMost("the same with 1,000,000 sessions in the cache",
			r.value("Million/hit", "hit-"+how+"-ns")/r.value("Million/hit", "time.Now-"+how+"-ns"), 1, " x time.Now"))
		add(atMost("clientcreds.TokenSource and a hit, "+how, r.fastest("Hit/entra-clientcreds/"+how), 300, " ns"))
		add(atMost("obo.TokenSource and a hit, assertion of 1.5 KB, "+how+", beyond 1.25 x SHA-256",
			r.fastest("Hit/entra-obo/"+how)-1.25*r.fastest(hash), 300, " ns"))
		add(atLeast("the same, compared with MSAL Go", r.ratio("Hit/msal-obo/"+how, "Hit/entra-obo/"+how), 1.7, " x as fast"))
	}
	add(atMost("hit on a reused source", r.value("Hit/entra/serial", "allocs/op"), 0, allocations))
	add(atMost("the same with 1,000,000 sessions in the cache", r.value("Million/hit", "hit-allocs"), 0, allocations))
	add(atMost("clientcreds.TokenSource and a hit", r.value("Hit/entra-clientcreds/serial", "allocs/op"), 2, allocations))
	add(atMost("obo.TokenSource and a hit", r.value("Hit/entra-obo/serial", "allocs/op"), 3, allocations))
	for _, goroutines := range []int{2, 8, 64} {
		add(atMost(fmt.Sprintf("lookups of many keys by %d goroutines", goroutines),
			r.ratio(fmt.Sprintf("Lookup/goroutines=%d", goroutines), "Lookup/goroutines=1"), 1, " x the time of one"))
	}
	exchange := func(v ...float64) float64 { return (v[0] - v[2]) / (v[1] - v[2]) }
	for _, how := range []string{"serial", "parallel"} {
		add(atMost("an exchange, beyond the wire, "+how,
			r.of(exchange, "Exchange/entra/"+how, "Exchange/msal/"+how, "Exchange/assertion/"+how), 1.8,
			" x a reused MSAL Go client"))
	}
	add(atMost("an on-behalf-of session, beyond its token", r.value("Sessions", "B/session-beyond-token"), 600, " bytes"))
	add(atMost("the same, a million in the cache", r.value("Million/memory", "B/session-beyond-token"), 600, " bytes"))
	add(atMost("live heap of a million of them", r.value("Million/memory", "live-GB"), 2.3, " GB"))
	for _, size := range []string{"10000", "100000"} {
		add(atMost("an insert that evicts one of "+thousands(size)+" sessions", r.fastest("Insert/size="+size+"/evicting"),
			2000, " ns"))
	}

	rows := [][]string{{"measure", "measured", "bar", ""}}
	missed := 0
	for _, b := range bars {
		verdict := "met"
		if !b.met {
			verdict = "**missed**"
			missed++
		}
		if math.IsNaN(b.value) {
			return "", fmt.Errorf("%s was not measured", b.what)
		}
		rows = append(rows, []string{b.what, b.measured, b.bar, verdict})
	}
	return fmt.Sprintf("%d of %d bars are met.\n\n%s", len(bars)-missed, len(bars), page.Table(rows)), nil
}

func number(x float64, digits int) string {
	if math.IsNaN(x) {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, x)
}

func thousands(digits string) string {
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
