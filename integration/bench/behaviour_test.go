package bench_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/clientcreds"
)

// record compares what was counted and keeps it for the table in docs/benchmarks.md: the name of the
// test is the row, library the column.
func record(t *testing.T, library string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %d, want %d", library, got, want)
	}
	t.Attr(library, fmt.Sprint(got))
}

// together calls op from n goroutines and returns their errors.
func together(n int, op func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = op(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A hundred callers find no token. Where they could all be on their way before the first answer comes,
// it comes only when all of them wait for one.
func TestColdCallers(t *testing.T) {
	const callers = 100
	run := func(t *testing.T, library string, want int, requests func() int, op func(context.Context) error) {
		t.Helper()
		if err := together(callers, func(int) error { return op(t.Context()) }); err != nil {
			t.Error(err)
		}
		record(t, library, requests(), want)
	}
	// gated is for the libraries whose callers wait for channels.
	gated := func(library string, want int, op func(*testing.T, *endpoint) func(context.Context) error) {
		synctest.Test(t, func(t *testing.T) {
			gate := make(chan struct{})
			e := &endpoint{}
			call := op(t, e)
			e.before = func(*http.Request) int { <-gate; return 0 }
			before := e.asked.Load()
			go func() {
				synctest.Wait()
				close(gate)
			}()
			run(t, library, want, func() int { return int(e.asked.Load() - before) }, call)
		})
	}
	gated("entra", 1, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newEntra(t, e, nil)
		return func(ctx context.Context) error {
			_, err := clientcreds.TokenSource(c, scope).TokenContext(ctx)
			return err
		}
	})
	gated("MSAL", callers, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newMSAL(t, e)
		if _, err := c.AcquireTokenByCredential(t.Context(), []string{numbered(0)}); err != nil { // discovery
			t.Fatal(err)
		}
		return func(ctx context.Context) error {
			_, err := c.AcquireTokenByCredential(ctx, []string{scope})
			return err
		}
	})
	gated("aws", 1, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newAWS(e.ask)
		return func(ctx context.Context) error { _, err := c.Retrieve(ctx); return err }
	})
	// The others hold a mutex across the request.
	e := &endpoint{}
	azure := newAzidentity(t, e)
	run(t, "azidentity", 1, e.requests, func(ctx context.Context) error { return getToken(ctx, azure, "") })
	e = &endpoint{}
	xoauth2 := newXOAuth2(func() error { return e.ask(context.Background()) })
	run(t, "x/oauth2", 1, e.requests, func(context.Context) error { _, err := xoauth2.Token(); return err })
	e = &endpoint{}
	google := newGoogle(e.ask)
	run(t, "Google", 1, e.requests, func(ctx context.Context) error { _, err := google.Token(ctx); return err })
}

// Twenty tenants want a token at the same moment, from an endpoint that takes 100 ms.
func TestTwentyTenants(t *testing.T) {
	const tenants, latency = 20, 100 * time.Millisecond
	id := func(i int) string { return fmt.Sprintf("11111111-1111-1111-1111-%012d", i) }
	virtual := func(library string, op func(*testing.T, *endpoint) func(i int) error) {
		synctest.Test(t, func(t *testing.T) {
			e := &endpoint{before: func(*http.Request) int { time.Sleep(latency); return 0 }}
			call := op(t, e)
			start := time.Now()
			if err := together(tenants, call); err != nil {
				t.Error(err)
			}
			record(t, library, int(time.Since(start)/time.Millisecond), int(latency/time.Millisecond))
		})
	}
	virtual("entra", func(t *testing.T, e *endpoint) func(int) error {
		c := newEntra(t, e, nil)
		return func(i int) error {
			c, err := c.WithTenant(id(i))
			if err != nil {
				return err
			}
			_, err = clientcreds.TokenSource(c, scope).TokenContext(t.Context())
			return err
		}
	})
	virtual("MSAL", func(t *testing.T, e *endpoint) func(int) error {
		c := newMSAL(t, e)
		return func(i int) error {
			_, err := c.AcquireTokenByCredential(t.Context(), []string{scope}, confidential.WithTenantID(id(i)))
			return err
		}
	})
	// azidentity holds a mutex across the request, and virtual time stands still while somebody waits
	// for a mutex. So here is counted how many requests there are at a time.
	var now, most atomic.Int64
	e := &endpoint{before: func(*http.Request) int {
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		for range 1000 { // for the others to come, if they can
			runtime.Gosched()
		}
		return 0
	}}
	azure := newAzidentity(t, e)
	if err := together(tenants, func(i int) error { return getToken(t.Context(), azure, id(i)) }); err != nil {
		t.Error(err)
	}
	record(t, "azidentity", int(latency/time.Millisecond)*e.requests()/int(most.Load()), int(latency/time.Millisecond)*tenants)
}

// A caller whose own time is up finds that somebody else's request is still under way: it should leave
// with the error of its context.
func TestWaiterLeaves(t *testing.T) {
	for _, test := range []struct {
		library string
		want    string
		make    func(*testing.T, *endpoint) func(context.Context) error
	}{
		{"entra", "leaves", func(t *testing.T, e *endpoint) func(context.Context) error {
			s := clientcreds.TokenSource(newEntra(t, e, nil), scope)
			return func(ctx context.Context) error { _, err := s.TokenContext(ctx); return err }
		}},
		{"aws", "leaves", func(t *testing.T, e *endpoint) func(context.Context) error {
			c := newAWS(e.ask)
			return func(ctx context.Context) error { _, err := c.Retrieve(ctx); return err }
		}},
		{"Google", "waits to the end", func(t *testing.T, e *endpoint) func(context.Context) error {
			p := newGoogle(e.ask)
			return func(ctx context.Context) error { _, err := p.Token(ctx); return err }
		}},
		{"azidentity", "waits to the end", func(t *testing.T, e *endpoint) func(context.Context) error {
			c := newAzidentity(t, e)
			return func(ctx context.Context) error { return getToken(ctx, c, "") }
		}},
	} {
		entered, gate := make(chan struct{}), make(chan struct{})
		e := &endpoint{before: func(*http.Request) int { close(entered); <-gate; return 0 }}
		call := test.make(t, e)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- call(context.Background()) }()
		<-entered
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		go func() { second <- call(ended) }()
		var got string
		if test.want == "leaves" { // before the answer: if not, the test never ends
			if err := <-second; errors.Is(err, context.Canceled) || err != nil && strings.Contains(err.Error(), "canceled") {
				got = "leaves"
			}
			close(gate)
		} else { // an answer to a context that has ended can only be the first one's
			close(gate)
			if err := <-second; err == nil {
				got = "waits to the end"
			}
		}
		if err := <-first; err != nil {
			t.Errorf("%s: %v", test.library, err)
		}
		if got != test.want || e.requests() != 1 {
			t.Errorf("%s: %q, want %q; %d requests", test.library, got, test.want, e.requests())
		}
		t.Attr(test.library, got)
	}
	t.Attr("x/oauth2", "takes no context")
}
