package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// errBroken is returned by run if a promise is broken. The output names the promise.
var errBroken = errors.New("a promise is broken")

// side is one side of the comparison. It has its own users, programs and fake Entra.
type side struct {
	replicas int // of the web app
	fake     *fake
	site     *balancer
	people   []*person
	counts   counts
	log      io.Writer
}

func (s *side) logf(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

// counts are counters since the start.
type counts struct {
	pages, failed, crossed atomic.Int64
	exports                atomic.Int64 // that were ordered
	signIns, unexpected    atomic.Int64 // times that a user went through Entra
	signOuts, afterSignOut atomic.Int64
	slowest                atomic.Int64 // since the last step
}

func (c *counts) slowed(d time.Duration) {
	for {
		old := c.slowest.Load()
		if int64(d) <= old || c.slowest.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}

// fleet is the side of the comparison that has several processes.
type fleet struct {
	side
	ctx      context.Context
	settings settings
	desk     *balancer
	web      []*process
	desks    []*process
	worker   *process
	tokens   *process // Redis
	sessions *process // Redis
	one      *process // the other side

	storeBefore    int64 // calls of earlier Redis servers
	workerFailures int64 // of earlier workers
	workerExports  int64
	moreLives      int64 // tokens that a replaced process and the new one both use
	all            []*process
}

const deskReplicas = 2

// run runs the fleet and prints a report.
func run(ctx context.Context, o options) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if _, err := findRedis(); err != nil {
		return err
	}
	log := new(lastLines)
	f := &fleet{ctx: ctx}
	f.log, f.replicas = log, o.replicas
	one := &side{replicas: 1, log: log}
	defer f.stop(one)
	if err := f.start(one, o.users); err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	r := newReport(o, f, one)
	stopRedrawing := r.redraw()
	defer stopRedrawing()

	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	var users sync.WaitGroup
	for i := range o.users {
		for _, s := range []*side{&f.side, one} {
			p := newPerson(s, i)
			p.order.Store(i%3 == 0)
			s.people = append(s.people, p)
			users.Go(func() { p.work(working) })
		}
	}
	defer users.Wait() // before f.stop
	defer stopWork()

	rest := o.duration - storeStep
	part := func(percent int) time.Duration { return rest * time.Duration(percent) / 100 }
	for _, step := range []struct {
		name string
		kind stepKind
		do   func() error
	}{
		{fmt.Sprintf("%d users sign in and open pages", o.users), calm,
			func() error { return errors.Join(f.wait(part(35)), f.waitUntil(f.allServed)) }},
		{fmt.Sprintf("Redis killed, empty after %v", storeDown), storeDies, f.killStore},
		{"web app 1 killed, back after 1s", calm, func() error { return f.killReplica(part(15)) }},
		{fmt.Sprintf("deploy: all %d processes replaced", o.replicas+deskReplicas+1), calm,
			func() error {
				for i := 1; i < o.users; i += 3 {
					f.people[i].order.Store(true)
					one.people[i].order.Store(true)
				}
				return errors.Join(f.deploy(part(25)), f.waitUntil(f.allOrdered))
			}},
		{"a third signs in again, all sign out", signOuts, func() error {
			for i := 0; i < o.users; i += 3 {
				f.people[i].leave.Store(true)
				one.people[i].leave.Store(true)
			}
			err := f.wait(part(25))
			stopWork()
			users.Wait()
			return errors.Join(err, f.waitUntil(func() bool { return f.exports() >= f.counts.exports.Load() }))
		}},
	} {
		r.begin(step.name)
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		r.end(step.kind)
	}
	stopRedrawing()
	if !r.finish() {
		fmt.Fprintf(o.out, "\nThe last lines of the logs:\n%s\n", log)
		return errBroken
	}
	return nil
}

// start starts both sides.
func (f *fleet) start(one *side, users int) (err error) {
	for _, s := range []*side{&f.side, one} {
		if s.fake, err = newFake(users); err != nil {
			return err
		}
		if s.site, err = newBalancer("localhost"); err != nil {
			return err
		}
	}
	if f.desk, err = newBalancer("127.0.0.1"); err != nil {
		return err
	}
	if f.tokens, err = f.run(settings{Program: "redis"}); err != nil {
		return err
	}
	// A server that may lose its data must not have the sessions, or users would have to sign in again.
	if f.sessions, err = f.run(settings{Program: "redis"}); err != nil {
		return err
	}
	webKey, apiKey := make([]byte, 32), make([]byte, 32)
	rand.Read(webKey)
	rand.Read(apiKey)
	f.settings = settings{
		Entra: f.fake.entra, Orders: f.fake.orders, Site: f.site.url, Desk: f.desk.url,
		Tokens: f.tokens.addr, Sessions: f.sessions.addr, WebKey: webKey, APIKey: apiKey,
	}
	f.one, err = f.run(settings{
		Program: "all", Entra: one.fake.entra, Orders: one.fake.orders, Site: one.site.url, WebKey: webKey,
	})
	if err != nil {
		return err
	}
	one.site.replace("", f.one.addr)
	f.web, f.desks = make([]*process, f.replicas), make([]*process, deskReplicas)
	for i := range f.web {
		if err := f.replace(f.site, &f.web[i], "web"); err != nil {
			return err
		}
	}
	for i := range f.desks {
		if err := f.replace(f.desk, &f.desks[i], "desk"); err != nil {
			return err
		}
	}
	return f.replaceWorker()
}

// run starts a process, which ends at the latest with f.
func (f *fleet) run(s settings) (*process, error) {
	p, err := start(f.ctx, s, f.log)
	if err == nil {
		f.all = append(f.all, p)
	}
	return p, err
}

// stop ends all processes and servers.
func (f *fleet) stop(one *side) {
	var all sync.WaitGroup
	for _, p := range f.all {
		all.Go(p.stop)
	}
	all.Wait()
	for _, b := range []*balancer{f.site, f.desk, one.site} {
		if b != nil {
			b.close()
		}
	}
	for _, s := range []*side{&f.side, one} {
		if s.fake != nil {
			s.fake.close() //nolint:errcheck // the run is over
		}
	}
}

// replace starts a program in a new process, sends requests to it and stops the old process, as a deployment does.
func (f *fleet) replace(b *balancer, p **process, program string) error {
	s := f.settings
	s.Program = program
	next, err := f.run(s)
	if err != nil {
		return err
	}
	old := *p
	*p = next
	if old == nil {
		b.replace("", next.addr)
		return nil
	}
	b.replace(old.addr, next.addr)
	f.moreLives += int64(len(f.people))
	old.stop()
	return nil
}

func (f *fleet) replaceWorker() error {
	s := f.settings
	s.Program = "worker"
	next, err := f.run(s)
	if err != nil {
		return err
	}
	if f.worker != nil {
		f.worker.stop()
		f.workerFailures += f.worker.failures.Load()
		f.workerExports += f.worker.exports.Load()
		f.moreLives++
	}
	f.worker = next
	return nil
}

// wait waits unless the run is interrupted.
func (f *fleet) wait(d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

// waitUntil waits until done returns true, for startTimeout at most. After that the report names the broken promise.
func (f *fleet) waitUntil(done func() bool) error {
	for deadline := time.Now().Add(startTimeout); !done() && time.Now().Before(deadline); {
		if err := f.wait(20 * time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// allServed reports whether each process of the web app has served each user and has the tokens in memory. Without them
// it cannot show a page while the store fails. Users have also ordered their exports.
func (f *fleet) allServed() bool {
	for _, person := range f.people {
		for _, process := range f.web {
			if _, ok := person.served.Load(process.addr); !ok {
				return false
			}
		}
	}
	return f.allOrdered()
}

// allOrdered reports whether users have ordered all exports that they should.
func (f *fleet) allOrdered() bool {
	return !slices.ContainsFunc(f.people, func(p *person) bool { return p.order.Load() })
}

// exports returns the number of exports that workers have finished.
func (f *fleet) exports() int64 { return f.workerExports + f.worker.exports.Load() }

const (
	storeDown = 2 * time.Second
	// In storeStep, the store fails, the processes notice that it is back, and each token is refreshed and saved again.
	storeStep = storeDown + 3*time.Second + refreshIn + lifetime/10
)

func (f *fleet) killStore() error {
	f.storeBefore = f.storeCalls()
	f.tokens.stop()
	if err := f.wait(storeDown); err != nil {
		return err
	}
	var err error
	if f.tokens, err = f.run(settings{Program: "redis", Tokens: f.settings.Tokens}); err != nil {
		return err
	}
	return f.wait(storeStep - storeDown)
}

func (f *fleet) killReplica(d time.Duration) error {
	old := f.web[0]
	old.kill()
	if err := f.wait(time.Second); err != nil {
		return err
	}
	s := f.settings
	s.Program = "web"
	next, err := f.run(s)
	if err != nil {
		return err
	}
	f.site.replace(old.addr, next.addr)
	f.web[0] = next
	f.moreLives += int64(len(f.people))
	return f.wait(max(0, d-time.Second))
}

func (f *fleet) deploy(d time.Duration) error {
	pause := d / time.Duration(len(f.web)+len(f.desks)+1)
	for i := range f.web {
		if err := errors.Join(f.replace(f.site, &f.web[i], "web"), f.wait(pause)); err != nil {
			return err
		}
	}
	for i := range f.desks {
		if err := errors.Join(f.replace(f.desk, &f.desks[i], "desk"), f.wait(pause)); err != nil {
			return err
		}
	}
	return errors.Join(f.replaceWorker(), f.wait(pause))
}

// storeCalls returns the number of calls that the cache has made, by Redis's own count: a Load has one GET, a Save one
// EVALSHA (or EVAL, the first time), a message one PUBLISH.
func (f *fleet) storeCalls() (calls int64) {
	client := newRedis(f.tokens.addr)
	defer client.Close() //nolint:errcheck // nothing was written
	info, err := client.Info(context.WithoutCancel(f.ctx), "commandstats").Result()
	if err != nil {
		return f.storeBefore // it is down
	}
	for line := range strings.Lines(info) {
		name, stats, _ := strings.Cut(line, ":calls=")
		switch name {
		case "cmdstat_get", "cmdstat_eval", "cmdstat_evalsha", "cmdstat_publish":
			n, _, _ := strings.Cut(stats, ",")
			count, err := strconv.ParseInt(n, 10, 64)
			if err == nil {
				calls += count
			}
		}
	}
	return f.storeBefore + calls
}

// lives returns the number of pairs of a token and a process that uses it.
func (f *fleet) lives() int64 {
	return int64(f.fake.tokenRequestsOf("webapp")*f.replicas+f.fake.tokenRequestsOf("api-a")*deskReplicas+
		f.fake.tokenRequestsOf("daemon")) + f.moreLives
}
