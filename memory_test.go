//go:build !race

package entra_test

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// 200,000 assertions in a cache of 10,000 sessions: memory stays bounded, and the first ones
// still work.
func TestManyAssertions(t *testing.T) {
	const assertions, size = 200_000, 10_000
	cfg := newEstate().config("api-a")
	cfg.HTTPClient = &http.Client{Transport: newFastEntra(t)}
	cfg.Cache = cache.New(cache.Options{Size: size})
	c := testkit.Client(t, cfg)
	assertion := func(i int) string { return fmt.Sprintf("e30.e30.%d", i) }
	get := func(s *entra.TokenSource, i int) {
		tok, err := s.Token()
		if err != nil {
			t.Error(err)
		} else if want := assertion(i) + "."; !strings.HasPrefix(tok.AccessToken, want) {
			t.Errorf("assertion %d got another's token", i)
		}
	}
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	first := obo.TokenSource(c, assertion(0), "s")
	get(first, 0)
	before := heap()
	var wg sync.WaitGroup
	for worker := range 2 {
		wg.Go(func() {
			for i := worker; i < assertions && !t.Failed(); i += 2 {
				get(obo.TokenSource(c, assertion(i), "s"), i)
			}
		})
	}
	wg.Wait()
	after := heap()
	perSession := (after - before) / size
	t.Logf("heap before: %d KB; after %d assertions: %d KB, %d bytes for each of %d sessions", before>>10, assertions,
		after>>10, perSession, size)
	if perSession > len(filler)+1500 {
		t.Errorf("%d bytes for each session of a token of %d bytes", perSession, len(filler))
	}
	if stats := cfg.Cache.Stats(); stats.Sessions != size || stats.Hits+stats.Misses != assertions+1 {
		t.Errorf("%+v", stats)
	}
	get(first, 0)
	get(obo.TokenSource(c, assertion(1), "s"), 1)
}
