package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The processes of the fleet run the test binary.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == processArg {
		os.Exit(processMain())
	}
	os.Exit(m.Run())
}

// Users of a fleet notice neither a dead store nor dead processes nor a deployment, and the report shows it. On a busy
// machine the store seems to fail, so the run may be repeated.
func TestFleet(t *testing.T) {
	for try := 1; ; try++ {
		var out bytes.Buffer
		err := run(t.Context(), options{replicas: 2, users: 6, duration: minDuration, out: &out})
		t.Logf("\n%s", &out)
		busy := strings.Contains(out.String(), "This machine was busy")
		if err != nil && (!busy || try == 5) {
			t.Fatal(err)
		}
		if err == nil {
			expectReport(t, out.String())
			break
		}
	}
	expectNoChildren(t)
}

// expectReport checks the shape of a report whose promises are kept.
func expectReport(t *testing.T, report string) {
	t.Helper()
	const want = `A web app in 2 processes, an API in 2 and a worker share their tokens in Redis.
6 users open pages through a load balancer without sticky sessions. A page shows
data of two APIs. Tokens are refreshed after 4s. "One" is the same app for as many
users in one process that never fails. A token life is one token in one process.

slowest token requests store calls
pages failed sign-ins page fleet one per life
6 users sign in and open pages N 0 6 N ms N N N
Redis killed, empty after 2s N 0 0 N ms N N N
web app 1 killed, back after 1s N 0 0 N ms N N N
deploy: all 5 processes replaced N 0 0 N ms N N N
a third signs in again, all sign out N 0 2 N ms N N N
----------------------------------------------------------------------------------------------------
sum N 0 8 N ms N N N

ok 0 pages failed, and 0 showed data of another user
ok 0 users had to go through Entra again while they were signed in
ok 0 pages were served after one of 8 sign-outs, by any process
ok N token requests while Redis worked, and N of one process (at most N allowed)
ok N store calls in the life of a token, without failures and sign-outs (at most 3 allowed)
ok N calls of the worker as itself and N for users, 0 failed, 0 with a token of another user
ok 4 exports ordered, 4 delegations resumed by the worker and ended
`
	report, _, _ = strings.Cut(report, "\nThis machine was busy")
	cells := regexp.MustCompile(`^(.{36}) +[\d,]+( +\d+ +\d+) +\d+ ms +[\d,]+ +[\d,]+ +(?:[\d.]+|-)$`)
	figures := regexp.MustCompile(`^ok +[\d,.]+|and [\d,]+ of|and [\d,]+ for users|at most [\d,]+ allowed`)
	number := regexp.MustCompile(`[\d,.]+`)
	var got strings.Builder
	for line := range strings.Lines(report) {
		line = cells.ReplaceAllString(strings.TrimSuffix(line, "\n"), "$1 N $2 N ms N N N")
		if strings.Contains(line, "token requests while") || strings.Contains(line, "store calls in") ||
			strings.Contains(line, "calls of the worker") {
			line = figures.ReplaceAllStringFunc(line, func(s string) string {
				if s == "at most 3 allowed" {
					return s
				}
				return number.ReplaceAllString(s, "N")
			})
		}
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

// An interrupted run ends all processes, also those that Redis runs in.
func TestInterruptEndsAllProcesses(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	f := &fleet{ctx: ctx, side: side{log: new(lastLines), replicas: 2}}
	one := &side{replicas: 1, log: f.log}
	if err := f.start(one, 1); err != nil {
		f.stop(one)
		t.Fatalf("%v\n%s", err, f.log)
	}
	cancel()
	if err := f.deploy(time.Minute); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	f.stop(one)
	expectNoChildren(t)
	for _, addr := range []string{f.tokens.addr, f.sessions.addr, f.one.addr, f.web[0].addr, f.fake.entra} {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Errorf("%s still listens", addr)
		}
	}
}

// A process ends when the first process ends, even if that is killed.
func TestProcessEndsWithStandardInput(t *testing.T) {
	log := new(lastLines)
	p, err := start(t.Context(), settings{Program: "redis"}, log)
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(startTimeout):
		t.Error("the process is still running")
		p.kill()
	}
	if conn, err := net.Dial("tcp", p.addr); err == nil {
		conn.Close()
		t.Error("Redis is still running")
	}
}

func expectNoChildren(t *testing.T) {
	t.Helper()
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("no processes found: %v", err)
	}
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		if fields := strings.Fields(rest); fields[1] == strconv.Itoa(os.Getpid()) {
			t.Errorf("a child is still running: %s", b)
		}
	}
}

// The error for a missing server says how to install one.
func TestMissingRedis(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	var out bytes.Buffer
	err := run(t.Context(), options{replicas: 2, users: 1, duration: minDuration, out: &out})
	const want = "neither redis-server nor valkey-server is installed. Install one of them:\n\n" +
		"  Debian, Ubuntu   sudo apt-get install redis-server\n"
	if err == nil || !strings.HasPrefix(err.Error(), want) || out.Len() > 0 {
		t.Errorf("got error %v and output %q, want error %q and no output", err, out.String(), want)
	}
}

func TestInvalidOptions(t *testing.T) {
	for want, o := range map[string]options{
		"-replicas is 1, want 2 to 50":       {replicas: 1, users: 1, duration: minDuration},
		"-users is 0, want 1 to 1000":        {replicas: 2, duration: minDuration},
		"-duration is 5s, want at least 15s": {replicas: 2, users: 1, duration: 5 * time.Second},
	} {
		if err := run(t.Context(), o); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
