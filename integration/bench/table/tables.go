package main

import (
	"bufio"
	"bytes"
	"fmt"
	"runtime"
	"strings"

	"github.com/entratoken/entra/integration/internal/page"
)

// shown has the libraries in the order of the tables.
var shown = []struct{ name, title string }{
	{"time.Now", "`time.Now()` alone"},
	{"entra", "**entra**, a reused source"},
	{"entra-token", "**entra**, the same through `Token()`, which copies"},
	{"aws", "aws `CredentialsCache`"},
	{"x-oauth2", "x/oauth2 `ReuseTokenSource`"},
	{"google", "cloud.google.com/go/auth, cached provider"},
	{"entra-clientcreds", "**entra**, `clientcreds.TokenSource` and a hit"},
	{"msal-1/app", "MSAL Go, client credentials, 1 cached token"},
	{"msal-100/app", "the same, 100 tokens"},
	{"msal-10000/app", "the same, 10,000 tokens"},
	{"azidentity", "azidentity `GetToken`"},
	{"sha256", "SHA-256 of 1.5 KB alone"},
	{"entra-obo", "**entra**, `obo.TokenSource` and a hit, 1.5 KB assertion"},
	{"msal-obo", "MSAL Go, on-behalf-of, the same"},
}

// hits returns the table of calls for a cached token.
func (r *results) hits() string {
	rows := [][]string{{"hit on a warm token", "serial", "x time.Now", "x SHA-256", "parallel", "x time.Now", "x SHA-256",
		"allocations", "bytes"}}
	for _, s := range shown {
		row := []string{s.title}
		for _, how := range []string{"serial", "parallel"} {
			name := "Hit/" + s.name + "/" + how
			row = append(row, nanoseconds(r.value(name, ns)), factor(r.ratio(name, "Hit/time.Now/"+how)),
				factor(r.ratio(name, "Hit/sha256/"+how)))
		}
		name := "Hit/" + s.name + "/serial"
		rows = append(rows, append(row, number(r.value(name, "allocs/op"), 0), number(r.value(name, "B/op"), 0)))
	}
	return page.Table(rows)
}

// work returns the table of work other than hits.
func (r *results) work() string {
	rows := [][]string{{"work", "serial", "parallel", "compared with", "serial", "parallel", "allocations", "bytes"}}
	add := func(title, name, floor, floorTitle string) {
		rows = append(rows, []string{
			title, nanoseconds(r.value(name+"/serial", ns)), nanoseconds(r.value(name+"/parallel", ns)), floorTitle,
			factor(r.ratio(name+"/serial", floor+"/serial")), factor(r.ratio(name+"/parallel", floor+"/parallel")),
			number(r.value(name+"/serial", "allocs/op"), 0), number(r.value(name+"/serial", "B/op"), 0),
		})
	}
	add("MSAL Go, reused: an exchange with an immediate response", "Exchange/msal", "Exchange/msal", "itself")
	add("MSAL Go, a new client each time: the same", "Exchange/msal-new", "Exchange/msal", "MSAL Go, reused")
	add("**entra**: the same, with a new MSAL client", "Exchange/entra", "Exchange/msal", "MSAL Go, reused")
	add("go-oidc: verify a token, read its claims", "Verify/go-oidc", "Verify/go-oidc", "itself")
	add("**entra** `verify`: the same, a new token", "Verify/entra-first", "Verify/go-oidc", "go-oidc")
	add("**entra** `verify`: the same, a known token", "Verify/entra-repeat", "Verify/go-oidc", "go-oidc")
	add("**entra** `verify`: the same, a known token", "Verify/entra-repeat", "Verify/sha256", "its SHA-256")
	add("a signed-in request without sessions: the handler alone", "Request/handler", "Request/scs", "scs")
	add("scs `LoadAndSave`: the same, account and token in the session", "Request/scs", "Request/scs", "itself")
	add("**entra** `signin`: the same, `Handler`, `RequireSignIn` and a token hit", "Request/entra", "Request/scs", "scs")
	single := func(title, name, floor, floorTitle string) {
		rows = append(rows, []string{
			title, nanoseconds(r.value(name, ns)), "", floorTitle, factor(r.ratio(name, floor)), "",
			number(r.value(name, "allocs/op"), 0), number(r.value(name, "B/op"), 0),
		})
	}
	for _, goroutines := range []int{1, 2, 8, 64} {
		single(fmt.Sprintf("**entra**: look up one of 8,192 keys (%d goroutines)", goroutines),
			fmt.Sprintf("Lookup/goroutines=%d", goroutines), "Lookup/goroutines=1", "1 goroutine")
	}
	for _, size := range []string{"10000", "100000"} {
		base := "Insert/size=" + size
		single("**entra**: insert into a full cache of "+thousands(size), base+"/evicting", base+"/replacing",
			"replacing a token")
	}
	memory := "Million/memory"
	return page.Table(rows) + fmt.Sprintf(`
A million on-behalf-of sessions with tokens of 1.5 KB take %.2f GB of live heap. Each session takes %.0f bytes in
addition to its token (%.0f with 20,000 sessions from real exchanges). A garbage collection then takes %.0f ms of CPU
time, and the longest pause was %.0f us.
`, r.value(memory, "live-GB"), r.value(memory, "B/session-beyond-token"), r.value("Sessions", "B/session-beyond-token"),
		r.value(memory, "cpu-ms/gc"), r.value(memory, "max-pause-us"))
}

func nanoseconds(x float64) string {
	if x < 1000 {
		return number(x, 0) + " ns"
	}
	return number(x/1000, 1) + " us"
}

func factor(x float64) string {
	if x >= 100 {
		return number(x, 0)
	}
	return number(x, 2)
}

// counts has the tests whose attributes are in the table of behavior.
var counts = []struct{ test, title string }{
	{"TestColdCallers", "100 callers find no token: requests"},
	{"TestTwentyTenants", "20 tenants at once, requests take 100 ms: milliseconds until all have a token"},
	{"TestCallerThatRefreshes", "a refresh is due and takes 100 ms: milliseconds that its caller waits"},
	{"TestOneFailedRefresh", "an early refresh fails: calls that wait for the next attempt"},
	{"TestThrottledRefresh", "early refreshes get status 429, 20 calls: calls that wait / requests"},
	{"TestWaiterLeaves", "a caller waits for the request of another, and its context ends: the caller"},
	{"TestForgottenUsers", "1,000 users call once: users in memory a day later"},
}

var libraries = []string{"entra", "MSAL", "azidentity", "x/oauth2", "Google", "aws"}

// behaviour returns the table of counts. The tests report them as attributes.
func behaviour(output []byte) string {
	cells := map[string]map[string]string{}
	lines := bufio.NewScanner(bytes.NewReader(output))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(strings.TrimSpace(lines.Text()), "=== ATTR")
		if !ok {
			continue
		}
		fields := strings.SplitN(strings.TrimSpace(rest), " ", 3)
		if len(fields) < 3 {
			continue
		}
		test := strings.SplitN(fields[0], "/", 2)[0]
		if cells[test] == nil {
			cells[test] = map[string]string{}
		}
		cells[test][fields[1]] = fields[2]
	}
	rows := [][]string{append([]string{"counted"}, libraries...)}
	for _, c := range counts {
		row := []string{c.title}
		for _, library := range libraries {
			row = append(row, cells[c.test][library])
		}
		rows = append(rows, row)
	}
	return page.Table(rows)
}

// peers has the modules that are compared.
var peers = []string{
	"cloud.google.com/go/auth", "github.com/Azure/azure-sdk-for-go/sdk/azidentity",
	"github.com/AzureAD/microsoft-authentication-library-for-go", "github.com/aws/aws-sdk-go-v2",
	"github.com/coreos/go-oidc/v3", "golang.org/x/oauth2",
}

// machine returns a description of the machine and the versions in the module graph.
func (r *results) machine() (string, error) {
	rows := [][]string{{"module", "version"}}
	var versions bytes.Buffer
	if err := command(&versions, "go", append([]string{"list", "-m", "-f", "{{.Path}} {{.Version}}"},
		peers...)...); err != nil {
		return "", err
	}
	for line := range strings.Lines(versions.String()) {
		rows = append(rows, strings.Fields(line))
	}
	return fmt.Sprintf("Measured on %s, %d CPUs, %s/%s, %s, in %d rounds.\nThe machine also ran "+
		"other programs, so compare the ratios, not the times.\n\n%s",
		r.config["cpu"], runtime.NumCPU(), r.config["goos"], r.config["goarch"], runtime.Version(), r.rounds,
		page.Table(rows)), nil
}
