//go:build linux

// Package loadtest runs a fleet of real processes that share a store. Its users call them in turn, as behind a load
// balancer without sticky sessions. It counts the costs of faults.
package loadtest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
)

// Config describes a fleet and its load.
type Config struct {
	Processes int
	Users     int
	Lifetime  time.Duration // of tokens
	Pause     time.Duration // of a user between two calls, on average
	Store     string        // for the argument open of Main; if empty, the fleet has no store
	Program   string        // of the processes; if empty, the test's own
}

// A Fleet is some processes of a web app with their users.
type Fleet struct {
	Entra *entratest.Server

	t       *testing.T
	cfg     Config
	process processConfig
	client  *http.Client
	turn    atomic.Uint64
	mu      sync.Mutex // guards replicas
	// replicas are the processes behind the load balancer.
	replicas []*Replica
	users    []*user

	calls, failed, signIns, inMemory, again, crossed, revived, slowest atomic.Int64
	errors                                                             chan string
}

// A Replica is a process of a fleet.
type Replica struct {
	fleet *Fleet
	url   string
	cmd   *exec.Cmd
	stdin io.Closer
	done  chan struct{} // closed when the process has ended
}

// Start starts the processes of cfg and signs its users in. Everything ends with the test.
func Start(t *testing.T, cfg Config) *Fleet {
	t.Helper()
	sample := entratest.Sample()
	sample.Lifetime = func() time.Duration { return cfg.Lifetime }
	f := &Fleet{
		t: t, cfg: cfg, errors: make(chan string, 5),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: cfg.Users}},
	}
	t.Cleanup(f.client.CloseIdleConnections)
	for i := range cfg.Users {
		u := &user{fleet: f, name: fmt.Sprintf("user%d@contoso.onmicrosoft.com", i), served: make(map[*Replica]bool)}
		f.users = append(f.users, u)
		sample.Users = append(sample.Users, entratest.User{Username: u.name, TenantID: entratest.SampleTenant})
	}
	f.Entra = entratest.NewServer(sample)
	url, roots, stop := f.Entra.StartTLS()
	t.Cleanup(stop)
	f.process = processConfig{
		Entra: url, CA: root(t, url, roots), Store: cfg.Store, Key: []byte("0123456789abcdef0123456789abcdef"),
	}
	for range cfg.Processes {
		f.Add()
	}
	f.each(func(u *user) { u.signIn() })
	return f
}

// root returns the certificate of the CA of a server.
func root(t *testing.T, url string, roots *x509.CertPool) []byte {
	t.Helper()
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	chain := conn.(*tls.Conn).ConnectionState().VerifiedChains[0]
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
}

// Add starts another process. env are variables of its environment, such as "NAME=value".
func (f *Fleet) Add(env ...string) *Replica {
	f.t.Helper()
	return f.add(f.process, env...)
}

// AddWithWrongKey starts a process with another key for the records in the store.
func (f *Fleet) AddWithWrongKey() *Replica {
	f.t.Helper()
	cfg := f.process
	cfg.Key = []byte("fedcba9876543210fedcba9876543210")
	return f.add(cfg)
}

func (f *Fleet) add(cfg processConfig, env ...string) *Replica {
	f.t.Helper()
	config, err := json.Marshal(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	program := f.cfg.Program
	if program == "" {
		program, err = os.Executable()
		if err != nil {
			f.t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(context.Background(), program)
	cmd.Env = append(append(os.Environ(), env...), processEnv+"="+string(config))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	r := &Replica{fleet: f, cmd: cmd, stdin: stdin, done: make(chan struct{})}
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	go func() {
		cmd.Wait() //nolint:errcheck // the process was killed
		close(r.done)
	}()
	f.t.Cleanup(r.Kill)
	if err != nil {
		f.t.Fatalf("a process did not start: %v", err)
	}
	r.url = "http://" + strings.TrimSpace(addr)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas = append(f.replicas, r)
	return r
}

// Replicas returns the processes behind the load balancer.
func (f *Fleet) Replicas() []*Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]*Replica(nil), f.replicas...)
}

// Kill ends the process with SIGKILL and waits for its end. The load balancer notices it.
func (r *Replica) Kill() {
	r.cmd.Process.Kill() //nolint:errcheck // it may have ended
	r.Wait()
}

// Wait waits until the process has ended.
func (r *Replica) Wait() {
	<-r.done
	r.stdin.Close()
	r.fleet.mu.Lock()
	defer r.fleet.mu.Unlock()
	for i, other := range r.fleet.replicas {
		if other == r {
			r.fleet.replicas = append(r.fleet.replicas[:i:i], r.fleet.replicas[i+1:]...)
		}
	}
}

// DieWithLease makes the process kill itself when it sends its next token request, and waits for its end.
func (r *Replica) DieWithLease() {
	if _, err := r.call(request{Op: "die"}); err != nil {
		r.fleet.t.Error(err)
	}
	r.Wait()
}

func (r *Replica) alive() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// Stats returns the counters of the process's cache, and the CPU time that the process has used.
func (r *Replica) Stats() (cache.Stats, time.Duration) {
	resp, err := r.call(request{Op: "stats"})
	if err != nil {
		r.fleet.t.Error(err)
	}
	return resp.Stats, resp.CPU
}

// Clock returns the time of day in the process.
func (r *Replica) Clock() time.Time {
	resp, err := r.call(request{Op: "stats"})
	if err != nil {
		r.fleet.t.Error(err)
	}
	return resp.Clock
}

// call sends a request to the process. The error means that there was no response.
func (r *Replica) call(req request) (resp response, err error) {
	body, err := json.Marshal(req)
	if err != nil {
		return resp, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	hr, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(body))
	if err != nil {
		return resp, err
	}
	got, err := r.fleet.client.Do(hr)
	if err != nil {
		return resp, err
	}
	defer got.Body.Close()
	return resp, json.NewDecoder(got.Body).Decode(&resp)
}

// balance sends a request to the next process. If that has died, it sends it to another one.
func (f *Fleet) balance(req request) (response, *Replica) {
	for {
		replicas := f.Replicas()
		if len(replicas) == 0 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		r := replicas[int(f.turn.Add(1)%uint64(len(replicas)))]
		resp, err := r.call(req)
		if err == nil {
			return resp, r
		}
		if r.alive() && f.t.Context().Err() == nil {
			time.Sleep(100 * time.Millisecond) // a process that was killed ends in a moment
		}
		if r.alive() {
			return response{Error: err.Error()}, r
		}
		r.Wait()
	}
}

// each calls do for all users at once.
func (f *Fleet) each(do func(u *user)) {
	var wg sync.WaitGroup
	limit := make(chan struct{}, 16)
	for _, u := range f.users {
		wg.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			do(u)
		})
	}
	wg.Wait()
}

// A user is signed in with one browser. mu is held during a call.
type user struct {
	fleet *Fleet
	name  string

	mu        sync.Mutex // guards the fields below
	account   authcode.Account
	served    map[*Replica]bool // processes that have the user's current session in memory
	signedOut time.Time         // zero for a user who is signed in
	again     bool              // the user had to sign in again
}

// signIn signs the user in. The request and the callback reach two processes.
func (u *user) signIn() {
	f := u.fleet
	var problem string
	for range 20 {
		begun, _ := f.balance(request{Op: "begin", Session: strings.ReplaceAll(u.name, "@", "-") + "-browser"})
		if begun.Error != "" {
			problem = begun.Error
			continue
		}
		callback, err := f.Entra.SignIn(context.Background(), begun.URL, u.name)
		if err != nil {
			problem = err.Error()
			continue
		}
		login, err := json.Marshal(begun.Login)
		if err != nil {
			f.t.Error(err)
			return
		}
		done, r := f.balance(request{Op: "exchange", Login: login, Params: callback.Query()})
		if problem = done.Error; problem != "" {
			time.Sleep(100 * time.Millisecond)
			continue
		}
		u.account, u.signedOut = done.Account, time.Time{}
		clear(u.served)
		u.served[r] = true
		return
	}
	f.fail(u.name + ": sign-in: " + problem)
}

// fail counts a call that failed.
func (f *Fleet) fail(problem string) {
	f.failed.Add(1)
	select {
	case f.errors <- problem:
	default: // some are enough
	}
}

// call gets a token, as a page does that calls an API, and checks it.
func (u *user) call() {
	u.mu.Lock()
	defer u.mu.Unlock()
	f, start := u.fleet, time.Now()
	resp, r := f.balance(request{Op: "token", Account: u.account})
	took := time.Since(start)
	f.calls.Add(1)
	for old := f.slowest.Load(); int64(took) > old && !f.slowest.CompareAndSwap(old, int64(took)); old = f.slowest.Load() {
	}
	switch {
	case resp.Token != "":
		f.check(u, resp.Token, start)
		if !u.signedOut.IsZero() && start.Sub(u.signedOut) > time.Second {
			f.revived.Add(1)
		}
		u.served[r] = true
	case resp.SignIn:
		if !u.signedOut.IsZero() {
			break
		}
		f.signIns.Add(1)
		for replica := range u.served {
			if replica.alive() {
				f.inMemory.Add(1)
				break
			}
		}
		if u.again {
			f.again.Add(1)
		}
		u.again = true
		u.signIn()
	case u.signedOut.IsZero():
		f.fail(fmt.Sprintf("%s after %v: %s", u.name, took.Round(time.Millisecond), resp.Error))
	}
}

// expiryTolerance allows for a write that a stopped store executes later. The token then looks younger until the
// process that wrote it corrects the record (docs/design/fleet.md).
const expiryTolerance = 6 * time.Second

// check checks that a token is the user's and was not expired when the call started.
func (f *Fleet) check(u *user, token string, start time.Time) {
	var claims struct {
		OID string `json:"oid"`
		Exp int64  `json:"exp"`
	}
	parts := strings.Split(token+"..", ".")
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(b, &claims)
	}
	switch {
	case err != nil:
		f.t.Errorf("%s: the token is not a JWT: %v", u.name, err)
	case claims.OID != u.account.ObjectID:
		f.crossed.Add(1)
		f.t.Errorf("%s: got a token of user %s", u.name, claims.OID)
	case start.After(time.Unix(claims.Exp, 0).Add(expiryTolerance)):
		f.t.Errorf("%s: the token expired %v ago", u.name, start.Sub(time.Unix(claims.Exp, 0)))
	}
}

// SignOut signs some users out. They call the processes as before, but do not sign in.
func (f *Fleet) SignOut(users int) {
	for _, u := range f.users[:users] {
		u.mu.Lock()
		if resp, _ := f.balance(request{Op: "sign out", Account: u.account}); resp.Error != "" {
			f.fail("sign-out: " + resp.Error)
		}
		u.signedOut = time.Now()
		u.mu.Unlock()
	}
}

// SignInAgain signs the users in that have signed out.
func (f *Fleet) SignInAgain() {
	for _, u := range f.users {
		u.mu.Lock()
		if !u.signedOut.IsZero() {
			u.signIn()
		}
		u.mu.Unlock()
	}
}

// A Result is what happened during [Fleet.Run].
type Result struct {
	Users         int
	Calls         int
	Failed        int           // calls without a token, except for users who had to sign in
	SignIns       int           // calls after which the user had to sign in
	InMemory      int           // of SignIns: some process had the user's tokens in memory
	Again         int           // of SignIns: the user had to sign in before
	Crossed       int           // tokens of another user
	Revived       int           // tokens later than a second after a sign-out
	TokenRequests int           // to Entra
	Slowest       time.Duration // call
	CPU           time.Duration // of all processes that live
	StoreErrors   uint64        // likewise; also time-outs of a machine that is too slow for the load
}

// Warm has each user call each process until it returns a token, so that all have all tokens in memory.
func (f *Fleet) Warm() {
	f.each(func(u *user) {
		for _, r := range f.Replicas() {
			for start := time.Now(); ; time.Sleep(100 * time.Millisecond) {
				resp, err := r.call(request{Op: "token", Account: u.account})
				if err == nil && resp.Token != "" {
					u.served[r] = true
					break
				}
				if time.Since(start) > time.Minute {
					f.t.Errorf("%s: got %q, %v, want a token", u.name, resp.Error, err)
					return
				}
			}
		}
	})
}

// Run has the users call the processes for some time. act is called after a third of it. It may be nil.
func (f *Fleet) Run(duration time.Duration, act func()) Result {
	before := f.Entra.TokenRequests()
	_, cpu := f.stats()
	ctx, cancel := context.WithTimeout(f.t.Context(), duration)
	defer cancel()
	var wg sync.WaitGroup
	for _, u := range f.users {
		wg.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-time.After(time.Duration(rand.Int64N(int64(2 * f.cfg.Pause)))):
					u.call()
				case <-ctx.Done():
				}
			}
		})
	}
	if act != nil {
		time.Sleep(duration / 3)
		act()
	}
	wg.Wait()
	close(f.errors)
	for problem := range f.errors {
		f.t.Log(problem)
	}
	storeErrors, cpuAfter := f.stats()
	return Result{
		Users: len(f.users), Calls: int(f.calls.Load()), Failed: int(f.failed.Load()), SignIns: int(f.signIns.Load()),
		InMemory: int(f.inMemory.Load()), Again: int(f.again.Load()), Crossed: int(f.crossed.Load()),
		Revived: int(f.revived.Load()), TokenRequests: f.Entra.TokenRequests() - before,
		Slowest: time.Duration(f.slowest.Load()), CPU: cpuAfter - cpu, StoreErrors: storeErrors,
	}
}

func (f *Fleet) stats() (storeErrors uint64, cpu time.Duration) {
	for _, r := range f.Replicas() {
		stats, used := r.Stats()
		storeErrors += stats.StoreErrors
		cpu += used
	}
	return storeErrors, cpu
}

// Table returns results as a table in Markdown, compared with the token requests of the first one.
func Table(names []string, results []Result) string {
	var b strings.Builder
	b.WriteString("| fault | calls | failed | token requests | users who signed in | slowest call |\n")
	b.WriteString("| --- | --- | --- | --- | --- | --- |\n")
	for i, r := range results {
		fmt.Fprintf(&b, "| %s | %d | %d | %d (%.2f) | %d | %.1f s |\n", names[i], r.Calls, r.Failed, r.TokenRequests,
			float64(r.TokenRequests)/float64(results[0].TokenRequests), r.SignIns, r.Slowest.Seconds())
	}
	return b.String()
}
