package cache_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
)

// In any schedule of processes, users, sign-ins, step-ups, sign-outs, refreshes, restarts and faults of the store, and
// of delegations that are begun and ended:
//   - a token reaches only its user, and only until it expires;
//   - a token from before a sign-out is not served later than a minute after it, by any process that reaches the store;
//   - when the faults are over, every user who is signed in gets a token, unless records were damaged. So does every
//     delegation that has not ended.
//
// Damaged marks undo sign-outs. The second rule is checked in schedules without them. ENTRA_FLEET_SCHEDULES sets the
// number of schedules. "make unit" runs 200 with the race detector and 2,000 without it.
func TestFleetKeepsItsRules(t *testing.T) {
	schedules, err := strconv.ParseUint(cmp.Or(os.Getenv("ENTRA_FLEET_SCHEDULES"), "200"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	for seed := range schedules {
		ok := t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newFleetModel(t, rand.New(rand.NewPCG(seed, 13))).run() })
		})
		if !ok {
			return // the first seed is enough to find the cause
		}
	}
}

// The model treats the delegations of a user as another user, of whom each sign-in begins a delegation.
const (
	modelPeople = 3
	modelUsers  = 2 * modelPeople
)

// A fleetModel knows which tokens the processes of a fleet may serve.
type fleetModel struct {
	t      *testing.T
	r      *rand.Rand
	start  time.Time
	store  *storetest.Memory
	used   cache.Store
	caches []*cache.Cache

	jitter *jitterStore  // nil if calls of the store take no time
	bound  time.Duration // for sign-outs
	damage bool          // marks are damaged, too, which undoes sign-outs

	mu      sync.Mutex            // guards the fields below
	marks   map[string]bool       // names of the records with marks
	failing bool                  // the store has faults
	damaged bool                  // records were damaged, so users may have to sign in again
	signIns [modelUsers]int       // counts the sign-ins of each user
	since   [modelUsers]time.Time // of the last sign-in
	out     [modelUsers]time.Time // of the last sign-out
	in      [modelUsers]bool      // signed in
	before  [modelUsers]int       // tokens of sign-ins up to this one are not valid
}

func newFleetModel(t *testing.T, r *rand.Rand) *fleetModel {
	m := &fleetModel{
		t: t, r: r, start: time.Now(), store: storetest.NewMemory(), bound: time.Second, marks: make(map[string]bool),
		damage: r.IntN(4) == 0,
	}
	for u := range modelUsers {
		m.addMarks(u)
	}
	m.used = m.store
	if r.IntN(2) == 0 {
		m.used, m.bound = m.store.WithoutPush(), time.Minute
	}
	if r.IntN(2) == 0 {
		m.jitter = &jitterStore{Memory: m.store, r: rand.New(rand.NewPCG(r.Uint64(), 5))}
		_, push := m.used.(cache.Notifier)
		if m.used = m.jitter; !push {
			m.used = struct{ cache.Store }{m.jitter}
		}
		m.bound += 2 * time.Second // a check and the calls in progress
	}
	for range 2 + r.IntN(3) {
		m.caches = append(m.caches, replica(t, m.used))
	}
	return m
}

// log describes a step. A test that fails shows all steps of its schedule.
func (m *fleetModel) log(format string, args ...any) {
	m.t.Logf("%v: "+format, append([]any{time.Since(m.start)}, args...)...)
}

// key returns the key of a user, or of the last delegation that was begun.
func (m *fleetModel) key(user int) cache.Key {
	k := withSession(key("t", fmt.Sprint("user", user%modelPeople)), "b")
	if user >= modelPeople {
		m.mu.Lock()
		defer m.mu.Unlock()
		k.Flow, k.Delegation, k.Session = "delegation", true, fmt.Sprint("delegation ", m.signIns[user])
	}
	return k
}

func (m *fleetModel) addMarks(user int) {
	names := cache.MarksNames(sealKeys[0], m.key(user))
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		m.marks[name] = true
	}
}

func (m *fleetModel) isMarks(name string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.marks[name]
}

func (m *fleetModel) handle(user int, scope string) *cache.Handle {
	return interactive(m.caches[m.r.IntN(len(m.caches))], m.key(user), scope)
}

// run alternates between a healthy store and one with faults. Faults end before the rules are checked.
func (m *fleetModel) run() {
	for range 3 {
		m.steps(25, true)
		m.setFailing(true)
		m.inject()
		m.steps(15, false)
		m.store.Inject(nil)
		time.Sleep(70 * time.Second) // breakers close, sessions are saved, and failures end
		m.setFailing(false)
		for u := range modelUsers {
			for range m.caches {
				m.use(u, "s", true)
			}
		}
	}
	time.Sleep(2 * time.Hour) // flights end
}

func (m *fleetModel) setFailing(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = on
}

func (m *fleetModel) setDamaged() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.damaged = true
}

// inject makes the store fail in one way, for some calls or for all.
func (m *fleetModel) inject() {
	faults := []storetest.Fault{
		{Hang: true}, {Delay: 100 * time.Millisecond}, {Delay: time.Second}, {Err: errors.New("connection refused")},
		{ErrAfter: errors.New("connection reset")}, {Conflict: true}, {ExpireLate: true},
	}
	harmless := len(faults)
	faults = append(faults, []storetest.Fault{{FlipByte: true}, {Swap: true}, {LoseWrite: true}, {StaleRead: true}}...)
	i, share := m.r.IntN(len(faults)), 1+m.r.IntN(4)
	fault, damages := faults[i], i >= harmless
	m.log("fault %+v of 1/%d of the calls", fault, share)
	if damages {
		m.setDamaged()
	}
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(m.r.Uint64(), 0))
	m.store.Inject(func(c storetest.Call) storetest.Fault {
		mu.Lock()
		defer mu.Unlock()
		if r.IntN(share) > 0 || damages && !m.damage && m.isMarks(c.Key) {
			return storetest.Fault{}
		}
		return fault
	})
}

func (m *fleetModel) steps(n int, healthy bool) {
	for range n {
		u := m.r.IntN(modelUsers)
		op := m.r.IntN(12)
		m.log("step %d of user %d, signed in %v", op, u, m.in[u])
		switch op {
		case 0, 1:
			if healthy || !m.in[u] {
				if !healthy {
					time.Sleep(time.Second) // without the store, the order after a sign-out is uncertain for half a second
				}
				m.signIn(u, healthy)
			}
		case 2:
			if healthy {
				m.signOut(u)
			}
		case 3:
			if h := m.handle(u, "s"); h.Current() != nil {
				h.Invalidate(h.Current().Text(), "")
			}
		case 4:
			h := m.handle(u, "s")
			start := time.Now()
			if tok, err := h.Token(m.t.Context(), "mfa", m.fetch(u)); err == nil {
				m.verify(u, start, tok.AccessToken)
			}
		case 5:
			if healthy && m.r.IntN(4) == 0 { // a restart; memory is lost
				time.Sleep(time.Second)
				m.caches[m.r.IntN(len(m.caches))] = replica(m.t, m.used)
			}
			if healthy && m.damage && m.r.IntN(4) == 0 {
				m.store.Flush()
				m.setDamaged()
			}
		case 6:
			h := m.handle(u, "s")
			go m.useHandle(h, u, false)
		default:
			m.use(u, []string{"s", "s", "other"}[m.r.IntN(3)], healthy)
		}
		pauses := []time.Duration{0, time.Millisecond, 3 * time.Second, time.Minute, 20 * time.Minute}
		if !healthy { // the caches call a failing store every few seconds
			pauses[3], pauses[4] = 10*time.Second, 2*time.Minute
		}
		time.Sleep(pauses[m.r.IntN(len(pauses))])
	}
}

func (m *fleetModel) signIn(u int, healthy bool) {
	if u >= modelPeople && m.in[u] { // only one delegation of a user is tested at a time
		return
	}
	m.mu.Lock()
	m.signIns[u]++
	n := m.signIns[u]
	m.mu.Unlock()
	m.addMarks(u)
	h := m.handle(u, "s")
	if _, err := h.Put(m.t.Context(), m.response(u, n)); err != nil {
		if u < modelPeople || healthy {
			m.t.Errorf("sign-in: got error %v", err)
		}
		return
	}
	m.mu.Lock()
	m.in[u], m.since[u] = true, time.Now()
	m.mu.Unlock()
}

func (m *fleetModel) signOut(u int) {
	if m.jitter == nil {
		time.Sleep(time.Second) // all flights end
	} else {
		m.aroundSignOut(u)
	}
	c := m.caches[m.r.IntN(len(m.caches))]
	k := m.key(u)
	if m.r.IntN(2) == 0 {
		k.Session = ""
	}
	var err error
	ended := []int{u}
	if m.r.IntN(3) == 0 {
		ended = append(ended, (u+modelPeople)%modelUsers)
		_, err = c.Purge(m.t.Context(), k.Subject)
	} else {
		_, err = c.PurgeSession(m.t.Context(), k)
	}
	if err != nil {
		m.t.Errorf("sign-out: got error %v", err)
	}
	m.mu.Lock()
	for _, u := range ended {
		m.in[u], m.out[u], m.before[u] = false, time.Now(), m.signIns[u]
	}
	m.mu.Unlock()
}

// aroundSignOut starts requests of the user in all processes, and may lose the connections for messages, so that both
// happen during the sign-out that follows.
func (m *fleetModel) aroundSignOut(u int) {
	after := func(most time.Duration, do func()) {
		wait := time.Duration(m.r.Int64N(int64(most)))
		go func() {
			time.Sleep(wait)
			do()
		}()
	}
	for _, c := range m.caches {
		for _, scope := range []string{"s", "other"} {
			h := interactive(c, m.key(u), scope)
			after(60*time.Millisecond, func() { m.useHandle(h, u, false) })
		}
	}
	time.Sleep(time.Duration(m.r.Int64N(int64(100 * time.Millisecond))))
	if m.r.IntN(2) == 0 {
		m.log("connections are lost")
		wait := time.Duration(m.r.Int64N(int64(300 * time.Millisecond)))
		after(50*time.Millisecond, func() {
			m.jitter.setConnected(false)
			time.Sleep(wait)
			m.jitter.setConnected(true)
		})
	}
}

// response has the user, the number of the sign-in and the expiry in its token and its state.
func (m *fleetModel) response(u, signIn int) cache.Response {
	lifetime := []time.Duration{3 * time.Minute, time.Hour}[signIn%2]
	r := response(fmt.Sprint(u, " ", signIn, " ", time.Now().Add(lifetime).UnixNano()), lifetime)
	r.State = fmt.Sprint("refresh ", u, " ", signIn)
	return r
}

// fetch redeems a refresh token. Its result belongs to the sign-in of the refresh token.
func (m *fleetModel) fetch(u int) fetchFunc {
	return func(_ context.Context, r *cache.Request) (cache.Response, error) {
		time.Sleep(200 * time.Millisecond)
		if r.StateUnknown {
			return cache.Response{}, errTemporary
		}
		if r.State == "" {
			return cache.Response{}, errLogin
		}
		var owner, n int
		if _, err := fmt.Sscanf(r.State, "refresh %d %d", &owner, &n); err != nil || owner != u {
			m.t.Errorf("user %d: got state %q", u, r.State)
		}
		return m.response(u, n), nil
	}
}

// use gets a token. If strict is set, a user who is signed in must get one.
func (m *fleetModel) use(u int, scope string, strict bool) {
	m.useHandle(m.handle(u, scope), u, strict)
}

func (m *fleetModel) useHandle(h *cache.Handle, u int, strict bool) {
	start := time.Now()
	if tok := h.Hit(); tok != nil {
		m.verify(u, start, tok.AccessToken)
		return
	}
	tok, err := h.Token(m.t.Context(), "", m.fetch(u))
	if err == nil {
		m.verify(u, start, tok.AccessToken)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if strict && !m.damaged && m.in[u] && start.Sub(m.since[u]) > time.Minute {
		m.t.Errorf("user %d signed in %v ago: got error %v, want a token", u, start.Sub(m.since[u]), err)
	}
}

// verify checks a token that was served to a call which began at start.
func (m *fleetModel) verify(u int, start time.Time, text string) {
	var owner, n int
	var end int64
	if _, err := fmt.Sscan(strings.TrimSpace(text), &owner, &n, &end); err != nil || owner != u {
		m.t.Errorf("user %d: got token %q", u, text)
	}
	if !time.Now().Before(time.Unix(0, end)) {
		m.t.Errorf("user %d: got token %q after its expiry", u, text)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.failing && !(m.damage && m.damaged) && n <= m.before[u] && start.Sub(m.out[u]) > m.bound {
		m.t.Errorf("user %d: got the token of sign-in %d %v after the sign-out", u, n, start.Sub(m.out[u]))
	}
}

// A jitterStore takes a few milliseconds before and after each call, and more for some. Messages arrive later.
type jitterStore struct {
	*storetest.Memory
	mu   sync.Mutex // guards the fields below
	r    *rand.Rand
	lost bool // the connections for messages
}

func (s *jitterStore) wait() {
	s.mu.Lock()
	d := s.r.Int64N(int64(3 * time.Millisecond))
	switch s.r.IntN(32) {
	case 0, 1, 2, 3:
		d = s.r.Int64N(int64(30 * time.Millisecond))
	case 4:
		d = s.r.Int64N(int64(110 * time.Millisecond))
	}
	s.mu.Unlock()
	time.Sleep(time.Duration(d))
}

func (s *jitterStore) setConnected(on bool) {
	s.mu.Lock()
	s.lost = !on
	s.mu.Unlock()
	if on {
		s.Reconnect()
	} else {
		s.Disconnect()
	}
}

func (s *jitterStore) Load(ctx context.Context, key string) (cache.Record, error) {
	s.wait()
	defer s.wait()
	return s.Memory.Load(ctx, key)
}

func (s *jitterStore) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	s.wait()
	defer s.wait()
	return s.Memory.Save(ctx, key, value, old, ttl)
}

func (s *jitterStore) Notify(ctx context.Context, key string) error {
	s.wait()
	defer s.wait()
	return s.Memory.Notify(ctx, key)
}

func (s *jitterStore) Subscribe(changed func(string), connected func(bool)) {
	s.Memory.Subscribe(func(key string) {
		go func() {
			s.wait()
			s.mu.Lock()
			lost := s.lost
			s.mu.Unlock()
			if !lost {
				changed(key)
			}
		}()
	}, connected)
}
