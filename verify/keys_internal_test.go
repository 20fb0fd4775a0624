package verify

import (
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/entratoken/entra/internal/retry"
)

func TestKeysHaveBounds(t *testing.T) {
	// number returns the largest number of that many bits, which is odd.
	number := func(bits uint) []byte {
		n := new(big.Int).Lsh(big.NewInt(1), bits)
		return n.Sub(n, big.NewInt(1)).Bytes()
	}
	for _, test := range []struct {
		name string
		n, e []byte
		ok   bool
	}{
		{"2047 bits", number(2047), []byte{3}, false},
		{"2048 bits", number(2048), []byte{3}, true},
		{"8192 bits", number(8192), []byte{3}, true},
		{"8193 bits", number(8193), []byte{3}, false},
		{"exponent 1", number(2048), []byte{1}, false},
		{"no exponent", number(2048), nil, false},
		{"exponent 4", number(2048), []byte{4}, false},
		{"exponent of 31 bits", number(2048), number(31), true},
		{"exponent 2^31+1", number(2048), []byte{0x80, 0, 0, 1}, false},
		{"exponent of 32 bits", number(2048), number(32), false},
		{"exponent of five bytes", number(2048), []byte{0, 0, 0, 0, 3}, false},
	} {
		k := parseKey(fmt.Appendf(nil, `{"kty":"RSA","kid":"k","n":%q,"e":%q}`,
			encoding.EncodeToString(test.n), encoding.EncodeToString(test.e)))
		if (k != nil) != test.ok {
			t.Errorf("%s: got key %v, want %v", test.name, k != nil, test.ok)
			continue
		}
		if k != nil && (k.public.N.Cmp(new(big.Int).SetBytes(test.n)) != 0 ||
			int64(k.public.E) != new(big.Int).SetBytes(test.e).Int64()) {
			t.Errorf("%s: got exponent %d and another modulus or exponent", test.name, k.public.E)
		}
	}
}

// failingTransport fails every request.
type failingTransport struct{}

func (failingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("no network")
}

// A refresh starts at the end of the pause, not before, and later lookups do not start another.
func TestRefreshStartsAfterThePause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeys("https://login.microsoftonline.com/keys", "login.microsoftonline.com",
			&http.Client{Transport: failingTransport{}}, retry.NewBudget(), slog.New(slog.DiscardHandler))
		start := time.Now()
		set := &keySet{fetched: start, tried: start, pause: time.Minute}
		k.current.Store(set)
		for _, test := range []struct {
			after  time.Duration
			starts bool
		}{{time.Minute - 1, false}, {time.Minute, true}, {time.Minute + fetchTimeout, false}} {
			before := k.current.Load()
			got, ok := k.load(start.Add(test.after))
			if !ok || (got != before) != test.starts || got != k.current.Load() {
				t.Errorf("after %v: got usable = %v, refresh started = %v, want true, %v", test.after, ok, got != before, test.starts)
			}
		}
		synctest.Wait()
		if k.failures != 1 || k.current.Load().pause != minPause {
			t.Errorf("got %d failed fetches and a pause of %v, want 1 and %v", k.failures, k.current.Load().pause, minPause)
		}
	})
}

// Concurrent lookups start one refresh, which counts once.
func TestConcurrentLookupsUseTheLimitOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 5000 {
			k := newKeys("https://login.microsoftonline.com/keys", "login.microsoftonline.com",
				&http.Client{Transport: failingTransport{}}, retry.NewBudget(), slog.New(slog.DiscardHandler))
			limit := new(fetchLimit)
			k.limit.Store(limit)
			now := time.Now()
			k.current.Store(&keySet{fetched: now, tried: now})
			var wg sync.WaitGroup
			start := make(chan struct{})
			for range 8 {
				wg.Go(func() {
					<-start
					k.load(now)
				})
			}
			close(start)
			wg.Wait()
			if got := limit.earned.Sub(now); got != untestedInterval {
				t.Fatalf("got %d fetches, want 1", got/untestedInterval)
			}
			synctest.Wait()
			if k.failures != 1 {
				t.Fatalf("got %d failed fetches, want 1", k.failures)
			}
		}
	})
}

// The age of keys is the longer of the wall clock's and the monotonic clock's.
func TestSinceUsesTheClockThatAdvancedMore(t *testing.T) {
	start := time.Now()
	for _, test := range []struct{ wall, monotonic, want time.Duration }{
		{time.Hour, time.Hour, time.Hour},
		{-24 * time.Hour, time.Hour, time.Hour}, // the wall clock was set back
		{time.Hour, time.Second, time.Hour},     // the machine slept
	} {
		now := start.Add(test.monotonic)
		setWall(t, &now, start.Add(test.wall))
		if got := now.Sub(start); got != test.monotonic {
			t.Fatalf("got %v from the monotonic clock, want %v", got, test.monotonic)
		}
		if got := since(start, now); got != test.want {
			t.Errorf("wall clock %v, monotonic clock %v: got %v, want %v", test.wall, test.monotonic, got, test.want)
		}
	}
}

// setWall changes the wall time of at and keeps its monotonic reading. Package time has no function
// for this: such times result only from setting a clock. The first word of a time.Time has the wall
// time, and the second has the monotonic reading.
func setWall(t *testing.T, at *time.Time, wall time.Time) {
	t.Helper()
	*(*uint64)(unsafe.Pointer(at)) = *(*uint64)(unsafe.Pointer(&wall))
	if !at.Round(0).Equal(wall.Round(0)) {
		t.Fatal("the layout of time.Time has changed")
	}
}
