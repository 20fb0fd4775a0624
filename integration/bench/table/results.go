package main

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// results has the values of the benchmarks by name and unit, one for each round.
type results struct {
	values map[string]map[string][]float64
	config map[string]string // "cpu", "goos", ...
	rounds int
}

var (
	configLine = regexp.MustCompile(`^([a-z]+): (.*)$`)
	procs      = regexp.MustCompile(`-\d+$`)
)

// parse reads the output of benchmarks ("Go Benchmark Data Format" in Go's proposal 14313).
func parse(raw []byte) (*results, error) {
	r := &results{values: map[string]map[string][]float64{}, config: map[string]string{}}
	lines := bufio.NewScanner(bytes.NewReader(raw))
	for lines.Scan() {
		line := lines.Text()
		if m := configLine.FindStringSubmatch(line); m != nil {
			r.config[m[1]] = m[2]
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark") {
			continue
		}
		name := procs.ReplaceAllString(strings.TrimPrefix(fields[0], "Benchmark"), "")
		if r.values[name] == nil {
			r.values[name] = map[string][]float64{}
		}
		for i := 2; i+1 < len(fields); i += 2 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", line, err)
			}
			r.values[name][fields[i+1]] = append(r.values[name][fields[i+1]], v)
		}
	}
	return r, lines.Err()
}

const ns = "ns/op"

// all returns the values of a benchmark, or NaN without any.
func (r *results) all(name, unit string) []float64 {
	if v := r.values[name][unit]; len(v) > 0 {
		return v
	}
	return []float64{math.NaN()}
}

// value returns the median of the rounds.
func (r *results) value(name, unit string) float64 { return median(r.all(name, unit)) }

// fastest returns the time of the fastest round.
func (r *results) fastest(name string) float64 { return slices.Min(r.all(name, ns)) }

// of returns the median over the rounds of f, applied to the values of several benchmarks in a round.
func (r *results) of(f func(v ...float64) float64, names ...string) float64 {
	var values []float64
	for round := range len(r.all(names[0], ns)) {
		args := make([]float64, len(names))
		for i, name := range names {
			v := r.all(name, ns)
			args[i] = math.NaN()
			if round < len(v) {
				args[i] = v[round]
			}
		}
		values = append(values, f(args...))
	}
	return median(values)
}

// ratio returns the median over the rounds of the time of a divided by that of b.
func (r *results) ratio(a, b string) float64 {
	return r.of(func(v ...float64) float64 { return v[0] / v[1] }, a, b)
}

func median(values []float64) float64 {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	if n := len(sorted); n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[len(sorted)/2]
}
