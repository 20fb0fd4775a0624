// Package cli is the command entra, apart from the process that it runs in.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/plain"
)

// Exit codes.
const (
	Success = 0 // a token was got; no step of the doctor failed
	Failure = 1 // there is no token; a step failed
	Usage   = 2 // the command was called wrongly, and did nothing
)

type roundTripper = http.RoundTripper

// System is what the command sees of the machine.
type System struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Terminal says that a person reads Stdout in a terminal. False: plain output, for
	// files and other programs.
	Terminal bool
	// Transport makes all requests. Nil: the network.
	Transport http.RoundTripper
}

// Run runs the command and returns its exit code.
func (s *System) Run(ctx context.Context, args []string) int {
	own := *s
	out := &output{w: s.Stdout}
	own.Stdout = out
	code := own.run(ctx, args)
	if out.err != nil && code != Usage {
		fmt.Fprintf(s.Stderr, "entra %s: standard output cannot be written: %s\n", args[0], plain.Text(out.err.Error(), 200))
		return Failure
	}
	return code
}

// output remembers that something could not be written: a program that goes on with what
// it read must know.
type output struct {
	w   io.Writer
	err error
}

// Write implements [io.Writer].
func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	if err != nil && o.err == nil {
		o.err = err
	}
	return n, err
}

func (s *System) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(s.Stderr, usage)
		return Usage
	}
	command := args[0]
	var run func(context.Context, *options) int
	switch command {
	case "token":
		run = s.token
	case "doctor":
		run = s.doctor
	case "help", "-h", "-help", "--help":
		fmt.Fprint(s.Stdout, usage)
		return Success
	default:
		fmt.Fprintf(s.Stderr, "entra: there is no command %q\n\n%s", command, usage)
		return Usage
	}
	o, err := s.parse(command, args[1:])
	switch {
	case errors.Is(err, flag.ErrHelp):
		return Success
	case err != nil:
		return Usage
	}
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	return run(ctx, o)
}

// otherClient asks somebody other than Entra.
func (s *System) otherClient(transport roundTripper) *http.Client {
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

const usage = `entra gets tokens from Microsoft Entra ID, for people who debug an app registration.

  entra token  [flags] [scope]   get a token and show what it says and how it was got
  entra doctor [flags] [scope]   check a configuration step by step and say what to do

"entra token -h" lists the flags. With none, the app and its credential come from the
variables that Azure's own tools read: AZURE_TENANT_ID, AZURE_CLIENT_ID, and
AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE.

Exit codes: 0 it worked (the doctor may have warnings), 1 it did not, 2 wrong usage.
`

const flagsText = `
The app:
  -tenant ID        directory (tenant) ID or domain (default: AZURE_TENANT_ID)
  -client ID        application (client) ID (default: AZURE_CLIENT_ID)
  -cloud NAME       public, usgov, china, bleu, delos, govsg, or the host of an authority,
                    such as contoso.ciamlogin.com (default: AZURE_AUTHORITY_HOST, or public)
  -region NAME      get the app's own tokens in an Azure region, or "detect" it

Its credential, one of these (default: what the environment has):
  -secret-file FILE            a file with the client secret
  -secret-stdin                the client secret on standard input
  -secret-env NAME             the client secret in a variable
  -certificate FILE            certificate and key, PEM or PKCS#12, with
      -key FILE                the key, if it is in a file of its own
      -password-file FILE      the password of the key or of the PKCS#12 file
      -password-env NAME       the same in a variable
      -send-chain              send the chain along (subject name and issuer)
      -rs256                   sign with RS256 rather than PS256
  -federated-token-file FILE   the token of another issuer, as in Kubernetes
  -github                      the token of a GitHub Actions job
  -managed-identity ID         the token of the managed identity with that client ID, or "default"

No secret is taken as the value of a flag: other users of the machine see it in the list
of processes, and it stays in the shell's history.

Otherwise:
  -ca FILE          trust the authorities in this PEM file, too (a company's proxy, a test server)
  -timeout TIME     give up after that long (default: 1m)
  -json             print JSON, for programs
`

func usageOf(command string) string {
	if command == "doctor" {
		return `usage: entra doctor [flags] [scope]

Checks configuration, name, connection, clock, discovery, credential, token and claims, and
says what to do about what it finds. scope is the default scope of one API, such as
api://orders/.default (default: that of Microsoft Graph). It prints no token.
` + flagsText + `
Exit codes: 0 nothing failed (there may be warnings), 1 a step failed, 2 wrong usage.
`
	}
	return `usage: entra token [flags] [scope]

Gets a token for the app itself and shows its claims, its life, and how it was got. scope is
the default scope of one API, such as api://orders/.default (default: that of Microsoft
Graph). The claims are decoded for display; nothing about them is verified.
` + flagsText + `  -raw              print the token and nothing else; whoever has it can use it
  -assertion FILE   get a token on behalf of the user whose access token for this app is in
                    FILE ("-": standard input); then several scopes of one API may follow

Exit codes: 0 there is a token, 1 there is none, 2 wrong usage.
`
}
