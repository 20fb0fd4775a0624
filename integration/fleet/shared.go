package fleet

import (
	"math/rand/v2"
	"time"

	"github.com/entratoken/entra/internal/refresh"
)

// Store describes a store in which all processes of a [World] share one token.
type Store struct {
	// Latency is the response time. Defaults to 1 millisecond.
	Latency time.Duration
	// DownFrom and DownFor are the start and length of an outage, in which no call gets a response.
	DownFrom, DownFor time.Duration
	// Hasty processes send a request as soon as a token is due and the store fails, and save every token when it is back.
	// The cache is not hasty.
	Hasty bool
}

// The constants of cache/fleet.go.
const (
	storeTimeout = 250 * time.Millisecond
	breakerMin   = time.Second
	leaseTime    = 10 * time.Second
	leaseCheck   = 2 * time.Second // a process with a usable token looks again after it
	maxUpdates   = 20
	patience     = 15 * time.Second
)

// SharedResult is the outcome of a run with a store.
type SharedResult struct {
	Result
	// StoreCalls counts calls of the store. It has an element for each second.
	StoreCalls []int
}

// sharedToken is a token in the store or in memory.
type sharedToken struct {
	at, due, usableUntil time.Duration
}

// record is the contents of the store.
type record struct {
	version  int
	token    *sharedToken
	lease    *member
	leaseAt  time.Duration
	failures int
	retryAt  time.Duration
}

// member is a process that uses the store.
type member struct {
	token   *sharedToken
	due     time.Duration // of token in this process
	retryAt time.Duration

	failures int
	flying   bool // a flight is in progress
	waiting  int  // calls that wait for it
	noticed  bool
	version  int           // of the next relevant call
	openTo   time.Duration // the breaker of the store is open
	waited   *sharedToken  // the token whose refresh was postponed because the store failed
}

func (m *member) usable(now time.Duration) bool { return m.token != nil && now < m.token.usableUntil }

type sharedRun struct {
	run
	store  Store
	policy refresh.Policy
	record record
	calls  []int
}

// RunShared simulates the rule of package cache in w, with a cache that all processes share. It models the protocol of
// docs/design/fleet.md for an app's own token. All processes share one token.
func RunShared(w World, s Store) SharedResult {
	w = w.withDefaults()
	if s.Latency == 0 {
		s.Latency = time.Millisecond
	}
	minutes := int((w.For + time.Minute - 1) / time.Minute)
	r := &sharedRun{
		run: run{
			w: w, rand: rand.New(rand.NewPCG(w.Seed, 0)), endpoint: endpoint{World: w},
			result: Result{
				Rule: "shared", World: w,
				Requests: make([]int, minutes), Rejected: make([]int, minutes),
				Blocked: make([]int, minutes), Failed: make([]int, minutes), Started: make([]int, minutes),
			},
		},
		store: s, calls: make([]int, minutes*60),
	}
	for i := range w.Processes {
		m := new(member)
		r.after(time.Duration(float64(w.StartOver)*float64(i)/float64(w.Processes)), func() { r.called(m, 0) })
	}
	for len(r.queue) > 0 && r.queue[0].at < w.For {
		e := r.queue.pop()
		r.now = e.at
		e.do()
	}
	return SharedResult{r.result, r.calls}
}

func (r *sharedRun) after(d time.Duration, do func()) { r.push(event{at: r.now + d, do: do}) }

// called handles a call that may do more than use the cached token.
func (r *sharedRun) called(m *member, version int) {
	if version != m.version {
		return
	}
	switch {
	case m.usable(r.now):
		if !m.flying && r.now >= m.due {
			r.fly(m)
		}
	case !m.flying && r.now < m.retryAt:
		r.failed(m, 1)
	default:
		m.waiting++
		if !m.flying {
			r.fly(m)
		}
	}
	r.nextCall(m)
}

// nextCall schedules the next relevant call.
func (r *sharedRun) nextCall(m *member) {
	from := r.now
	if m.usable(r.now) {
		from = m.token.usableUntil
		if !m.flying {
			from = min(from, max(m.due, r.now))
		}
	}
	m.version++
	version := m.version
	gap := time.Duration(r.rand.ExpFloat64() * float64(r.w.ReadEvery))
	r.push(event{at: from + gap, do: func() { r.called(m, version) }})
}

// call calls the store. One of the functions is called when it has responded, or is not available.
func (r *sharedRun) call(m *member, done, unavailable func()) {
	if r.now < m.openTo {
		unavailable()
		return
	}
	r.calls[r.now/time.Second]++
	if r.now >= r.store.DownFrom && r.now < r.store.DownFrom+r.store.DownFor {
		r.after(storeTimeout, func() {
			m.openTo = r.now + breakerMin + r.random(breakerMin)
			unavailable()
		})
		return
	}
	r.after(r.store.Latency, done)
}

// random returns a random duration below most.
func (r *sharedRun) random(most time.Duration) time.Duration {
	return time.Duration(r.rand.Float64() * float64(most))
}

// pause returns the time until a conflicting write is repeated.
func (r *sharedRun) pause(try int) time.Duration {
	return r.random(min(time.Millisecond<<min(try, 10), 50*time.Millisecond))
}

func (r *sharedRun) fly(m *member) {
	m.flying = true
	r.look(m, r.now, 0, 0)
}

// look loads the record. Then it ends the flight, waits for another process, or takes the lease and sends a request.
func (r *sharedRun) look(m *member, began time.Duration, waits, conflicts int) {
	r.call(m, func() {
		switch s := r.record; {
		case s.token != nil && s.token != m.token && r.now < s.token.usableUntil:
			r.adopt(m, s.token)
			r.land(m)
		case r.now < s.retryAt:
			m.failures, m.retryAt, m.due = s.failures, s.retryAt, s.retryAt
			r.land(m)
		case s.lease != nil && r.now < s.leaseAt+leaseTime && m.usable(r.now):
			m.due = r.now + min(s.leaseAt+leaseTime-r.now, leaseCheck)
			r.land(m)
		case s.lease != nil && r.now < s.leaseAt+leaseTime && r.now < began+patience:
			d := min(20*time.Millisecond<<min(waits, 5), 500*time.Millisecond)
			r.after(d/2+r.random(d), func() { r.look(m, began, waits+1, conflicts) })
		case s.lease != nil && r.now < s.leaseAt+leaseTime || conflicts == maxUpdates:
			r.request(m)
		default:
			r.call(m, func() {
				if r.record.version != s.version {
					r.after(r.pause(conflicts+1), func() { r.look(m, began, waits, conflicts+1) })
					return
				}
				r.record.version++
				r.record.lease, r.record.leaseAt = m, r.now
				r.request(m)
			}, func() { r.request(m) })
		}
	}, func() {
		if !r.store.Hasty && m.usable(r.now) && m.waited != m.token {
			m.waited = m.token
			m.due = r.now + r.policy.RetryIn(1, 0, m.token.usableUntil-r.now, r.rand.Float64())
			r.land(m)
			return
		}
		r.request(m)
	})
}

// adopt makes t the token of m. Processes look for the next one at slightly different moments.
func (r *sharedRun) adopt(m *member, t *sharedToken) {
	if m.token == nil {
		r.count(r.result.Started, 1)
	}
	spread := min((t.usableUntil-t.due)/10, 30*time.Second)
	m.token, m.due, m.failures, m.retryAt = t, t.due+r.random(spread), 0, 0
}

func (r *sharedRun) request(m *member) {
	v := r.endpoint.respond(r.now)
	r.count(r.result.Requests, 1)
	if !v.ok {
		r.count(r.result.Rejected, 1)
	}
	r.after(r.w.Latency, func() { r.respond(m, v) })
}

func (r *sharedRun) respond(m *member, v response) {
	if v.ok {
		life := r.w.LifeMin + r.random(r.w.LifeMax-r.w.LifeMin)
		spread := !m.usable(r.now) || m.failures > 0
		refreshAfter, usableFor := r.policy.Schedule(life, 0, 0, spread, r.rand.Float64())
		r.adopt(m, &sharedToken{r.now, r.now + refreshAfter, r.now + usableFor})
	} else {
		left := time.Duration(0)
		if m.token != nil {
			left = m.token.usableUntil - r.now
		}
		m.failures++
		m.retryAt = r.now + r.policy.RetryIn(m.failures, v.retryAfter, left, r.rand.Float64())
		m.due = m.retryAt
	}
	r.save(m, 0)
	r.land(m)
}

// save saves the token or the failure of m.
func (r *sharedRun) save(m *member, try int) {
	r.call(m, func() {
		version := r.record.version
		if t := r.record.token; !r.store.Hasty && r.record.lease != m && m.token != nil && t != nil && t.at > m.token.at {
			r.adopt(m, t) // there is nothing to save
			return
		}
		r.call(m, func() {
			switch {
			case r.record.version == version:
				r.merge(m)
			case try < maxUpdates:
				r.after(r.pause(try), func() { r.save(m, try+1) })
			default:
				r.saveLater(m)
			}
		}, func() { r.saveLater(m) })
	}, func() { r.saveLater(m) })
}

// saveLater saves a token later. A failure is not saved later.
func (r *sharedRun) saveLater(m *member) {
	if m.failures > 0 {
		return
	}
	r.after(2*breakerMin+r.random(breakerMin), func() { r.save(m, 0) })
}

// merge writes the record. The younger token stays.
func (r *sharedRun) merge(m *member) {
	s := &r.record
	s.version++
	if s.lease == m {
		s.lease = nil
	}
	if m.failures > 0 {
		s.failures, s.retryAt = m.failures, m.retryAt
	}
	switch {
	case m.token == nil:
	case s.token == nil || m.token.at > s.token.at:
		s.token, s.failures, s.retryAt = m.token, m.failures, m.retryAt
	case s.token != m.token && s.token.at > m.token.at:
		r.adopt(m, s.token)
	}
}

// land finishes the flight of m and counts the calls that waited for it.
func (r *sharedRun) land(m *member) {
	m.flying = false
	served := m.waiting
	m.waiting = 0
	if served > 0 {
		if m.usable(r.now) {
			r.count(r.result.Blocked, served)
		} else {
			r.failed(m, served)
		}
	}
	r.nextCall(m)
}

func (r *sharedRun) failed(m *member, calls int) {
	if m.token == nil { // the first token is not counted
		return
	}
	r.count(r.result.Failed, calls)
	if !m.noticed {
		m.noticed = true
		r.result.Noticed++
	}
}
