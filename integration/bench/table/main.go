// Table runs the benchmarks and the tests of package bench and writes the results into benchmarks.md, between marker
// lines.
//
//	go run ./bench/table -docs ../docs -raw ../bin/bench.txt
//
// The benchmarks run in several rounds. Each round runs all libraries in one process, and every ratio is the median of
// the ratios of the rounds, so a temporarily slow machine affects both sides of a ratio. The raw output, for benchstat,
// is saved. With -bench, only the matching benchmarks run, and the page does not change.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/entratoken/entra/integration/internal/page"
)

func main() {
	docs := flag.String("docs", "../docs", "the directory of benchmarks.md")
	raw := flag.String("raw", "../bin/bench.txt", "where the raw output goes")
	rounds := flag.Int("count", 3, "how many rounds")
	bench := flag.String("bench", "", "which benchmarks, as a regular expression (default all, and write the page)")
	flag.Parse()
	if err := run(*docs, *raw, *bench, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// The benchmarks that run in rounds, and those that are long and have rounds of their own.
const inRounds, once = "^Benchmark(Hit|Lookup|Exchange|Insert|Verify|Request)$", "^Benchmark(Sessions|Million)$"

func run(docs, rawFile, only string, rounds int) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary := filepath.Join(dir, "bench.test")
	if err := command(os.Stderr, "go", "test", "-c", "-o", binary, "./bench"); err != nil {
		return err
	}
	var raw bytes.Buffer
	out := io.MultiWriter(os.Stdout, &raw)
	measure := func(pattern, time string) error {
		return command(out, binary, "-test.run=^$", "-test.bench="+pattern, "-test.benchmem", "-test.benchtime="+time,
			"-test.timeout=20m")
	}
	if only != "" {
		for range rounds {
			if err := measure(only, "200ms"); err != nil {
				return err
			}
		}
		return os.WriteFile(rawFile, raw.Bytes(), 0o666)
	}
	var counted bytes.Buffer
	if err := command(&counted, binary, "-test.v", "-test.run=^Test"); err != nil {
		os.Stderr.Write(counted.Bytes())
		return err
	}
	for range rounds {
		if err := measure(inRounds, "100ms"); err != nil {
			return err
		}
	}
	if err := measure(once, "1x"); err != nil {
		return err
	}
	if err := os.WriteFile(rawFile, raw.Bytes(), 0o666); err != nil {
		return err
	}
	r, err := parse(raw.Bytes())
	if err != nil {
		return err
	}
	r.rounds = rounds
	machine, err := r.machine()
	if err != nil {
		return err
	}
	bars, err := r.bars()
	if err != nil {
		return err
	}
	return page.Fill(filepath.Join(docs, "benchmarks.md"), map[string]string{
		"machine":   machine,
		"bars":      bars,
		"hits":      r.hits(),
		"work":      r.work(),
		"behaviour": behaviour(counted.Bytes()),
	})
}

func command(out io.Writer, name string, args ...string) error {
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = out, os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(name), err)
	}
	return nil
}
