package main

import (
	"bufio"
	"context"
	"flag"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

var update = flag.Bool("update", false, "write the metrics of this run to docs/observability.md")

const docs = "../../../../docs/"

// scrape returns the metrics after one round of each kind. The same series exist in each run.
func scrape(t *testing.T) (metrics string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, err := newCompany()
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := c.once(t.Context(), &out); err != nil {
			t.Fatal(err)
		}
		metrics = out.String()
	})
	return metrics
}

// Values and the numbers in them differ from run to run.
var value = regexp.MustCompile(`(?m)^([^#].*) [^ ]+$`)

func mask(metrics string) string { return value.ReplaceAllString(metrics, "$1 N") }

// abridge leaves out the buckets of all histograms but one, as docs/observability.md does.
func abridge(metrics string) string {
	lines := slices.DeleteFunc(strings.SplitAfter(metrics, "\n"), func(line string) bool {
		return strings.Contains(line, "_bucket") && !strings.HasPrefix(line, "entra_verify_key_fetch_")
	})
	return strings.Join(lines, "")
}

// The scrape in the documentation has the names, types, help texts and labels of a real one.
func TestDocumentedScrape(t *testing.T) {
	page, err := os.ReadFile(docs + "observability.md")
	if err != nil {
		t.Fatal(err)
	}
	got := abridge(scrape(t))
	before, rest, _ := strings.Cut(string(page), "```text\n")
	block, after, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("docs/observability.md does not have a text block")
	}
	if *update {
		page := before + "```text\n" + got + "```\n" + after
		if err := os.WriteFile(docs+"observability.md", []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if mask(block) != mask(got) {
		t.Errorf("docs/observability.md differs from the metrics; run this test with -update. Got\n%s", got)
	}
}

// The program serves its metrics on a loopback port until it is interrupted.
func TestServesMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, w, "127.0.0.1:0", false) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get(strings.TrimSpace(strings.TrimPrefix(line, "Metrics: ")))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), "\nentra_cache_sessions ") {
		t.Errorf("got %v and %d bytes, want metrics", err, len(body))
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("got %v after the interrupt, want nil", err)
	}
}
