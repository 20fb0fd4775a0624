package redisstore_test

import (
	"context"
	"encoding/json"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/testkit/loadtest"
	"github.com/entratoken/entra/internal/testkit/servers"
	redisstore "github.com/entratoken/entra/stores/redis"
)

// TestMain silences go-redis, which logs each attempt to connect.
func TestMain(m *testing.M) {
	redis.SetLogger(quiet{})
	loadtest.Main(m, func(options string) (cache.Store, error) {
		var o redis.UniversalOptions
		if err := json.Unmarshal([]byte(options), &o); err != nil {
			return nil, err
		}
		return redisstore.New(redis.NewUniversalClient(&o), nil), nil
	})
}

type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// options describes the client of a process in a load test.
func options(t *testing.T, o loadOptions) string {
	t.Helper()
	o.ContextTimeoutEnabled = true
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// loadOptions are the fields of redis.UniversalOptions that load tests set. Others cannot be marshaled.
type loadOptions struct {
	Addrs                 []string
	MasterName            string `json:",omitempty"`
	ContextTimeoutEnabled bool
}

// full selects the long load tests, which CONTRIBUTING describes.
var full = os.Getenv("ENTRA_FLEET_LOAD") == "full"

// Processes that share Redis send as many token requests as one process with the same load. No call fails.
func TestFleetSendsRequestsOfOneProcess(t *testing.T) {
	cfg := loadtest.Config{Processes: 8, Users: 60, Lifetime: 10 * time.Second, Pause: 300 * time.Millisecond}
	duration := 15 * time.Second
	if full {
		cfg = loadtest.Config{Processes: 20, Users: 500, Lifetime: time.Minute, Pause: time.Second}
		duration = 5 * time.Minute
	}
	var results []loadtest.Result
	for _, name := range []string{"one process", "fleet"} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			if name == "one process" {
				cfg.Processes = 1
			} else {
				cfg.Store = options(t, loadOptions{Addrs: []string{servers.Redis(t).Addr}})
			}
			f := loadtest.Start(t, cfg)
			if !full { // a slow machine could fail to read the store in time
				f.Warm()
			}
			r := f.Run(duration, nil)
			t.Logf("%+v", r)
			if r.Failed+r.SignIns+r.Crossed != 0 {
				t.Errorf("got %d failed calls, %d sign-ins, %d tokens of others; want none", r.Failed, r.SignIns, r.Crossed)
			}
			results = append(results, r)
		})
	}
	if len(results) < 2 { // -run selects one
		return
	}
	got, want := results[1].TokenRequests, results[0].TokenRequests
	t.Logf("%d token requests of the fleet, %d of one process: %.3f", got, want, float64(got)/float64(want))
	most := want + want/5 // the times of refreshes are random, and a slow machine reads the store late
	if full {
		most = want + want/50
	}
	if got > most {
		t.Errorf("got %d token requests of the fleet, want at most %d", got, most)
	}
}

// A loadFault disturbs a fleet and its server for a while.
type loadFault struct {
	name    string
	store   func(t *testing.T, d *disturbance) string // starts the servers; if nil, one server
	act     func(t *testing.T, d *disturbance)
	signIns func(loadtest.Result) bool // whether users may have to sign in; if nil, no user may
}

// A disturbance is the time of a fault.
type disturbance struct {
	fleet   *loadtest.Fleet
	servers []*servers.Server
	proxy   *servers.Proxy
	lasts   time.Duration
}

func (d *disturbance) client(t *testing.T) redis.UniversalClient {
	return newClient(t, d.servers[0].Addr)
}

// repeat calls f until the fault ends.
func (d *disturbance) repeat(f func()) {
	for end := time.Now().Add(d.lasts); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		f()
	}
}

// sessions returns the names of the records of sessions. Those of marks are shorter.
func sessions(t *testing.T, c redis.UniversalClient) (names []string) {
	t.Helper()
	all, err := c.Keys(t.Context(), "entra:token:*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if n, err := c.StrLen(t.Context(), name).Result(); err == nil && n > 1000 {
			names = append(names, name)
		}
	}
	return names
}

// damage changes the records of sessions.
func damage(t *testing.T, d *disturbance, change func(records []string)) {
	t.Helper()
	c := d.client(t)
	d.repeat(func() {
		names := sessions(t, c)
		records := make([]string, len(names))
		for i, name := range names {
			records[i] = c.Get(t.Context(), name).Val()
		}
		change(records)
		for i, name := range names {
			if records[i] != "" {
				c.SetArgs(t.Context(), name, records[i], redis.SetArgs{KeepTTL: true, Mode: "XX"})
			}
		}
	})
}

func proxied(t *testing.T, d *disturbance) string {
	t.Helper()
	d.servers = []*servers.Server{servers.Redis(t)}
	d.proxy = servers.NewProxy(t, d.servers[0].Addr)
	return options(t, loadOptions{Addrs: []string{d.proxy.Addr}})
}

func restartAll(f *loadtest.Fleet) {
	for _, r := range f.Replicas() {
		f.Add()
		r.Kill()
	}
}

var loadFaults = []loadFault{
	{name: "none", act: func(*testing.T, *disturbance) {}},
	{name: "Redis killed and restarted empty", act: func(_ *testing.T, d *disturbance) {
		d.servers[0].Kill()
		time.Sleep(time.Second)
		d.servers[0].Start()
	}},
	{name: "Redis stopped with SIGSTOP", act: func(_ *testing.T, d *disturbance) {
		d.servers[0].Signal(syscall.SIGSTOP)
		time.Sleep(min(d.lasts, 10*time.Second))
		d.servers[0].Signal(syscall.SIGCONT)
	}},
	{name: "Redis slowed to 2 s", store: proxied, act: func(_ *testing.T, d *disturbance) {
		d.proxy.Delay(2 * time.Second)
		time.Sleep(d.lasts)
		d.proxy.Delay(0)
	}},
	{name: "FLUSHALL", act: func(t *testing.T, d *disturbance) {
		if err := d.client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Error(err)
		}
	}},
	{name: "a process restarted, then FLUSHALL", act: func(t *testing.T, d *disturbance) {
		d.fleet.Replicas()[0].Kill()
		d.fleet.Add()
		if err := d.client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Error(err)
		}
	}},
	{name: "maxmemory with eviction", act: func(t *testing.T, d *disturbance) {
		c := d.client(t)
		before := len(sessions(t, c))
		used, err := c.InfoMap(t.Context(), "memory").Result()
		if err != nil {
			t.Error(err)
		}
		most, err := strconv.Atoi(used["Memory"]["used_memory"])
		if err != nil {
			t.Error(err)
		}
		most -= before * 1000 // records have about 3 KB
		for _, set := range [][2]string{{"maxmemory-policy", "allkeys-lru"}, {"maxmemory", strconv.Itoa(most)}} {
			if err := c.ConfigSet(t.Context(), set[0], set[1]).Err(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(d.lasts)
		t.Logf("%d of %d sessions are left", len(sessions(t, c)), before)
		if err := c.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
			t.Error(err)
		}
	}},
	{name: "network cut in writes", store: proxied, act: func(_ *testing.T, d *disturbance) {
		d.proxy.Cut(1000)
		time.Sleep(d.lasts)
		d.proxy.Cut(0)
	}},
	{name: "Sentinel failover", store: func(t *testing.T, d *disturbance) string {
		primary := servers.Redis(t)
		replica := servers.RedisReplica(t, primary)
		sentinel := servers.Sentinel(t, primary)
		d.servers = []*servers.Server{primary, replica, sentinel}
		servers.Eventually(t, 20*time.Second, "Sentinel knowing the replica", func() bool {
			s := redis.NewSentinelClient(&redis.Options{Addr: sentinel.Addr})
			defer s.Close()
			replicas, err := s.Replicas(t.Context(), servers.SentinelName).Result()
			return err == nil && len(replicas) == 1
		})
		return options(t, loadOptions{Addrs: []string{sentinel.Addr}, MasterName: servers.SentinelName})
	}, act: func(_ *testing.T, d *disturbance) { d.servers[0].Kill() }},
	{name: "a node of a cluster killed", store: func(t *testing.T, d *disturbance) string {
		d.servers = servers.RedisCluster(t)
		var addrs []string
		for _, s := range d.servers {
			addrs = append(addrs, s.Addr)
		}
		return options(t, loadOptions{Addrs: addrs})
	}, act: func(_ *testing.T, d *disturbance) { d.servers[0].Kill() }},
	{name: "a process killed with the lease", act: func(_ *testing.T, d *disturbance) {
		d.fleet.Replicas()[0].DieWithLease()
		d.fleet.Add()
	}},
	{name: "records flipped", act: func(t *testing.T, d *disturbance) {
		damage(t, d, func(records []string) {
			for i, r := range records {
				if r != "" {
					b := []byte(r)
					b[16+(len(b)-16)/2] ^= 1
					records[i] = string(b)
				}
			}
		})
	}},
	{name: "records truncated", act: func(t *testing.T, d *disturbance) {
		damage(t, d, func(records []string) {
			for i, r := range records {
				records[i] = r[:len(r)/2]
			}
		})
	}},
	{name: "records swapped", act: func(t *testing.T, d *disturbance) {
		damage(t, d, func(records []string) {
			for i := 1; i < len(records); i += 2 {
				records[i-1], records[i] = records[i], records[i-1]
			}
		})
	}},
	{name: "records replayed after a sign-out", act: func(t *testing.T, d *disturbance) {
		c, users := d.client(t), 10
		old := make(map[string]string)
		for _, name := range sessions(t, c) {
			old[name] = c.Get(t.Context(), name).Val()
		}
		d.fleet.SignOut(users)
		d.repeat(func() {
			for name, record := range old {
				c.Set(t.Context(), name, record, time.Hour)
			}
		})
		d.fleet.SignInAgain()
	}},
	{name: "all processes restarted", act: func(_ *testing.T, d *disturbance) { restartAll(d.fleet) }},
	{name: "all processes killed, Redis emptied", act: func(t *testing.T, d *disturbance) {
		old := d.fleet.Replicas()
		for _, r := range old {
			r.Kill()
		}
		if err := d.client(t).FlushAll(t.Context()).Err(); err != nil {
			t.Error(err)
		}
		for range old {
			d.fleet.Add()
		}
	}, signIns: func(r loadtest.Result) bool { return r.InMemory+r.Again == 0 && r.SignIns == r.Users }},
	{name: "wrong keys at one process", act: func(_ *testing.T, d *disturbance) {
		r := d.fleet.AddWithWrongKey()
		time.Sleep(d.lasts)
		r.Kill()
	}, signIns: func(loadtest.Result) bool { return true }}, // at that process, whenever they come back to it
}

// Users of a fleet notice no fault of Redis or of a process, and get no tokens of other users. No user must sign in
// whose tokens a process has in memory.
func TestFleetSurvivesFaults(t *testing.T) {
	cfg, duration := loadtest.Config{
		Processes: 6, Users: 40, Lifetime: 10 * time.Second, Pause: 300 * time.Millisecond,
	}, 15*time.Second
	if full {
		cfg = loadtest.Config{Processes: 20, Users: 500, Lifetime: time.Minute, Pause: time.Second}
		duration = time.Minute
	}
	results := make([]loadtest.Result, len(loadFaults))
	t.Run("faults", func(t *testing.T) {
		for i, fault := range loadFaults {
			t.Run(fault.name, func(t *testing.T) {
				if !full {
					t.Parallel()
				}
				cfg, d := cfg, &disturbance{lasts: duration / 3}
				if fault.store != nil {
					cfg.Store = fault.store(t, d)
				} else {
					d.servers = []*servers.Server{servers.Redis(t)}
					cfg.Store = options(t, loadOptions{Addrs: []string{d.servers[0].Addr}})
				}
				d.fleet = loadtest.Start(t, cfg)
				d.fleet.Warm()
				r := d.fleet.Run(duration, func() { fault.act(t, d) })
				results[i] = r
				t.Logf("%+v", r)
				if r.Failed+r.Crossed+r.Revived != 0 {
					t.Errorf("got %d failed calls, %d tokens of others, %d tokens after a sign-out; want none",
						r.Failed, r.Crossed, r.Revived)
				}
				if fault.signIns == nil && r.SignIns != 0 || fault.signIns != nil && !fault.signIns(r) {
					t.Errorf("%d users had to sign in, %d of them with tokens in memory, %d again", r.SignIns, r.InMemory, r.Again)
				}
			})
		}
	})
	var names []string
	var ran []loadtest.Result
	for i, fault := range loadFaults {
		if results[i].Calls > 0 { // -run selects some
			names, ran = append(names, fault.name), append(ran, results[i])
		}
	}
	t.Logf("faults:\n%s", loadtest.Table(names, ran))
}

// The clocks of half of the processes are two hours ahead. No call fails, and the fleet sends no more requests.
func TestFleetWithClocksApart(t *testing.T) {
	cfg, duration := loadtest.Config{
		Processes: 3, Users: 40, Lifetime: 10 * time.Second, Pause: 300 * time.Millisecond,
	}, 15*time.Second
	if full {
		cfg = loadtest.Config{Processes: 10, Users: 500, Lifetime: time.Minute, Pause: time.Second}
		duration = time.Minute
	}
	program := loadtest.ProgramWithClock(t)
	var results []loadtest.Result
	names := []string{"clocks equal", "clocks two hours apart"}
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			cfg.Program = program
			cfg.Store = options(t, loadOptions{Addrs: []string{servers.Redis(t).Addr}})
			f := loadtest.Start(t, cfg) // users sign in at processes with the right time, as ID tokens require
			for range cfg.Processes {
				r := f.Add(loadtest.ClockAhead(time.Duration(i) * 2 * time.Hour))
				if ahead := time.Until(r.Clock()).Round(time.Hour); ahead != time.Duration(i)*2*time.Hour {
					t.Fatalf("the clock of a process is %v ahead, want %v", ahead, time.Duration(i)*2*time.Hour)
				}
			}
			f.Warm()
			r := f.Run(duration, nil)
			t.Logf("%+v", r)
			if r.Failed+r.SignIns+r.Crossed != 0 {
				t.Errorf("got %d failed calls, %d sign-ins, %d tokens of others; want none", r.Failed, r.SignIns, r.Crossed)
			}
			results = append(results, r)
		})
	}
	if len(results) < 2 {
		return
	}
	t.Logf("clocks:\n%s", loadtest.Table(names, results))
	if got, want := results[1].TokenRequests, results[0].TokenRequests; got > want+want/5 {
		t.Errorf("got %d token requests with clocks apart, want about %d", got, want)
	}
}
