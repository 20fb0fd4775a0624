package fleet

import (
	"math/rand/v2"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// Result is the outcome of a run. The slices have an element for each minute.
type Result struct {
	Rule  string
	World World
	// Requests counts requests to the endpoint. Rejected counts those that returned no token.
	Requests, Rejected []int
	// Blocked counts calls that waited for a token, and Failed those that got an error. Neither includes calls of a
	// process that never had a token.
	Blocked, Failed []int
	// Started counts processes that got their first token.
	Started []int
	// Noticed is the number of processes with a failed call.
	Noticed int
}

// process is one member of the fleet.
type process struct {
	has         bool          // whether it ever had a token
	due         time.Duration // a call after this starts a request
	usableUntil time.Duration
	failures    int
	retryAt     time.Duration // after a failure, no request is sent before it
	flights     int           // requests in flight
	waiting     int           // calls that wait for flights
	noticed     bool
	version     int // of the next relevant call; calls with older versions are ignored
	retries     int // of the request in flight
	budget      *refresh.Budget
}

type run struct {
	w        World
	rule     Rule
	rand     *rand.Rand
	endpoint endpoint
	queue    queue
	seq      int
	now      time.Duration
	result   Result
}

// Run simulates rule in w.
func Run(w World, rule Rule) Result {
	w = w.withDefaults()
	minutes := int((w.For + time.Minute - 1) / time.Minute)
	r := &run{
		w: w, rule: rule, rand: rand.New(rand.NewPCG(w.Seed, 0)),
		endpoint: endpoint{World: w},
		result: Result{
			Rule: rule.Name, World: w,
			Requests: make([]int, minutes), Rejected: make([]int, minutes),
			Blocked: make([]int, minutes), Failed: make([]int, minutes), Started: make([]int, minutes),
		},
	}
	for i := range w.Processes {
		// The first call comes with the start.
		at := time.Duration(float64(w.StartOver) * float64(i) / float64(w.Processes))
		r.push(event{at: at, p: &process{budget: refresh.NewBudget(r.clock())}})
	}
	for len(r.queue) > 0 && r.queue[0].at < w.For {
		e := r.queue.pop()
		r.now = e.at
		switch {
		case e.repeat:
			r.send(e.p)
		case e.response != nil:
			r.respond(e.p, *e.response)
		case e.version == e.p.version:
			r.called(e.p)
		}
	}
	return r.result
}

func (r *run) push(e event) {
	r.seq++
	e.seq = r.seq
	r.queue.push(e)
}

// called handles a call that may do more than use the cached token.
func (r *run) called(p *process) {
	switch usable := p.has && r.now < p.usableUntil; {
	case usable:
		if p.flights == 0 && r.now >= p.due {
			r.request(p)
		}
	case r.rule.Retry != nil && p.flights == 0 && r.now < p.retryAt:
		r.fail(p, 1)
	case p.flights == 0 || r.rule.Alone:
		p.waiting++
		r.request(p)
	default:
		p.waiting++
	}
	r.next(p)
}

// next schedules the next relevant call. Calls are independent of each other, so the time from any moment to the next
// call always has the same distribution.
func (r *run) next(p *process) {
	from := r.now
	if p.has && r.now < p.usableUntil {
		from = p.usableUntil
		if p.flights == 0 {
			from = min(from, max(p.due, r.now))
		}
	}
	p.version++
	gap := time.Duration(r.rand.ExpFloat64() * float64(r.w.ReadEvery))
	r.push(event{at: from + gap, p: p, version: p.version})
}

// request starts a request.
func (r *run) request(p *process) {
	p.flights++
	p.retries = 0
	p.budget.Add(r.clock())
	r.send(p)
}

// repeat sends a request again after a failure if calls wait for it, and reports whether it does.
func (r *run) repeat(p *process, v response) bool {
	if r.rule.Repeat == nil || v.ok || p.waiting == 0 {
		return false
	}
	wait, ok := r.rule.Repeat(p.retries, v.retryAfter, r.rand.Float64())
	if !ok || !p.budget.Take(r.clock()) {
		return false
	}
	p.retries++
	r.push(event{at: r.now + wait, p: p, repeat: true})
	return true
}

// clock returns the current time of day, as budgets need it.
func (r *run) clock() time.Time { return time.Unix(0, 0).Add(r.now) }

// send sends a request or repeats it.
func (r *run) send(p *process) {
	v := r.endpoint.respond(r.now)
	r.count(r.result.Requests, 1)
	if !v.ok {
		r.count(r.result.Rejected, 1)
	}
	r.push(event{at: r.now + r.w.Latency, p: p, response: &v})
}

// respond handles a response of the endpoint.
func (r *run) respond(p *process, v response) {
	if r.repeat(p, v) {
		return
	}
	p.flights--
	served := p.waiting
	if r.rule.Alone {
		served = min(served, 1)
	}
	switch {
	case v.ok:
		if p.has && served > 0 {
			r.count(r.result.Blocked, served)
		}
		if !p.has {
			r.count(r.result.Started, 1)
		}
		spread := !p.has || p.waiting > 0 || p.failures > 0
		life := r.w.LifeMin + time.Duration(r.rand.Float64()*float64(r.w.LifeMax-r.w.LifeMin))
		refreshAfter, usableFor := r.rule.Schedule(life, spread, r.rand.Float64())
		p.has, p.failures, p.retryAt = true, 0, 0
		p.due, p.usableUntil = r.now+refreshAfter, r.now+usableFor
	case r.rule.Retry != nil:
		p.failures++
		p.retryAt = r.now + r.rule.Retry(p.failures, v.retryAfter, p.usableUntil-r.now, r.rand.Float64())
		p.due = p.retryAt
		r.fail(p, served)
	default: // one caller gets the error, and the next one sends a request
		p.failures++
		served = min(served, 1)
		r.fail(p, served)
		if p.waiting > served && !r.rule.Alone {
			r.request(p)
		}
	}
	p.waiting -= served
	r.next(p)
}

// fail counts failed calls.
func (r *run) fail(p *process, calls int) {
	if !p.has || calls == 0 {
		return
	}
	r.count(r.result.Failed, calls)
	if !p.noticed {
		p.noticed = true
		r.result.Noticed++
	}
}

func (r *run) count(bins []int, n int) {
	if i := int(r.now / time.Minute); i < len(bins) {
		bins[i] += n
	}
}
