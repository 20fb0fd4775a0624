//go:build linux

// Package servers starts real servers for tests, on free ports of the loopback interface. integration/install.sh
// installs the programs. Each server ends with its test.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout bounds the start of a server.
const startTimeout = 30 * time.Second

// A Server is a running program. Its methods are for the goroutine of the test.
type Server struct {
	Addr string // host and port

	t       testing.TB
	command func() *exec.Cmd
	ready   func() error // returns nil once the server accepts requests

	cmd    *exec.Cmd
	exited chan struct{}
	output *lockedBuffer
}

// start starts the program of command and waits until ready returns nil.
func start(t testing.TB, addr string, command func() *exec.Cmd, ready func() error) *Server {
	t.Helper()
	s := &Server{Addr: addr, t: t, command: command, ready: ready}
	s.Start()
	t.Cleanup(func() {
		s.Signal(syscall.SIGCONT)
		s.Kill()
	})
	return s
}

// Start starts the program again after [Server.Kill], with the same address and arguments.
func (s *Server) Start() {
	s.t.Helper()
	s.cmd, s.output, s.exited = s.command(), new(lockedBuffer), make(chan struct{})
	s.cmd.Stdout, s.cmd.Stderr = s.output, s.output
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v; integration/install.sh installs it", s.cmd.Path, err)
	}
	go func(cmd *exec.Cmd, exited chan struct{}) {
		cmd.Wait() //nolint:errcheck // the program was killed
		close(exited)
	}(s.cmd, s.exited)
	deadline := time.Now().Add(startTimeout)
	for {
		err := s.ready()
		if err == nil {
			return
		}
		select {
		case <-s.exited:
			s.t.Fatalf("%s ended: %s", s.cmd.Path, s.output)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%s did not start: %v: %s", s.cmd.Path, err, s.output)
		}
	}
}

// Kill ends the program with SIGKILL and waits for its end.
func (s *Server) Kill() {
	s.Signal(syscall.SIGKILL)
	<-s.exited
}

// Signal sends a signal, such as SIGSTOP to hang the server and SIGCONT to continue it.
func (s *Server) Signal(sig os.Signal) {
	if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("signal %s: %v", s.cmd.Path, err)
	}
}

// SignalAll sends a signal to the program and to the processes that it has started.
func (s *Server) SignalAll(sig syscall.Signal) {
	pid := strconv.Itoa(s.cmd.Process.Pid)
	children, err := os.ReadFile("/proc/" + pid + "/task/" + pid + "/children")
	if err != nil {
		s.t.Errorf("processes of %s: %v", s.cmd.Path, err)
	}
	for _, field := range append(strings.Fields(string(children)), pid) {
		if n, err := strconv.Atoi(field); err == nil {
			_ = syscall.Kill(n, sig) // it may have ended
		}
	}
}

// Output returns the output of the program since its start.
func (s *Server) Output() string { return s.output.String() }

// lockedBuffer is a buffer that a program writes while a test reads.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// freePort returns a port that was free a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// program returns the path of a program, which may lie in one of dirs instead of PATH.
func program(t testing.TB, name string, dirs ...string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range dirs {
		if path, err := exec.LookPath(dir + "/" + name); err == nil {
			return path
		}
	}
	t.Fatalf("%s is missing; integration/install.sh installs it", name)
	return ""
}

// expectReply checks that the reply of a server at addr to request contains want.
func expectReply(addr, request, want string) error {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return err
	}
	reply := make([]byte, 100)
	n, err := conn.Read(reply)
	if err != nil {
		return err
	}
	if !bytes.Contains(reply[:n], []byte(want)) {
		return fmt.Errorf("got reply %q, want %q in it", reply[:n], want)
	}
	return nil
}
