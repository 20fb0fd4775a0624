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

// record compares a count and records it for the table in docs/benchmarks.md. The name of the test is the row, and
// library is the column.
func record(t *testing.T, library string, got, want int) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %d, want %d", library, got, want)
	}
	t.Attr(library, fmt.Sprint(got))
}

// together calls op in n goroutines and returns their errors.
func together(n int, op func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = op(i) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// A hundred callers find no cached token. If the library allows it, the response is delayed until all of them wait.
func TestColdCallers(t *testing.T) {
	const callers = 100
	run := func(t *testing.T, library string, want int, requests func() int, op func(context.Context) error) {
		t.Helper()
		if err := together(callers, func(int) error { return op(t.Context()) }); err != nil {
			t.Error(err)
		}
		record(t, library, requests(), want)
	}
	// delayed is for libraries whose callers wait for channels.
	delayed := func(library string, want int, op func(*testing.T, *endpoint) func(context.Context) error) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			e := &endpoint{}
			call := op(t, e)
			e.before = func(*http.Request) int { <-release; return 0 }
			before := e.tokenRequests.Load()
			go func() {
				synctest.Wait()
				close(release)
			}()
			run(t, library, want, func() int { return int(e.tokenRequests.Load() - before) }, call)
		})
	}
	delayed("entra", 1, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newEntra(t, e, nil)
		return func(ctx context.Context) error {
			_, err := clientcreds.TokenSource(c, scope).TokenContext(ctx)
			return err
		}
	})
	delayed("MSAL", callers, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newMSAL(t, e)
		if _, err := c.AcquireTokenByCredential(t.Context(), []string{numbered(0)}); err != nil { // discovery
			t.Fatal(err)
		}
		return func(ctx context.Context) error {
			_, err := c.AcquireTokenByCredential(ctx, []string{scope})
			return err
		}
	})
	delayed("aws", 1, func(t *testing.T, e *endpoint) func(context.Context) error {
		c := newAWS(e.send)
		return func(ctx context.Context) error { _, err := c.Retrieve(ctx); return err }
	})
	// The other libraries lock a mutex during the request.
	e := &endpoint{}
	azure := newAzidentity(t, e)
	run(t, "azidentity", 1, e.requests, func(ctx context.Context) error { return getToken(ctx, azure, "") })
	e = &endpoint{}
	xoauth2 := newXOAuth2(func() error { return e.send(context.Background()) })
	run(t, "x/oauth2", 1, e.requests, func(context.Context) error { _, err := xoauth2.Token(); return err })
	e = &endpoint{}
	google := newGoogle(e.send)
	run(t, "Google", 1, e.requests, func(ctx context.Context) error { _, err := google.Token(ctx); return err })
}

// Tokens of twenty tenants are requested at the same time from an endpoint that takes 100 ms.
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
	// azidentity locks a mutex during the request, and virtual time stops while a goroutine waits for a mutex. The number
	// of concurrent requests is counted instead.
	var now, most atomic.Int64
	e := &endpoint{before: func(*http.Request) int {
		defer now.Add(-1)
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		for range 1000 { // lets concurrent requests start
			runtime.Gosched()
		}
		return 0
	}}
	azure := newAzidentity(t, e)
	if err := together(tenants, func(i int) error { return getToken(t.Context(), azure, id(i)) }); err != nil {
		t.Error(err)
	}
	record(t, "azidentity", int(latency/time.Millisecond)*e.requests()/int(most.Load()),
		int(latency/time.Millisecond)*tenants)
}

// A caller whose context is canceled while another caller's request is in flight should return the error of its
// context.
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
			c := newAWS(e.send)
			return func(ctx context.Context) error { _, err := c.Retrieve(ctx); return err }
		}},
		{"Google", "waits for the response", func(t *testing.T, e *endpoint) func(context.Context) error {
			p := newGoogle(e.send)
			return func(ctx context.Context) error { _, err := p.Token(ctx); return err }
		}},
		{"azidentity", "waits for the response", func(t *testing.T, e *endpoint) func(context.Context) error {
			c := newAzidentity(t, e)
			return func(ctx context.Context) error { return getToken(ctx, c, "") }
		}},
	} {
		entered, release := make(chan struct{}), make(chan struct{})
		e := &endpoint{before: func(*http.Request) int { close(entered); <-release; return 0 }}
		call := test.make(t, e)
		first, second := make(chan error, 1), make(chan error, 1)
		go func() { first <- call(context.Background()) }()
		<-entered
		canceled, cancel := context.WithCancel(context.Background())
		cancel()
		go func() { second <- call(canceled) }()
		var got string
		if test.want == "leaves" { // before the response; otherwise the test does not finish
			if err := <-second; errors.Is(err, context.Canceled) || err != nil && strings.Contains(err.Error(), "canceled") {
				got = "leaves"
			}
			close(release)
		} else { // only the first request can have succeeded
			close(release)
			if err := <-second; err == nil {
				got = "waits for the response"
			}
		}
		if err := <-first; err != nil {
			t.Errorf("%s: %v", test.library, err)
		}
		if got != test.want || e.requests() != 1 {
			t.Errorf("%s: got %q and %d requests, want %q and 1", test.library, got, e.requests(), test.want)
		}
		t.Attr(test.library, got)
	}
	t.Attr("x/oauth2", "takes no context")
}
