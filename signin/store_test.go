package signin_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/signin"
)

// sharedStore is a Store for several processes that counts calls and can fail.
type sharedStore struct {
	mu      sync.Mutex // guards the fields below
	entries map[string]item
	finds   int
	commits int
	deletes int
	fail    map[string]error // by method
	before  func(method, token string)

	noExpiry bool // keeps expired entries
}

type item struct {
	b      []byte
	expiry time.Time
}

func newSharedStore() *sharedStore {
	return &sharedStore{entries: map[string]item{}, fail: map[string]error{}}
}

var errStore = errors.New("dial tcp 192.0.2.1:6379: connection refused")

func (s *sharedStore) call(method, token string, count *int) error {
	s.mu.Lock()
	before := s.before
	s.mu.Unlock()
	if before != nil {
		before(method, token)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	*count++
	return s.fail[method]
}

func (s *sharedStore) Find(token string) ([]byte, bool, error) {
	if err := s.call("Find", token, &s.finds); err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.entries[token]
	if !ok || !s.noExpiry && !time.Now().Before(e.expiry) {
		return nil, false, nil
	}
	return e.b, true, nil
}

func (s *sharedStore) Commit(token string, b []byte, expiry time.Time) error {
	if err := s.call("Commit", token, &s.commits); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[token] = item{b, expiry}
	return nil
}

func (s *sharedStore) Delete(token string) error {
	if err := s.call("Delete", token, &s.deletes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, token)
	return nil
}

func (s *sharedStore) all() map[string]item {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.entries)
}

// setError makes a method fail with err, or succeed if err is nil.
func (s *sharedStore) setError(method string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail[method] = err
}

func (s *sharedStore) counts() (finds, commits, deletes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.finds, s.commits, s.deletes
}

// contextStore is a Store with context methods. It records whether the contexts are live at the end of each call.
type contextStore struct {
	*sharedStore
	live []bool // guarded by mu
}

func (s *contextStore) record(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live = append(s.live, ctx.Err() == nil)
}

func (s *contextStore) FindCtx(ctx context.Context, token string) ([]byte, bool, error) {
	defer s.record(ctx)
	return s.Find(token)
}

func (s *contextStore) CommitCtx(ctx context.Context, token string, b []byte, expiry time.Time) error {
	defer s.record(ctx)
	return s.Commit(token, b, expiry)
}

func (s *contextStore) DeleteCtx(ctx context.Context, token string) error {
	defer s.record(ctx)
	return s.Delete(token)
}

// hang makes a method block until release is called.
func (s *sharedStore) hang(method string) (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	released := make(chan struct{})
	s.before = func(called, _ string) {
		if called == method {
			<-released
		}
	}
	return sync.OnceFunc(func() { close(released) })
}

// A store that hangs and ignores its context delays a request by two seconds. A page that does not need the session
// does not wait.
func TestHangingStoreDelaysRequestsByTwoSeconds(t *testing.T) {
	for _, test := range []struct {
		method, send, path string
		took               time.Duration
		status             int
		body, message      string
	}{
		{"Find", "GET", "/static", 0, 200, "static", ""},
		{"Find", "GET", "/", 2 * time.Second, 200, "false  ", "signin: session could not be read"},
		{"Find", "GET", "/private/x", 2 * time.Second, 503, "A service is not responding", "signin: request rejected"},
		{"Find", "POST", "/logout", 2 * time.Second, 503, "A service is not responding", "signin: request rejected"},
		{"Commit", "GET", "/private/x", 2 * time.Second, 200, "true Alice Adams",
			"signin: use of the session could not be recorded"},
		{"Commit", "POST", "/logout", 4 * time.Second, 503, "A service is not responding", "signin: request rejected"},
	} {
		t.Run(test.method+" "+test.send+test.path, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newSharedStore()
				w := newWebApp(t, withStore(store))
				mux := http.NewServeMux()
				mux.Handle("/", w.routes())
				mux.HandleFunc("/static", func(out http.ResponseWriter, _ *http.Request) { fmt.Fprint(out, "static") })
				w.app = w.site.Handler(mux)
				b := w.browser(t)
				b.signIn("/private/x", alice)
				time.Sleep(2 * time.Minute) // the next use is recorded
				release := store.hang(test.method)
				defer release()
				start := time.Now()
				a := b.send(test.send, test.path, nil)
				took := time.Since(start)
				if took != test.took || a.StatusCode != test.status || !strings.Contains(a.body, test.body) {
					t.Errorf("got status %d after %v, want %d after %v; page\n%s", a.StatusCode, took, test.status,
						test.took, a.body)
				}
				const cause = "no response within 2s: context deadline exceeded"
				if logged := w.log.find(t, test.message); test.message != "" && logged["cause"] != cause {
					t.Errorf("got log record %v, want the cause %q", logged, cause)
				}
				release()
				synctest.Wait()
				if test.path == "/logout" && test.method == "Commit" { // the late write ends the session all the same
					b.wantUser("")
				} else {
					b.wantUser("Alice Adams")
				}
			})
		})
	}
}

// find returns the last record with a message, or nil.
func (l *logBuffer) find(t testing.TB, message string) (last map[string]any) {
	t.Helper()
	for _, line := range l.Lines(t) {
		if line["msg"] == message {
			last = line
		}
	}
	return last
}

// However many requests wait for a store that hangs, at most 256 calls of it are in progress.
func TestCallsOfHangingStoreAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		cookie := b.cookie("__Host-session-")
		var calls atomic.Int64
		released := make(chan struct{})
		store.before = func(string, string) {
			calls.Add(1)
			<-released
		}
		start := time.Now()
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				r := httptest.NewRequest(http.MethodGet, origin+"/private/x", nil)
				r.AddCookie(cookie)
				rec := httptest.NewRecorder()
				if w.app.ServeHTTP(rec, r); rec.Code != http.StatusServiceUnavailable {
					t.Errorf("got status %d, want 503", rec.Code)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took != 2*time.Second || calls.Load() != 256 {
			t.Errorf("got %d calls and responses after %v, want 256 after 2s", calls.Load(), took)
		}
		close(released)
		synctest.Wait()
		b.wantUser("Alice Adams")
	})
}

// While writes hang, each request starts another write, because the use of the session is not recorded. Reads must
// continue.
func TestReadsContinueWhileWritesHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newSharedStore()
		w := newWebApp(t, withStore(store))
		b := w.browser(t)
		b.signIn("/private/x", alice)
		cookie := b.cookie("__Host-session-")
		time.Sleep(2 * time.Minute) // the next use is recorded
		release := store.hang("Commit")
		defer release()
		_, before, _ := store.counts()
		codes := make([]int, 400)
		var wg sync.WaitGroup
		for i := range codes {
			wg.Go(func() {
				r := httptest.NewRequest(http.MethodGet, origin+"/private/x", nil)
				r.AddCookie(cookie)
				rec := httptest.NewRecorder()
				w.app.ServeHTTP(rec, r)
				codes[i] = rec.Code
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		if i := slices.IndexFunc(codes, func(code int) bool { return code != http.StatusOK }); i >= 0 {
			t.Errorf("request %d: got status %d, want 200", i, codes[i])
		}
		release()
		synctest.Wait()
		if _, after, _ := store.counts(); after-before != 256 {
			t.Errorf("got %d writes, want 256", after-before)
		}
		b.wantUser("Alice Adams")
	})
}

// A panic of the store is a failure of the store. It does not reach the server.
func TestStorePanics(t *testing.T) {
	store := newSharedStore()
	w := newWebApp(t, withStore(store))
	b := w.browser(t)
	b.signIn("/private/x", alice)
	store.before = func(string, string) { panic("secret") }
	b.wantStatus(b.get("/private/x"), http.StatusServiceUnavailable, "")
	const cause = "the function panicked with a value of type string"
	if logged := w.log.find(t, "signin: request rejected"); logged["cause"] != cause {
		t.Errorf("got log record %v, want the cause %q", logged, cause)
	}
}

// A write that the request no longer waits for does not restore a session that has ended in the meantime.
func TestLateWriteDoesNotRestoreSession(t *testing.T) {
	plain, withContext := newSharedStore(), &contextStore{sharedStore: newSharedStore()}
	for name, store := range map[string]struct {
		signin.Store
		*sharedStore
	}{"plain": {plain, plain}, "with context": {withContext, withContext.sharedStore}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWebApp(t, withStore(store.Store))
				w.withClaims(map[string]any{"sid": nil}) // otherwise the epoch of the sid would end the session, too
				b := w.browser(t)
				b.signIn("/private/x", alice)
				cookie := b.cookie("__Host-session-")
				time.Sleep(2 * time.Minute) // the next use is recorded
				var late atomic.Bool
				store.before = func(method, _ string) {
					if method == "Commit" && late.CompareAndSwap(false, true) {
						time.Sleep(30 * time.Second)
					}
				}
				start := time.Now()
				b.wantUser("Alice Adams")
				if took := time.Since(start); took != 2*time.Second {
					t.Errorf("the page took %v, want 2s", took)
				}
				b.wantEntra(b.post("/logout", nil))
				_, _, deletes := store.counts()
				time.Sleep(time.Minute)
				if _, _, after := store.counts(); after != deletes+1 {
					t.Errorf("the late write was followed by %d deletes, want 1", after-deletes)
				}
				b.setCookie(cookie)
				b.wantUser("")
				if slices.Contains(withContext.live, false) {
					t.Error("the context of the late write or of its check was canceled")
				}
			})
		})
	}
}
