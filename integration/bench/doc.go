// Package bench compares this project with libraries for the same task. All do the same work, in one process, with one
// fake endpoint. Benchmarks measure time, memory and allocations. The other tests count requests and similar events,
// and record the counts as attributes of the test.
//
// `make bench` runs them and writes docs/benchmarks.md, with the command in bench/table.
package bench
