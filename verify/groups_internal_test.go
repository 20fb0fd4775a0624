package verify

import (
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
)

// The lookups of all tenants together are bounded. Calls that return leave their places to others.
func TestGroupLookupsOfManyTenantsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var running atomic.Int64
		g := newGroupLookups(&rules{graphHost: "graph.example"}, Config{
			GraphTokens: func(string) (*entra.TokenSource, error) {
				running.Add(1)
				defer running.Add(-1)
				<-release
				return nil, errors.New("no client")
			},
		}, slog.New(slog.DiscardHandler))
		for n := range 2 * maxGroupRequests {
			user := User{TenantID: fmt.Sprint("tenant ", n%100), ObjectID: fmt.Sprint("user ", n)}
			go g.inGroup(t.Context(), user, []string{"group"})
		}
		synctest.Wait()
		if n := running.Load(); n != maxGroupRequests {
			t.Errorf("got %d lookups in progress, want %d", n, maxGroupRequests)
		}
		time.Sleep(groupsTimeout)
		close(release)
		synctest.Wait()
		if n := len(g.calls); n != 0 {
			t.Errorf("got %d places taken after the calls have returned, want 0", n)
		}
	})
}
