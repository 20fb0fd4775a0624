package postgresstore_test

import (
	"context"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/testkit/loadtest"
	"github.com/entratoken/entra/internal/testkit/servers"
	postgresstore "github.com/entratoken/entra/stores/postgres"
)

func TestMain(m *testing.M) {
	loadtest.Main(m, func(url string) (cache.Store, error) {
		pool, err := pgxpool.New(context.Background(), url)
		if err != nil {
			return nil, err
		}
		return postgresstore.New(pool), nil
	})
}

// Users of a fleet notice no fault of PostgreSQL, and get no tokens of other users. No user must sign in.
func TestFleetSurvivesFaults(t *testing.T) {
	cfg, duration := loadtest.Config{
		Processes: 6, Users: 40, Lifetime: 10 * time.Second, Pause: 300 * time.Millisecond,
	}, 15*time.Second
	if os.Getenv("ENTRA_FLEET_LOAD") == "full" {
		cfg = loadtest.Config{Processes: 20, Users: 500, Lifetime: time.Minute, Pause: time.Second}
		duration = time.Minute
	}
	var names []string
	var results []loadtest.Result
	for _, fault := range []struct {
		name string
		act  func(s *servers.Server)
	}{
		{"none", func(*servers.Server) {}},
		{"PostgreSQL killed and restarted", func(s *servers.Server) {
			s.Kill()
			s.Start()
		}},
		{"PostgreSQL stopped with SIGSTOP", func(s *servers.Server) {
			s.SignalAll(syscall.SIGSTOP)
			time.Sleep(min(duration/3, 10*time.Second))
			s.SignalAll(syscall.SIGCONT)
		}},
	} {
		t.Run(fault.name, func(t *testing.T) {
			server := servers.Postgres(t, "max_connections=200")
			migrate(t, newPool(t, server))
			cfg := cfg
			cfg.Store = "postgres://postgres@" + server.Addr + "/postgres?connect_timeout=2"
			f := loadtest.Start(t, cfg)
			f.Warm()
			r := f.Run(duration, func() { fault.act(server) })
			t.Logf("%+v", r)
			if r.Failed+r.SignIns+r.Crossed != 0 {
				t.Errorf("got %d failed calls, %d sign-ins, %d tokens of others; want none", r.Failed, r.SignIns, r.Crossed)
			}
			names, results = append(names, fault.name), append(results, r)
		})
	}
	t.Logf("faults:\n%s", loadtest.Table(names, results))
}
