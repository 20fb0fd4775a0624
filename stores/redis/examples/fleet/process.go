package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// processArg makes this program run one of programs.
const processArg = "process"

// processMain reads the settings from standard input and runs a program until standard input is closed. The system
// closes it when the first process exits, so no process outlives the first one.
func processMain() (exitCode int) {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // Ctrl-C reaches all processes; the first one ends the others
	var s settings
	in := json.NewDecoder(os.Stdin)
	if err := in.Decode(&s); err != nil {
		fmt.Fprintln(os.Stderr, "no settings:", err)
		return 2
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin) //nolint:errcheck // any end is the end
		cancel()
	}()
	if err := programs[s.Program](ctx, s, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A process runs one of programs.
type process struct {
	addr              string // where it listens
	failures, exports atomic.Int64

	cmd    *exec.Cmd
	stdin  io.Closer
	exited chan struct{}
}

// exportDone is the line that a worker writes after each export.
const exportDone = "an export is done"

// startTimeout bounds the start of a process.
const startTimeout = 20 * time.Second

// start starts a process and waits until it is ready. The process writes its log to log.
func start(ctx context.Context, s settings, log io.Writer) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(ctx), self, processArg), exited: make(chan struct{})}
	p.cmd.Stderr = log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		if lines.Scan() {
			ready <- lines.Text()
		}
		for lines.Scan() {
			if lines.Text() == exportDone {
				p.exports.Add(1)
				continue
			}
			p.failures.Add(1)
			fmt.Fprintln(log, lines.Text())
		}
		p.cmd.Wait() //nolint:errcheck // its error is in the log
		close(p.exited)
	}()
	if err := json.NewEncoder(stdin).Encode(s); err != nil {
		p.kill()
		return nil, fmt.Errorf("start %s: %w", s.Program, err)
	}
	select {
	case p.addr = <-ready:
		return p, nil
	case <-p.exited:
		err = errors.New("it exited; its log is below")
	case <-ctx.Done():
		err = ctx.Err()
	case <-time.After(startTimeout):
		err = errors.New("it is not ready")
	}
	p.kill()
	return nil, fmt.Errorf("start %s: %w", s.Program, err)
}

// stop lets the process finish its requests and waits for its end.
func (p *process) stop() {
	p.stdin.Close()
	select {
	case <-p.exited:
	case <-time.After(10 * time.Second):
		p.kill()
	}
}

// kill ends the process with SIGKILL.
func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it has ended, then
	<-p.exited
}

// runRedis is a program that runs a Redis server at the address s.Tokens, or a new one, and kills it in the end. The
// server keeps its data in memory.
func runRedis(ctx context.Context, s settings, out io.Writer) error {
	path, err := findRedis()
	if err != nil {
		return err
	}
	addr := s.Tokens
	if addr == "" {
		if addr, err = freeAddr(ctx); err != nil {
			return err
		}
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, path, "--port", port, "--bind", "127.0.0.1", "--dir", os.TempDir(),
		"--save", "", "--appendonly", "no", "--loglevel", "warning")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	client := newRedis(addr)
	defer client.Close() //nolint:errcheck // the process ends
	for ready := false; ; {
		if !ready && client.Ping(ctx).Err() == nil {
			ready = true
			fmt.Fprintln(out, addr)
		}
		select {
		case err := <-exited:
			if ctx.Err() != nil {
				return nil // killed, as it should be
			}
			return fmt.Errorf("%s ended: %w", path, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// findRedis returns the path of a server.
func findRedis() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New(`neither redis-server nor valkey-server is installed. Install one of them:

  Debian, Ubuntu   sudo apt-get install redis-server
  Fedora           sudo dnf install valkey
  macOS            brew install redis
  Windows          use the Windows Subsystem for Linux

It is started on a free port of this machine and stopped in the end`)
}

func freeAddr(ctx context.Context) (string, error) {
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// A lastLines keeps the last lines of the logs of all processes, to show them after a failure.
type lastLines struct {
	mu    sync.Mutex // guards lines
	lines []string
}

const logLines = 20

func (l *lastLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, strings.Split(strings.TrimSpace(string(b)), "\n")...)
	l.lines = l.lines[max(0, len(l.lines)-logLines):]
	return len(b), nil
}

func (l *lastLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}
