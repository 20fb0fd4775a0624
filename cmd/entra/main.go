// Command entra requests tokens from Microsoft Entra ID on the command line, to debug an app
// registration.
//
//	entra token  [flags] [scope]
//	entra doctor [flags] [scope]
//
// token requests a token for the app or on behalf of a user. It shows the token's claims and
// lifetime and the requests that were made. It does not show the token itself, unless -raw
// is given. doctor checks a configuration step by step (configuration, name, connection,
// clock, discovery, credential, token, claims) and says how to fix each problem.
//
// With -identity, doctor checks the managed identity of the machine or app that runs the command.
//
// Without flags, the app and its credential come from the environment variables of Azure's
// own tools (see package credentials). Secrets are not accepted as values of flags. Claims
// are decoded for display and not verified.
//
// The exit code is 0 on success (doctor may print warnings), 1 on failure, and 2 for wrong
// usage.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/entratoken/entra/cmd/entra/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt terminates the program
	s := &cli.System{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Env: os.Environ(),
		Terminal: isTerminal(os.Stdout)}
	code := s.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
