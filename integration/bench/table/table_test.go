package main

import (
	"strings"
	"testing"
)

const raw = `goos: linux
cpu: a machine
BenchmarkHit/time.Now/serial-2   	 100	  50.0 ns/op	  0 B/op	  0 allocs/op
BenchmarkHit/entra/serial-2      	 100	 100.0 ns/op	  0 B/op	  0 allocs/op
PASS
cpu: a machine
BenchmarkHit/time.Now/serial-2   	 100	  60.0 ns/op	  0 B/op	  0 allocs/op
BenchmarkHit/entra/serial-2      	 100	  63.0 ns/op	  0 B/op	  0 allocs/op
BenchmarkHit/time.Now/serial-2   	 100	  500 ns/op	  0 B/op	  0 allocs/op
BenchmarkHit/entra/serial-2      	 100	  550 ns/op	  0 B/op	  2 allocs/op
BenchmarkMillion/memory-2        	   1	 2.5 live-GB	  0.5e3 ms/gc
`

// Ratios are computed in each round, and medians over the rounds.
func TestRatiosAreMediansOfRounds(t *testing.T) {
	r, err := parse([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		what      string
		got, want float64
	}{
		{"time", r.value("Hit/entra/serial", ns), 100},
		{"allocations", r.value("Hit/entra/serial", "allocs/op"), 0},
		{"ratio", r.ratio("Hit/entra/serial", "Hit/time.Now/serial"), 1.1},
		{"another unit", r.value("Million/memory", "ms/gc"), 500},
	} {
		if test.got != test.want {
			t.Errorf("%s: got %v, want %v", test.what, test.got, test.want)
		}
	}
	if r.config["cpu"] != "a machine" {
		t.Errorf("got config %v, want the cpu", r.config)
	}
	// A bar without its benchmark is an error.
	if table, err := r.bars(); err == nil {
		t.Errorf("got bars without benchmarks: %s", table)
	}
	if b := atMost("x", 1.16, 1.15, " x"); b.met || b.measured != "1.16 x" {
		t.Errorf("got %+v, want a missed bar of 1.16 x", b)
	}
	if _, err := parse([]byte("BenchmarkX-2 1 much ns/op")); err == nil {
		t.Error("got no error for a malformed number")
	}
}

func TestAttributesFillTheTable(t *testing.T) {
	got := behaviour([]byte("=== RUN   TestColdCallers\n=== ATTR  TestColdCallers entra 1\n=== ATTR  TestColdCallers " +
		"x/oauth2 no context\nPASS\n"))
	const row = "| 100 callers find no token: requests | 1 |  |  | no context |  |  |"
	if !strings.Contains(got, row) {
		t.Errorf("got no row %q in\n%s", row, got)
	}
}
