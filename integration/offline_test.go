package integration_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// offlineVariable is set in the environment of a test's process without a network.
const offlineVariable = "ENTRA_TEST_OFFLINE"

// An offlineNetwork is a network namespace of Linux with a loopback interface and no other, and a DNS server in it that
// knows no names but localhost. The kernel counts packets that have no route, and the server records the names of its
// queries. A client that sends a request to another machine therefore leaves a trace, even if it ignores the failure.
type offlineNetwork struct {
	mu      sync.Mutex // guards the fields below
	aliases []string   // names of this machine
	queries []string   // names that were queried and are not aliases
}

// offline runs the test again in a process of its own in an offlineNetwork, and returns nil. In that process it returns
// the network. The test fails if a request leaves the machine.
func offline(t *testing.T) *offlineNetwork {
	t.Helper()
	n := newOfflineNetwork(t)
	if n != nil {
		t.Cleanup(func() {
			if attempts := n.attempts(t); len(attempts) > 0 {
				t.Errorf("requests to other machines: got %q, want none", attempts)
			}
		})
	}
	return n
}

// newOfflineNetwork is like offline, but attempts to reach other machines are allowed.
func newOfflineNetwork(t *testing.T) *offlineNetwork {
	t.Helper()
	if os.Getenv(offlineVariable) == "" {
		runOffline(t)
		return nil
	}
	if err := startLoopback(); err != nil {
		t.Fatalf("loopback interface: %v", err)
	}
	// The files are replaced in the mount namespace of this process.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{
		"/etc/resolv.conf":   "nameserver 127.0.0.1\nsearch .\n",
		"/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
	} {
		file := filepath.Join(t.TempDir(), filepath.Base(path))
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	n := &offlineNetwork{}
	go n.serve(conn)
	return n
}

// runOffline runs a top-level test in new network and mount namespaces. A user other than root needs a user namespace
// for that. The PID namespace makes processes that the test starts end with it.
func runOffline(t *testing.T) {
	t.Helper()
	var output bytes.Buffer
	command := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	command.Env = append(os.Environ(), offlineVariable+"=1")
	command.Stdout, command.Stderr = &output, &output
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		command.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		command.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		command.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		command.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_NET_BIND_SERVICE}
	}
	err := command.Run()
	if err != nil || !strings.Contains(output.String(), "--- PASS: "+t.Name()+" ") {
		t.Fatalf("without a network (which requires root or user namespaces): %v\n%s", err, output.String())
	}
	t.Logf("without a network:\n%s", output.String())
}

// startLoopback activates the loopback interface of a new network namespace.
func startLoopback() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(socket, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, request)
}

// alias makes name a name of this machine.
func (n *offlineNetwork) alias(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.aliases = append(n.aliases, name)
}

// serve responds to DNS queries until conn is closed.
func (n *offlineNetwork) serve(conn *net.UDPConn) {
	buffer := make([]byte, 4096)
	for {
		size, from, err := conn.ReadFromUDP(buffer)
		if err != nil {
			return
		}
		var query dnsmessage.Message
		if query.Unpack(buffer[:size]) != nil || len(query.Questions) == 0 {
			continue
		}
		response := dnsmessage.Message{Questions: query.Questions[:1]}
		response.ID, response.Response, response.RecursionAvailable = query.ID, true, true
		question := query.Questions[0]
		if n.isAlias(strings.TrimSuffix(question.Name.String(), ".")) {
			if question.Type == dnsmessage.TypeA {
				response.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: question.Name, Class: dnsmessage.ClassINET},
					Body:   &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}},
				}}
			}
		} else {
			response.RCode = dnsmessage.RCodeNameError
		}
		packed, err := response.Pack()
		if err != nil {
			continue
		}
		_, _ = conn.WriteToUDP(packed, from)
	}
}

// isAlias reports whether name is an alias, and records it if not.
func (n *offlineNetwork) isAlias(name string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if slices.Contains(n.aliases, name) {
		return true
	}
	if !slices.Contains(n.queries, name) {
		n.queries = append(n.queries, name)
	}
	return false
}

// attempts returns the names of other machines that were queried, and the number of connections and packets to their
// addresses.
func (n *offlineNetwork) attempts(t *testing.T) []string {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	attempts := slices.Clone(n.queries)
	if count := outputWithoutRoute(t); count > 0 {
		attempts = append(attempts, fmt.Sprintf("%d packets without a route", count))
	}
	return attempts
}

// outputWithoutRoute returns how many packets and connections of the namespace had no route.
func outputWithoutRoute(t *testing.T) int {
	t.Helper()
	total := 0
	lines := strings.Split(string(must[[]byte](t)(os.ReadFile("/proc/net/snmp"))), "\n")
	names, values := strings.Fields(lines[0]), strings.Fields(lines[1])
	at := slices.Index(names, "OutNoRoutes")
	if at < 0 {
		t.Fatalf("/proc/net/snmp: got %q, want OutNoRoutes", lines[0])
	}
	total += must[int](t)(strconv.Atoi(values[at]))
	if content, err := os.ReadFile("/proc/net/snmp6"); err == nil { // missing without IPv6
		fields := strings.Fields(string(content))
		at := slices.Index(fields, "Ip6OutNoRoutes")
		if at < 0 {
			t.Fatal("/proc/net/snmp6: got no Ip6OutNoRoutes")
		}
		total += must[int](t)(strconv.Atoi(fields[at+1]))
	}
	return total
}

// An offlineNetwork notices requests to other machines: by name in DNS and by address in the kernel.
func TestOfflineNetworkNoticesRequests(t *testing.T) {
	n := newOfflineNetwork(t)
	if n == nil {
		return
	}
	n.alias("entra.example")
	if got := must[[]string](t)(net.DefaultResolver.LookupHost(t.Context(), "entra.example")); got[0] != "127.0.0.1" {
		t.Errorf("address of an alias: got %v", got)
	}
	if got := n.attempts(t); len(got) > 0 {
		t.Fatalf("at first: got attempts %q, want none", got)
	}
	// Programs in C resolve names with the same files.
	if output, err := exec.CommandContext(t.Context(), "getent", "ahosts", "one.example").CombinedOutput(); err == nil {
		t.Errorf("one.example: got %s, want an error", output)
	}
	dialer := net.Dialer{Timeout: time.Second}
	for _, address := range []string{"two.example:443", "192.0.2.1:443", "[2001:db8::1]:443"} {
		if conn, err := dialer.DialContext(t.Context(), "tcp", address); err == nil {
			conn.Close()
			t.Errorf("%s: got a connection", address)
		}
	}
	want := []string{"one.example", "two.example", "2 packets without a route"}
	if got := n.attempts(t); !slices.Equal(got, want) {
		t.Errorf("got attempts %q, want %q", got, want)
	}
}
