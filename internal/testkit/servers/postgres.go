//go:build linux

package servers

import (
	"context"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

// Postgres starts a PostgreSQL server with a new database cluster. Its user and database are "postgres". That user
// needs no password, but all others do. As root it runs as the user that Debian's package creates, since PostgreSQL
// does not start as root.
func Postgres(t testing.TB, settings ...string) *Server {
	t.Helper()
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // fails only for a malformed pattern
	slices.Reverse(dirs)                                  // the newest first
	dir, err := os.MkdirTemp("", "entra-postgres-")       // not below t.TempDir, which another user cannot read
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	attr := new(syscall.SysProcAttr)
	if os.Getuid() == 0 {
		uid, gid := ids(t, "postgres")
		attr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	command := func(name string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(context.Background(), program(t, name, dirs...), args...)
		cmd.Dir, cmd.SysProcAttr = dir, attr
		return cmd
	}
	data, port := filepath.Join(dir, "data"), freePort(t)
	initdb := command("initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--no-locale")
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v: %s", err, out)
	}
	rules := "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-D", data, "-p", port, "-h", "127.0.0.1", "-k", dir, "-F"}
	for _, s := range settings {
		args = append(args, "-c", s)
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	return start(t, addr, func() *exec.Cmd { return command("postgres", args...) }, func() error {
		return command("pg_isready", "-h", "127.0.0.1", "-p", port).Run()
	})
}

func ids(t testing.TB, name string) (uid, gid uint32) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatalf("%v; integration/install.sh installs PostgreSQL, which creates the user", err)
	}
	number := func(s string) uint32 {
		n, err := strconv.ParseUint(s, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		return uint32(n)
	}
	return number(u.Uid), number(u.Gid)
}
