package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// stepKind selects the promises that must hold in a step.
type stepKind int

const (
	calm      stepKind = iota // the store works
	storeDies                 // each process requests tokens of its own
	signOuts                  // the store is called for more than tokens
)

// figures are the counters of a step, or of all.
type figures struct {
	pages, failed, signIns int64
	slowest                time.Duration
	tokens, one            int64 // token requests of the fleet, and of one process
	storeCalls, lives      int64
}

func (f *figures) add(o figures) {
	f.pages += o.pages
	f.failed += o.failed
	f.signIns += o.signIns
	f.slowest = max(f.slowest, o.slowest)
	f.tokens += o.tokens
	f.one += o.one
	f.storeCalls += o.storeCalls
	f.lives += o.lives
}

func (f figures) minus(o figures) figures {
	f.pages -= o.pages
	f.failed -= o.failed
	f.signIns -= o.signIns
	f.tokens -= o.tokens
	f.one -= o.one
	f.storeCalls -= o.storeCalls
	f.lives -= o.lives
	return f
}

// A report prints a table while the fleet runs.
type report struct {
	options
	fleet *fleet
	one   *side

	mu     sync.Mutex // guards the fields below and out
	name   string     // of the step
	start  time.Time  // of the run
	before figures    // at the end of the last step
	total  figures
	works  figures // of all steps in which the store works
	calm   figures
	stall  time.Duration
}

func newReport(o options, f *fleet, one *side) *report {
	first, second := headings()
	fmt.Fprintf(o.out, `A web app in %d processes, an API in %d and a worker share their tokens in Redis.
%d users open pages through a load balancer without sticky sessions. A page shows
data of two APIs. Tokens are refreshed after %v. "One" is the same app for as many
users in one process that never fails. A token life is one token in one process.

%s
%s
`, f.replicas, deskReplicas, o.users, refreshIn, first, second)
	return &report{options: o, fleet: f, one: one, start: time.Now()}
}

// rowFormat has the columns of the table.
const rowFormat = "%-36s %6s  %6s  %8s  %8s  %6s  %6s  %11s"

func headings() (first, second string) {
	first = fmt.Sprintf("%-36s %6s  %6s  %8s  %8s  %14s  %11s", "", "", "", "", "slowest", "token requests", "store calls")
	second = fmt.Sprintf(rowFormat, "", "pages", "failed", "sign-ins", "page", "fleet", "one", "per life")
	return first, second
}

func (f figures) row(name string) string {
	slowest, perLife := "-", "-"
	if f.pages > 0 {
		slowest = fmt.Sprintf("%d ms", f.slowest.Milliseconds())
	}
	if f.lives > 0 {
		perLife = fmt.Sprintf("%.1f", f.perLife())
	}
	return fmt.Sprintf(rowFormat, name, thousands(f.pages), thousands(f.failed),
		thousands(f.signIns), slowest, thousands(f.tokens), thousands(f.one), perLife)
}

func (f figures) perLife() float64 { return float64(f.storeCalls) / float64(max(1, f.lives)) }

// thousands formats a number with separators.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// now returns the counters since the start. Those of the store are from Redis.
func (r *report) now() figures {
	c := &r.fleet.counts
	return figures{
		pages: c.pages.Load(), failed: c.failed.Load(), signIns: c.signIns.Load(),
		tokens: int64(r.fleet.fake.tokenRequests()), one: int64(r.one.fake.tokenRequests()),
		storeCalls: r.fleet.storeCalls(), lives: r.fleet.lives(),
	}
}

func (r *report) begin(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name = name
}

// end prints the row of a step.
func (r *report) end(kind stepKind) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	step := now.minus(r.before)
	step.slowest = time.Duration(r.fleet.counts.slowest.Swap(0))
	r.before = now
	r.total.add(step)
	if kind != storeDies {
		r.works.add(step)
	}
	if kind == calm {
		r.calm.add(step)
	}
	r.clear()
	fmt.Fprintln(r.out, step.row(r.name))
	r.name = ""
}

func (r *report) clear() {
	if r.terminal {
		fmt.Fprint(r.out, "\r\x1b[K")
	}
}

// redraw shows the current step in a terminal, and measures how long the machine lets a goroutine wait.
func (r *report) redraw() (stop func()) {
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		const pause = 20 * time.Millisecond
		for n := 0; ; n++ {
			start := time.Now()
			select {
			case <-done:
				return
			case <-time.After(pause):
			}
			r.mu.Lock()
			r.stall = max(r.stall, time.Since(start)-pause)
			if r.terminal && n%10 == 0 && r.name != "" {
				c := &r.fleet.counts
				fmt.Fprintf(r.out, "\r\x1b[K%3.0f s  %s: %s pages, %s failed", time.Since(r.start).Seconds(), r.name,
					thousands(c.pages.Load()), thousands(c.failed.Load()))
			}
			r.mu.Unlock()
		}
	}()
	return sync.OnceFunc(func() {
		close(done)
		<-stopped
		r.mu.Lock()
		defer r.mu.Unlock()
		r.clear()
	})
}

// finish prints the sum and the promises, and reports whether all of them hold.
func (r *report) finish() (ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, second := headings()
	fmt.Fprintf(r.out, "%s\n%s\n\n", strings.Repeat("-", len(second)), r.total.row("sum"))
	f, c := r.fleet, &r.fleet.counts
	ok = true
	promise := func(holds bool, format string, args ...any) {
		mark := "ok     "
		if !holds {
			mark, ok = "BROKEN ", false
		}
		fmt.Fprintf(r.out, mark+format+"\n", args...)
	}
	promise(c.failed.Load() == 0, "%s pages failed, and %s showed data of another user",
		thousands(c.failed.Load()), thousands(c.crossed.Load()))
	promise(c.unexpected.Load() == 0, "%s users had to go through Entra again while they were signed in",
		thousands(c.unexpected.Load()))
	promise(c.afterSignOut.Load() == 0, "%s pages were served after one of %s sign-outs, by any process",
		thousands(c.afterSignOut.Load()), thousands(c.signOuts.Load()))
	limit := r.works.one + r.works.one/20 + int64(r.users)
	promise(r.works.tokens <= limit, "%s token requests while Redis worked, and %s of one process (at most %s allowed)",
		thousands(r.works.tokens), thousands(r.works.one), thousands(limit))
	promise(r.calm.perLife() <= 3, "%.1f store calls in the life of a token, without failures and sign-outs "+
		"(at most 3 allowed)", r.calm.perLife())
	failures := f.workerFailures + f.worker.failures.Load()
	fake := f.fake
	promise(failures == 0 && fake.crossed.Load() == 0,
		"%s calls of the worker as itself and %s for users, %s failed, %s with a token of another user",
		thousands(fake.workerCalls.Load()), thousands(fake.exportCalls.Load()), thousands(failures),
		thousands(fake.crossed.Load()))
	promise(f.exports() >= c.exports.Load(), "%s exports ordered, %s delegations resumed by the worker and ended",
		thousands(c.exports.Load()), thousands(f.exports()))
	if r.stall > 100*time.Millisecond {
		fmt.Fprintf(r.out, "\nThis machine was busy: a goroutine had to wait for %v. "+
			"A store that does not respond within 250 ms counts as failed.\n", r.stall.Round(time.Millisecond))
	}
	return ok
}
