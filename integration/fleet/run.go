package fleet

import (
	"math/rand/v2"
	"time"
)

// A Result is what was seen. The slices have an element for each minute.
type Result struct {
	Rule  string
	World World
	// Requests are those at the endpoint, Refused those of them that brought no token.
	Requests, Refused []int
	// Blocked are calls that waited for a token, Failed those that got an error. Calls of a process
	// that never had a token are in neither.
	Blocked, Failed []int
	// Started are processes that got their first token.
	Started []int
	// Noticed is how many processes had a call that failed.
	Noticed int
}

// process is one member of the fleet.
type process struct {
	has         bool          // it has had a token
	due         time.Duration // a call after this starts a request
	usableUntil time.Duration
	failures    int
	retryAt     time.Duration // after a failure: nothing is asked before
	flights     int           // requests under way
	waiting     int           // calls that wait for them
	noticed     bool
	version     int // of the next call that matters; older ones are void
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

// Run plays rule in w.
func Run(w World, rule Rule) Result {
	w = w.withDefaults()
	minutes := int((w.For + time.Minute - 1) / time.Minute)
	r := &run{
		w: w, rule: rule, rand: rand.New(rand.NewPCG(w.Seed, 0)),
		endpoint: endpoint{World: w},
		result: Result{
			Rule: rule.Name, World: w,
			Requests: make([]int, minutes), Refused: make([]int, minutes),
			Blocked: make([]int, minutes), Failed: make([]int, minutes), Started: make([]int, minutes),
		},
	}
	for i := range w.Processes {
		// The first call comes with the start.
		at := time.Duration(float64(w.StartOver) * float64(i) / float64(w.Processes))
		r.push(event{at: at, p: &process{}})
	}
	for len(r.queue) > 0 && r.queue[0].at < w.For {
		e := r.queue.pop()
		r.now = e.at
		switch {
		case e.answer:
			r.answered(e.p, e.verdict)
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

// called is a call for the token that may have to do more than take it.
func (r *run) called(p *process) {
	switch usable := p.has && r.now < p.usableUntil; {
	case usable:
		if p.flights == 0 && r.now >= p.due {
			r.ask(p)
		}
	case r.rule.Retry != nil && p.flights == 0 && r.now < p.retryAt:
		r.fail(p, 1)
	case p.flights == 0 || r.rule.Alone:
		p.waiting++
		r.ask(p)
	default:
		p.waiting++
	}
	r.next(p)
}

// next finds the next call that matters. Calls come independently of each other, so the time from
// any moment to the next of them has one distribution, whatever was before.
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

// ask sends a request.
func (r *run) ask(p *process) {
	p.flights++
	v := r.endpoint.ask(r.now)
	r.count(r.result.Requests, 1)
	if !v.ok {
		r.count(r.result.Refused, 1)
	}
	r.push(event{at: r.now + r.w.Latency, p: p, answer: true, verdict: v})
}

func (r *run) answered(p *process, v verdict) {
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
	default: // one caller gets the error; the next one in line asks for itself
		p.failures++
		served = min(served, 1)
		r.fail(p, served)
		if p.waiting > served && !r.rule.Alone {
			r.ask(p)
		}
	}
	p.waiting -= served
	r.next(p)
}

// fail counts calls that got an error.
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
