package main

import (
	"context"
	"encoding/json"
	"fmt"
	"html"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const (
	scrapeInterval = 30 * time.Second
	rateInterval   = "2m" // for $__rate_interval: four scrapes, as in Grafana
)

// kindOfRound returns the kind of the n-th round of a recording. In some of them, the store fails, Entra throttles, or
// Entra does not respond to sign-ins.
func kindOfRound(n int) int {
	switch minute := n / 2; {
	case 40 <= minute && minute < 47:
		return 2
	case 80 <= minute && minute < 85:
		return 3
	case 120 <= minute && minute < 130:
		return 5
	case n%11 == 4:
		return 4
	case n%13 == 1:
		return 1
	case n%17 == 6:
		return 6
	case n%19 == 7:
		return 7
	case n%23 == 8:
		return 8
	}
	return 9 * (n % 2) // neither has a failure; their users differ
}

// record runs the example for a number of rounds. It returns the metrics in OpenMetrics format; their times end now.
func record(t *testing.T, n int) string {
	t.Helper()
	first := time.Now().Add(-time.Duration(n) * scrapeInterval)
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		c, err := newCompany()
		if err != nil {
			t.Fatal(err)
		}
		c.pause = scrapeInterval
		started := time.Now()
		for i := range n {
			if err := c.round(t.Context(), kindOfRound(i)); err != nil {
				t.Fatal(err)
			}
			at := float64(first.Add(time.Since(started)).UnixMilli()) / 1000
			for line := range strings.Lines(c.scrape()) {
				if !strings.HasPrefix(line, "#") {
					fmt.Fprintf(&out, "%s %.3f\n", strings.TrimSuffix(line, "\n"), at)
				}
			}
		}
	})
	return out.String() + "# EOF\n"
}

// startPrometheus starts a Prometheus server that has the recorded metrics, and returns its address.
func startPrometheus(t *testing.T, metrics string) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	data := filepath.Join(dir, "data")
	blocks := exec.CommandContext(t.Context(), "promtool", "tsdb", "create-blocks-from", "openmetrics",
		write("metrics", metrics), data)
	if out, err := blocks.CombinedOutput(); err != nil {
		t.Fatalf("promtool: %v\n%s\nrun integration/install.sh if it is not installed", err, out)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	server := exec.CommandContext(ctx, "prometheus", "--config.file", write("prometheus.yml", "global: {}\n"),
		"--storage.tsdb.path", data, "--web.listen-address", addr)
	var log strings.Builder
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		_ = server.Wait() // killed
	})
	for range 600 {
		resp, err := http.Get("http://" + addr + "/-/ready")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return addr
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("Prometheus is not ready after a minute")
	return ""
}

// A line is one series of a panel.
type line struct {
	name   string
	points [][2]float64 // time and value
}

// query returns the series of an expression between two times.
func query(t *testing.T, addr, expr, legend string, from, to time.Time) (lines []line) {
	t.Helper()
	params := url.Values{
		"query": {strings.ReplaceAll(expr, "$__rate_interval", rateInterval)},
		"start": {strconv.FormatInt(from.Unix(), 10)}, "end": {strconv.FormatInt(to.Unix(), 10)}, "step": {"60"},
	}
	resp, err := http.Get("http://" + addr + "/api/v1/query_range?" + params.Encode())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var r struct {
		Error string
		Data  struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&r); err != nil || r.Error != "" {
		t.Errorf("%s: got %v, %s", expr, err, r.Error)
	}
	for _, series := range r.Data.Result {
		l := line{name: legend}
		for _, label := range []string{"entra_flow", "error_type", "entra_cache_result", "entra_store_operation",
			"entra_signin_outcome", "entra_credential_name", "entra_credential_kind", "entra_token_name"} {
			l.name = strings.ReplaceAll(l.name, "{{"+label+"}}", series.Metric[label])
		}
		for _, v := range series.Values {
			value, err := strconv.ParseFloat(v[1].(string), 64)
			if err == nil && !math.IsNaN(value) {
				l.points = append(l.points, [2]float64{v[0].(float64), value})
			}
		}
		if l.name = strings.TrimSpace(l.name); l.name == "" {
			l.name = "success"
		}
		if len(l.points) > 0 {
			lines = append(lines, l)
		}
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.name, b.name) })
	return lines
}

// Prometheus accepts the query of each panel. With -update, the panels are drawn for docs/observability.md.
func TestDashboardQueriesAreValid(t *testing.T) {
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", rateInterval)
			rules = append(rules, rule{fmt.Sprintf("panel:%d", len(rules)), expr})
		}
	}
	group := map[string]any{"name": "dashboard", "rules": rules}
	text, err := json.Marshal(map[string]any{"groups": []any{group}}) // YAML includes JSON
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", path).CombinedOutput()
	if want := fmt.Sprintf("SUCCESS: %d rules found", len(rules)); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("promtool: got %v\n%s\nwant %s", err, out, want)
	}
	if *update {
		draw(t)
	}
}

// draw writes docs/observability/dashboard.svg. A real Prometheus computes the panels from a recording of the example.
// Its blocks need half a gigabyte of the disk for a moment. A panel without data fails the test.
func draw(t *testing.T) {
	t.Helper()
	const n = 360
	addr := startPrometheus(t, record(t, n))
	to := time.Now()
	from := to.Add(-time.Duration(n) * scrapeInterval)
	var drawn strings.Builder
	height := 0
	for _, p := range readDashboard(t).Panels {
		x, y, w, h := p.GridPos.X*unitX, p.GridPos.Y*unitY, p.GridPos.W*unitX, p.GridPos.H*unitY
		height = max(height, y+h)
		if p.Type == "row" {
			fmt.Fprintf(&drawn, "<text class='row' x='%d' y='%d'>%s</text>\n", x+6, y+17, p.Title)
			continue
		}
		var lines []line
		for _, target := range p.Targets {
			found := query(t, addr, target.Expr, target.LegendFormat, from, to)
			if len(found) == 0 {
				t.Errorf("panel %q has no data for %s", p.Title, target.Expr)
			}
			lines = append(lines, found...)
		}
		fmt.Fprintf(&drawn, "<g transform='translate(%d %d)'>\n", x+4, y+4)
		drawPanel(&drawn, p.Type, p.Title, p.FieldConfig.Defaults.Unit, lines, from, to, w-8, h-8)
		drawn.WriteString("</g>\n")
	}
	svg := fmt.Sprintf(head, 24*unitX, height+4, 24*unitX, height+4) + drawn.String() + "</svg>\n"
	if err := os.WriteFile(docs+"observability/dashboard.svg", []byte(svg), 0o644); err != nil {
		t.Fatal(err)
	}
}

// The size of a unit of Grafana's grid, in pixels.
const unitX, unitY = 50, 24

const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d">
<style>
svg{background:#f4f5f5;font:12px sans-serif}
rect{fill:#fff;stroke:#d8d9da}
text{fill:#24292e}
.row{font-size:14px;font-weight:bold}.title{font-weight:bold}.axis{fill:#6e7781;font-size:10px}
.stat{font-size:34px;text-anchor:middle;fill:#1a7f37}
path{fill:none;stroke-width:1.5}
line{stroke:#e7e8e9}
</style>
`

var colors = []string{"#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#17becf", "#bcbd22"}

// drawPanel draws a panel of w by h pixels.
func drawPanel(out *strings.Builder, kind, title, unit string, lines []line, from, to time.Time, w, h int) {
	fmt.Fprintf(out, "<rect width='%d' height='%d' rx='3'/><text class='title' x='10' y='19'>%s</text>\n",
		w, h, html.EscapeString(title))
	if kind == "stat" {
		for _, l := range lines {
			last := l.points[len(l.points)-1][1]
			fmt.Fprintf(out, "<text class='stat' x='%d' y='%d'>%s</text>\n", w/2, h/2+18, format(last, unit))
		}
		return
	}
	top, longest := 0.0, 10
	for _, l := range lines {
		longest = max(longest, len(l.name))
		for _, p := range l.points {
			top = max(top, p[1])
		}
	}
	if top == 0 {
		top = 1
	}
	const left, right, above = 72, 24, 32
	columns := max(1, (w-20)/(6*longest+12))
	below := 24 + 15*((len(lines)+columns-1)/columns)
	plotW, plotH := float64(w-left-right), float64(h-above-below)
	for i := range 4 {
		y := above + plotH*float64(i)/3
		fmt.Fprintf(out, "<line x1='%d' x2='%d' y1='%.1f' y2='%.1f'/><text class='axis' x='4' y='%.1f'>%s</text>\n",
			left, w-right, y, y, y+3, format(top*float64(3-i)/3, unit))
	}
	span := to.Sub(from).Seconds()
	for hour := 0.0; hour <= span; hour += span / 3 {
		fmt.Fprintf(out, "<text class='axis' x='%.1f' y='%.1f'>%d min</text>\n",
			left+plotW*hour/span-14, above+plotH+13, int(hour)/60)
	}
	for i, l := range lines {
		var path strings.Builder
		before := 0.0
		for _, p := range l.points {
			command := "L"
			if p[0]-before > 90 { // a gap
				command = "M"
			}
			before = p[0]
			x := left + plotW*(p[0]-float64(from.Unix()))/span
			fmt.Fprintf(&path, "%s%.1f %.1f", command, x, above+plotH*(1-p[1]/top))
		}
		color := colors[i%len(colors)]
		x, y := 12+i%columns*((w-20)/columns), h-below+34+15*(i/columns)-4
		fmt.Fprintf(out, "<path d='%s' stroke='%s'/><text class='axis' x='%d' y='%d' style='fill:%s'>%s</text>\n",
			path.String(), color, x, y, color, html.EscapeString(l.name))
	}
}

// format returns a value in a unit of Grafana.
func format(v float64, unit string) string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', 3, 64) }
	switch {
	case unit == "percentunit":
		return number(100*v) + " %"
	case unit == "s" && v >= 2*86400:
		return number(v/86400) + " days"
	case unit == "s" && v >= 120:
		return number(v/60) + " min"
	case unit == "s" && v > 0 && v < 1:
		return number(v*1000) + " ms"
	case unit == "s":
		return number(v) + " s"
	case unit == "reqps":
		return number(v) + " req/s"
	case unit == "ops":
		return number(v) + " ops/s"
	}
	return number(v)
}
