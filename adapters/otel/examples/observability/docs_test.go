package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// names returns the metrics and labels in a scrape of the example. The value is true for metrics.
func names(t *testing.T) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	for line := range strings.Lines(scrape(t)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, labels, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		all[name] = true
		for _, m := range regexp.MustCompile(`([a-z_]+)="`).FindAllStringSubmatch(labels, -1) {
			all[m[1]] = false
		}
	}
	return all
}

// identifier is the name of a metric or label of this project in a query.
var identifier = regexp.MustCompile(`\bentra_[a-z_]+`)

// checkNames requires that a query has only names of the scrape, and at least one metric.
func checkNames(t *testing.T, where, query string, known map[string]bool) {
	t.Helper()
	quoted := regexp.MustCompile(`"[^"]*"`)
	found := identifier.FindAllString(quoted.ReplaceAllString(query, ""), -1)
	if len(found) == 0 {
		t.Errorf("%s: the query has no metric: %s", where, query)
	}
	for _, name := range found {
		if _, ok := known[name]; !ok {
			t.Errorf("%s: %s is not in the scrape: %s", where, name, query)
		}
	}
}

type dashboard struct {
	Panels []struct {
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		FieldConfig              struct{ Defaults struct{ Unit string } }
		Targets                  []struct{ Expr, LegendFormat string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile(docs + "observability/dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// Each metric of the dashboard exists, each panel is described, and each metric that the example exports has a panel.
func TestDashboardHasMetricsOfScrape(t *testing.T) {
	known := names(t)
	var queries []string
	for _, p := range readDashboard(t).Panels {
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q lacks a title, a description, a unit or a query", p.Title)
		}
		for _, target := range p.Targets {
			checkNames(t, p.Title, target.Expr, known)
			queries = append(queries, target.Expr)
			for _, m := range regexp.MustCompile(`{{([a-z_]+)}}`).FindAllStringSubmatch(target.LegendFormat, -1) {
				if _, ok := known[m[1]]; !ok {
					t.Errorf("%s: the legend has %s, which is not in the scrape", p.Title, m[1])
				}
			}
		}
	}
	all := strings.Join(queries, "\n")
	for name, isMetric := range known {
		base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "_count"), "_sum"), "_bucket")
		if isMetric && !strings.Contains(all, base) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// Each metric of an alert exists, and each alert says what happened, what to do and how urgent it is.
func TestAlertsHaveMetricsOfScrape(t *testing.T) {
	known := names(t)
	text, err := os.ReadFile(docs + "observability/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	alerts := strings.Split(string(text), "- alert: ")[1:]
	if len(alerts) != 13 {
		t.Errorf("got %d alerts, want 13", len(alerts))
	}
	for _, alert := range alerts {
		name, rest, _ := strings.Cut(alert, "\n")
		expr, annotations, _ := strings.Cut(rest, "labels:")
		checkNames(t, name, expr, known)
		for _, part := range []string{"severity: ", "summary: ", "action: "} {
			if strings.Count(annotations, part) != 1 {
				t.Errorf("%s has no %s", name, part)
			}
		}
	}
}

// Prometheus accepts the rules, and each of them fires for the series of alerts_test.yaml that should fire it, with the
// annotations there, and for no other. Each alert has a test.
func TestAlertsFire(t *testing.T) {
	tests, err := os.ReadFile("alerts_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(docs + "observability/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(string(rules), -1) {
		cases := regexp.MustCompile(`alertname: `+m[1]+`\n`).FindAllIndex(tests, -1)
		if len(cases) < 2 {
			t.Errorf("%s: got %d cases in alerts_test.yaml, want one that fires it and one that does not", m[1], len(cases))
		}
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed; run integration/install.sh")
	}
	// The names of rule files are relative to the tests.
	dir := t.TempDir()
	for name, content := range map[string][]byte{"alerts.yaml": rules, "alerts_test.yaml": tests} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), promtool, "test", "rules", filepath.Join(dir, "alerts_test.yaml"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}

// Prometheus accepts the scrape. promtool reports, for example, names without units.
func TestScrapeIsValid(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Fatal("promtool is not installed; run integration/install.sh")
	}
	cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	cmd.Stdin = strings.NewReader(scrape(t))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s", err, out)
	}
}
