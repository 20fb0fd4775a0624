package integration_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/testkit/servers"
)

// A server can be killed and started again at the same address, and can be stopped and continued.
func TestServersRestart(t *testing.T) {
	for name, s := range map[string]*servers.Server{
		"Redis":      servers.Redis(t),
		"PostgreSQL": servers.Postgres(t),
	} {
		dial := func() error {
			conn, err := net.DialTimeout("tcp", s.Addr, time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		}
		if err := dial(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		s.Signal(syscall.SIGSTOP)
		s.Signal(syscall.SIGCONT)
		s.Kill()
		if dial() == nil {
			t.Errorf("%s accepts connections after Kill", name)
		}
		s.Start()
		if err := dial(); err != nil {
			t.Errorf("%s, started again: %v", name, err)
		}
	}
}

// Six servers form one cluster.
func TestRedisCluster(t *testing.T) {
	if nodes := servers.RedisCluster(t); len(nodes) != 6 {
		t.Errorf("got %d nodes, want 6", len(nodes))
	}
}
