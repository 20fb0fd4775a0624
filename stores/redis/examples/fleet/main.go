// Fleet runs a web app in several processes that share their tokens in Redis, and breaks things while users work. It
// needs redis-server or valkey-server, and neither a tenant nor a network.
//
//	go -C stores/redis run ./examples/fleet
//
// The processes are real: replicas of the web app (package signin), two replicas of an API that calls another API for
// its callers (packages verify and obo), and a worker that calls it as itself (package clientcreds) and, with a
// delegation of obo, for users whose request has been served. A fake Entra and a round-robin load balancer without
// sticky sessions run in the first process. Browsers sign users in and open pages, each of which shows data of both
// APIs. Some users also order an export, which the worker makes. In the meantime, the store and some processes are
// killed, and all processes are replaced as in a deployment.
//
// The same users also work with the same programs in one process without a store and without failures. The table at
// the end compares the two. The exit code is 1 if a promise in it is broken.
//
// programs.go and jobs.go have the programs that you would write yourself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == processArg {
		os.Exit(processMain())
	}
	o := options{out: os.Stdout, terminal: isTerminal(os.Stdout)}
	flag.IntVar(&o.replicas, "replicas", 3, "processes of the web app")
	flag.IntVar(&o.users, "users", 30, "users with a browser each")
	flag.DurationVar(&o.duration, "duration", 30*time.Second, "how long users work, at least 15s")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "fleet: no arguments are expected, only flags; see -help")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer context.AfterFunc(ctx, stop)() // a second Ctrl-C ends this process at once
	err := run(ctx, o)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "fleet: interrupted; all processes have ended")
		os.Exit(130)
	case errors.Is(err, errBroken): // the table says which promise
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// options are the flags, and where the output goes.
type options struct {
	replicas, users int
	duration        time.Duration
	out             io.Writer
	terminal        bool // out is a terminal, in which a line can be redrawn
}

// Bounds of the flags. A shorter run does not see a token expire after each failure.
const (
	minDuration = 15 * time.Second
	minReplicas = 2 // or no process remains when one is killed
	maxReplicas = 50
	maxUsers    = 1000
)

func (o options) check() error {
	switch {
	case o.replicas < minReplicas || o.replicas > maxReplicas:
		return fmt.Errorf("-replicas is %d, want %d to %d", o.replicas, minReplicas, maxReplicas)
	case o.users < 1 || o.users > maxUsers:
		return fmt.Errorf("-users is %d, want 1 to %d", o.users, maxUsers)
	case o.duration < minDuration:
		return fmt.Errorf("-duration is %v, want at least %v", o.duration, minDuration)
	}
	return nil
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
