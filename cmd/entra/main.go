// Command entra gets tokens from Microsoft Entra ID from the shell, for people who debug
// an app registration.
//
//	entra token  [flags] [scope]
//	entra doctor [flags] [scope]
//
// token gets a token for the app, or on behalf of a user, and shows its claims, its life
// and how it was got, but not the token itself, unless -raw is given. doctor checks a
// configuration step by step: configuration, name, connection, clock, discovery,
// credential, token and claims, and says what to do about what it finds.
//
// Without flags, app and credential come from the variables that Azure's own tools read
// (see package credentials). A secret is never taken as the value of a flag. The claims
// are decoded for display; nothing about them is verified.
//
// Exit codes: 0 it worked (the doctor may have warnings), 1 it did not, 2 the command was
// called wrongly.
package main

import (
	"context"
	"os"
	"os/signal"

	"github.com/entratoken/entra/cmd/entra/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // so that a second interrupt ends the program wherever it waits
	s := &cli.System{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv, Terminal: terminal(os.Stdout)}
	code := s.Run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
