// Package bench measures this project beside the libraries that do the same: the same work, in one
// process, against one fake endpoint. All of it is in the tests. Benchmarks measure time, memory
// and allocations; the other tests count what each library does, such as requests, and record it as
// an attribute of the test.
//
// `make bench` runs all of it and writes docs/benchmarks.md, with the command in bench/table.
package bench
