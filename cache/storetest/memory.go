package storetest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/entratoken/entra/cache"
)

// Memory is a [cache.Store] and [cache.Notifier] in memory, with faults. Create it with [NewMemory]. Several caches
// that share one behave like the processes of a fleet. It works in testing/synctest and starts no goroutine
// without Fault.LateWrite. Expired
// records stay in memory.
type Memory struct {
	mu          sync.Mutex // guards the fields below
	records     map[string]record
	writes      int
	fault       func(Call) Fault
	calls       map[Op]int
	subscribers []subscriber
}

type record struct {
	cache.Record
	expires  time.Time
	previous *record // without a previous one of its own
}

type subscriber struct {
	changed   func(string)
	connected func(bool)
}

// NewMemory returns an empty store without faults.
func NewMemory() *Memory {
	return &Memory{records: make(map[string]record), calls: make(map[Op]int)}
}

// An Op is a method of the store.
type Op string

// The methods that can fail.
const (
	OpLoad   Op = "load"
	OpSave   Op = "save"
	OpNotify Op = "notify"
)

// A Call is one call of a method.
type Call struct {
	Op  Op
	Key string
}

// A Fault changes the result of a call. The zero Fault changes nothing. Faults can be combined.
type Fault struct {
	Delay      time.Duration // the call takes this long
	Hang       bool          // the call returns when its context ends
	Err        error         // the call has no effect and returns the error
	ErrAfter   error         // the call has its effect and returns the error, as if its response was lost
	LoseWrite  bool          // Save and Notify report success without an effect
	LateWrite  time.Duration // Save returns when its context ends, and has its effect this long after its start
	Conflict   bool          // Save returns cache.ErrConflict
	StaleRead  bool          // Load returns the version before the current one, or no record
	FlipByte   bool          // Load returns a value with one wrong byte
	Swap       bool          // Load returns the value of another key
	ExpireNow  bool          // the record of the key is removed before the call
	ExpireLate bool          // Load also returns a record that has expired, with a TTL of zero
}

// Inject sets the function that returns the fault of each call. The function may be called concurrently. If it is nil,
// calls have no faults.
func (m *Memory) Inject(fault func(Call) Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = fault
}

// Calls returns how often the method of an Op was called.
func (m *Memory) Calls(op Op) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[op]
}

// Records returns the records that have not expired.
func (m *Memory) Records() map[string]cache.Record {
	m.mu.Lock()
	defer m.mu.Unlock()
	found := make(map[string]cache.Record)
	for key, r := range m.records {
		if r, ok := r.current(); ok {
			found[key] = r
		}
	}
	return found
}

// Flush removes all records.
func (m *Memory) Flush() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.records)
}

// current returns the record with its remaining lifetime. ok is false if it has expired.
func (r record) current() (cache.Record, bool) {
	r.TTL = time.Until(r.expires)
	r.Value = bytes.Clone(r.Value)
	return r.Record, r.TTL > 0
}

// begin counts a call and returns its fault. It returns an error if the call has no effect.
func (m *Memory) begin(ctx context.Context, op Op, key string) (f Fault, err error) {
	m.mu.Lock()
	m.calls[op]++
	fault := m.fault
	m.mu.Unlock()
	if fault != nil {
		f = fault(Call{op, key})
	}
	if f.Hang {
		<-ctx.Done()
	}
	if f.Delay > 0 {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return f, ctx.Err()
	}
	if f.ExpireNow {
		m.mu.Lock()
		delete(m.records, key)
		m.mu.Unlock()
	}
	return f, f.Err
}

// Load implements [cache.Store].
func (m *Memory) Load(ctx context.Context, key string) (cache.Record, error) {
	f, err := m.begin(ctx, OpLoad, key)
	if err != nil {
		return cache.Record{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, ok := m.records[key]
	if ok && f.StaleRead {
		ok = stored.previous != nil
		if ok {
			stored = *stored.previous
		}
	}
	r, current := stored.current()
	switch {
	case !ok, !current && !f.ExpireLate:
		return cache.Record{}, f.ErrAfter
	case !current:
		r.TTL = 0
	}
	if f.Swap {
		keys := slices.Sorted(maps.Keys(m.records))
		other := keys[(slices.Index(keys, key)+1)%len(keys)]
		r.Value = bytes.Clone(m.records[other].Value)
	}
	if f.FlipByte && len(r.Value) > 0 {
		r.Value[len(r.Value)/2] ^= 1
	}
	if f.ErrAfter != nil {
		return cache.Record{}, f.ErrAfter
	}
	return r, nil
}

// Save implements [cache.Store].
func (m *Memory) Save(ctx context.Context, key string, value []byte, old cache.Version, ttl time.Duration,
) (cache.Version, error) {
	f, err := m.begin(ctx, OpSave, key)
	if err != nil {
		return "", err
	}
	if f.LateWrite > 0 {
		value = bytes.Clone(value)
		time.AfterFunc(f.LateWrite, func() {
			_, _ = m.save(key, value, old, ttl, Fault{})
		})
		<-ctx.Done()
		return "", ctx.Err()
	}
	return m.save(key, value, old, ttl, f)
}

func (m *Memory) save(key string, value []byte, old cache.Version, ttl time.Duration, f Fault) (cache.Version, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, ok := m.records[key]
	if r, current := stored.current(); f.Conflict || ok && current && r.Version != old || !(ok && current) && old != "" {
		return "", cache.ErrConflict
	}
	m.writes++
	version := cache.Version(fmt.Sprint(m.writes))
	if !f.LoseWrite {
		next := record{
			Record: cache.Record{Value: bytes.Clone(value), Version: version}, expires: time.Now().Add(ttl),
		}
		if ok {
			stored.previous = nil
			next.previous = &stored
		}
		m.records[key] = next
	}
	if f.ErrAfter != nil {
		return "", f.ErrAfter
	}
	return version, nil
}

// Notify implements [cache.Notifier].
func (m *Memory) Notify(ctx context.Context, key string) error {
	f, err := m.begin(ctx, OpNotify, key)
	if err != nil {
		return err
	}
	if !f.LoseWrite {
		for _, s := range m.subscribed() {
			s.changed(key)
		}
	}
	return f.ErrAfter
}

// Subscribe implements [cache.Notifier].
func (m *Memory) Subscribe(changed func(key string), connected func(bool)) {
	m.mu.Lock()
	m.subscribers = append(m.subscribers, subscriber{changed, connected})
	m.mu.Unlock()
	connected(true)
}

// Disconnect tells all subscribers that messages may have been lost, and Reconnect that the subscription works again.
// Messages in between are lost with Fault.LoseWrite.
func (m *Memory) Disconnect() { m.setConnected(false) }

// Reconnect ends what Disconnect began.
func (m *Memory) Reconnect() { m.setConnected(true) }

func (m *Memory) setConnected(on bool) {
	for _, s := range m.subscribed() {
		s.connected(on)
	}
}

func (m *Memory) subscribed() []subscriber {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.subscribers)
}

// WithoutPush returns the store without its methods of [cache.Notifier].
func (m *Memory) WithoutPush() cache.Store { return struct{ cache.Store }{m} }
