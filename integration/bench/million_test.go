package bench_test

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/obo"
)

const tokenSize = 1500

// BenchmarkSessions exchanges 20,000 assertions for tokens of 1.5 KB and measures their memory.
func BenchmarkSessions(b *testing.B) {
	const sessions = 20_000
	tokens := cache.New(cache.Options{Size: 2 * sessions})
	c := newEntra(b, &endpoint{tokenSize: tokenSize}, tokens)
	get := func(i int) error { _, err := obo.TokenSource(c, assertion(i), scope).Token(); return err }
	if err := get(-1); err != nil { // allocations that happen once
		b.Fatal(err)
	}
	before := heap()
	inParallel(b, sessions, get)
	live := heap() - before
	b.ReportMetric(float64(live)/sessions-tokenSize, "B/session-beyond-token")
	b.ReportMetric(float64(tokens.Stats().Sessions), "sessions")
	runtime.KeepAlive(tokens)
}

// BenchmarkMillion fills a cache with a million such sessions. It measures their memory, a garbage collection, and
// hits. The sessions are stored directly, because a million exchanges take minutes. It needs 6 GB.
func BenchmarkMillion(b *testing.B) {
	const sessions = 1_000_000
	tokens := cache.New(cache.Options{Size: 2 * sessions})
	c := newEntra(b, &endpoint{tokenSize: tokenSize}, tokens)
	app, user := clientcreds.TokenSource(c, scope), assertion(0)
	for _, op := range []func() error{tokenOf(app), tokenOf(obo.TokenSource(c, user, scope))} {
		if err := op(); err != nil {
			b.Fatal(err)
		}
	}
	scopes := []string{scope}
	before := heap()
	inParallel(b, sessions, func(i int) error {
		subject := sha256.Sum256(fmt.Append(nil, i))
		k := cache.Key{Authority: authority, ClientID: clientID, Flow: obo.FlowName, Subject: string(subject[:])}
		var h cache.Handle
		h.Bind(tokens, k, scopes, nil)
		_, err := h.Put(context.Background(), cache.Response{
			AccessToken: fmt.Sprintf("%0*d", tokenSize, i), TokenType: "Bearer", Lifetime: 24 * time.Hour,
		})
		return err
	})
	live := heap() - before
	b.Run("memory", func(b *testing.B) {
		var pause time.Duration
		cpu := gcSeconds()
		start := time.Now()
		for b.Loop() {
			runtime.GC()
			pause = max(pause, lastPause())
		}
		cycles := float64(b.N)
		b.ReportMetric(float64(live)/1e9, "live-GB")
		b.ReportMetric(float64(live)/sessions-tokenSize, "B/session-beyond-token")
		b.ReportMetric(time.Since(start).Seconds()*1e3/cycles, "ms/gc")
		b.ReportMetric((gcSeconds()-cpu)*1e3/cycles, "cpu-ms/gc")
		b.ReportMetric(float64(pause)/1e3, "max-pause-us")
		b.ReportMetric(float64(tokens.Stats().Sessions), "sessions")
	})
	// One benchmark for all, because each begins with a garbage collection, which takes seconds.
	b.Run("hit", func(b *testing.B) {
		ctx, text := context.Background(), []byte(user)
		ops := []struct {
			name, floor string
			op          func() error
			per         func() error
		}{
			{"hit", "time.Now", tokenOf(app), func() error { _ = time.Now(); return nil }},
			{"obo", "sha256", func() error { _, err := obo.TokenSource(c, user, scope).TokenContext(ctx); return err },
				func() error { sha256.Sum256(text); return nil }},
		}
		for b.Loop() {
			for _, o := range ops {
				for _, how := range []struct {
					name       string
					goroutines int
				}{{"serial", 1}, {"parallel", runtime.GOMAXPROCS(0)}} {
					op, floor := sideBySide(b, how.goroutines, o.op, o.per)
					b.ReportMetric(op, o.name+"-"+how.name+"-ns")
					b.ReportMetric(floor, o.floor+"-"+how.name+"-ns")
				}
			}
			b.ReportMetric(testing.AllocsPerRun(100, func() { ops[0].op() }), "hit-allocs")
		}
	})
	runtime.KeepAlive(tokens)
}

// sideBySide measures two operations alternately. It returns both times, in nanoseconds, of the round with the median
// ratio.
func sideBySide(b *testing.B, goroutines int, op, floor func() error) (opTime, floorTime float64) {
	const rounds, times = 15, 20_000
	measure := func(f func() error) float64 {
		start := time.Now()
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for range times {
					if err := f(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		return float64(time.Since(start)) / float64(times*goroutines)
	}
	all := make([][2]float64, rounds)
	for i := range all {
		all[i] = [2]float64{measure(op), measure(floor)}
	}
	slices.SortFunc(all, func(x, y [2]float64) int { return cmp.Compare(x[0]/x[1], y[0]/y[1]) })
	return all[rounds/2][0], all[rounds/2][1]
}

// inParallel calls do for 0 to n-1, on all CPUs.
func inParallel(b *testing.B, n int, do func(int) error) {
	var wg sync.WaitGroup
	workers := runtime.GOMAXPROCS(0)
	for worker := range workers {
		wg.Go(func() {
			for i := worker; i < n; i += workers {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
}

// heap returns the bytes in use after two garbage collections. The second frees objects with finalizers.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func lastPause() time.Duration {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	// One cycle has two pauses, which the ring records as one.
	return time.Duration(m.PauseNs[(m.NumGC+255)%256])
}

func gcSeconds() float64 {
	sample := []metrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}}
	metrics.Read(sample)
	return sample[0].Value.Float64()
}
