package devlogin

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"time"
)

const (
	timeout   = 20 * time.Second // of one run
	waitDelay = time.Second      // for a child of the program that holds its output open
	maxOutput = 1 << 20          // of standard output and standard error, in bytes each
)

var errTooLong = errors.New("the output is too long")

// run runs a program from PATH without a shell, and returns its output.
func run(ctx context.Context, command string, args ...string) (stdout []byte, stderr string, err error) {
	path, err := exec.LookPath(command)
	if err != nil {
		return nil, "", err
	}
	var out, failure output
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &out, &failure, waitDelay
	err = cmd.Run()
	if errors.Is(err, exec.ErrWaitDelay) && out.buffer.Len() > 0 { // the program has exited, and a child of it has not
		err = nil
	}
	if out.tooLong || failure.tooLong {
		err = errTooLong
	}
	return out.buffer.Bytes(), failure.buffer.String(), err
}

// output is a bounded buffer.
type output struct {
	buffer  bytes.Buffer
	tooLong bool
}

// Write appends p. An error makes the program fail when it writes more.
func (o *output) Write(p []byte) (int, error) {
	if o.buffer.Len()+len(p) > maxOutput {
		o.tooLong = true
		return 0, errTooLong
	}
	return o.buffer.Write(p)
}
