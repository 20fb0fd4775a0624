//go:build linux

package servers

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis starts a Redis server that keeps its data in memory only. args are more options, such as "--maxmemory", "10mb".
func Redis(t testing.TB, args ...string) *Server {
	t.Helper()
	return redis(t, "+PONG", args...)
}

// RedisWithPassword starts a Redis server that requires a user to authenticate.
func RedisWithPassword(t testing.TB, args ...string) *Server {
	t.Helper()
	return redis(t, "-NOAUTH", args...)
}

func redis(t testing.TB, pong string, args ...string) *Server {
	t.Helper()
	port, dir, path := freePort(t), t.TempDir(), program(t, "redis-server")
	addr := "127.0.0.1:" + port
	args = append([]string{
		"--port", port, "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--appendonly", "no", "--loglevel", "warning",
	}, args...)
	command := func() *exec.Cmd { return exec.CommandContext(context.Background(), path, args...) }
	return start(t, addr, command, func() error { return expectReply(addr, "PING\r\n", pong) })
}

// RedisReplica starts a Redis server that replicates primary.
func RedisReplica(t testing.TB, primary *Server) *Server {
	t.Helper()
	host, port, _ := strings.Cut(primary.Addr, ":")
	return Redis(t, "--replicaof", host+" "+port, "--repl-diskless-sync-delay", "0")
}

// SentinelName is the name of the primary that [Sentinel] monitors.
const SentinelName = "primary"

// Sentinel starts a Redis Sentinel that replaces primary a second after it stopped responding.
func Sentinel(t testing.TB, primary *Server) *Server {
	t.Helper()
	port, dir, path := freePort(t), t.TempDir(), program(t, "redis-server")
	host, primaryPort, _ := strings.Cut(primary.Addr, ":")
	config := filepath.Join(dir, "sentinel.conf")
	lines := []string{
		"port " + port,
		"bind 127.0.0.1",
		"dir " + dir,
		"sentinel monitor " + SentinelName + " " + host + " " + primaryPort + " 1",
		"sentinel down-after-milliseconds " + SentinelName + " 1000",
		"sentinel failover-timeout " + SentinelName + " 3000",
	}
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	addr := "127.0.0.1:" + port
	command := func() *exec.Cmd { return exec.CommandContext(context.Background(), path, config, "--sentinel") }
	return start(t, addr, command, func() error { return expectReply(addr, "PING\r\n", "+PONG") })
}

// RedisCluster starts a Redis Cluster of three primaries with one replica each.
func RedisCluster(t testing.TB) []*Server {
	t.Helper()
	nodes := make([]*Server, 6)
	create := []string{"--cluster", "create"}
	for i := range nodes {
		// A replica replaces its primary soon, although it has not copied data for long.
		nodes[i] = Redis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "1000",
			"--cluster-replica-validity-factor", "0", "--repl-diskless-sync-delay", "0")
		create = append(create, nodes[i].Addr)
	}
	create = append(create, "--cluster-replicas", "1", "--cluster-yes")
	if out, err := exec.CommandContext(t.Context(), program(t, "redis-cli"), create...).CombinedOutput(); err != nil {
		t.Fatalf("create the cluster: %v: %s", err, out)
	}
	for _, node := range nodes {
		for deadline := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
			err := expectReply(node.Addr, "CLUSTER INFO\r\n", "cluster_state:ok")
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the cluster did not start: %v", err)
			}
		}
	}
	return nodes
}
