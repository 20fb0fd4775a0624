// Package cli implements the command entra, independent of the process it runs in.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/entratoken/entra/internal/redact"
)

// Exit codes.
const (
	Success = 0 // a token was acquired, or no step of the doctor failed
	Failure = 1 // no token was acquired, or a step failed
	Usage   = 2 // the command line is wrong, and no request was sent
)

// System is the environment of the command.
type System struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Env            []string          // in the form of os.Environ
	Terminal       bool              // whether Stdout is a terminal; if not, the output is plain
	Transport      http.RoundTripper // sends all requests; if nil, the network is used
}

// Run runs the command and returns its exit code.
func (s *System) Run(ctx context.Context, args []string) int {
	own := *s
	out := &output{w: s.Stdout}
	own.Stdout = out
	code := own.run(ctx, args)
	if out.err != nil && code != Usage {
		fmt.Fprintf(s.Stderr, "entra %s: writing to standard output failed: %s\n", args[0], redact.Text(out.err.Error(), 200))
		return Failure
	}
	return code
}

// output records the first write error, so that a script does not continue with incomplete
// output.
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
		fmt.Fprintf(s.Stderr, "entra: unknown command %q\n\n%s", command, usage)
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

func httpClient(transport http.RoundTripper) *http.Client {
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

const usage = `entra requests tokens from Microsoft Entra ID, to debug an app registration.

  entra doctor [flags] [scope]   check a configuration step by step and say how to fix it
  entra token  [flags] [scope]   request a token and show its claims

scope is the default scope of one API, such as api://orders/.default. It defaults to that of
Microsoft Graph.

Without flags, the app and its credential come from the environment variables of Azure's own
tools: AZURE_TENANT_ID and AZURE_CLIENT_ID, and AZURE_CLIENT_SECRET,
AZURE_CLIENT_CERTIFICATE_PATH or AZURE_FEDERATED_TOKEN_FILE. "entra token -h" and
"entra doctor -h" list the flags.

Exit codes: 0 success (doctor may print warnings), 1 failure, 2 wrong usage.
`

const flagsText = `
App:
  -tenant ID        directory (tenant) ID or domain (default: AZURE_TENANT_ID)
  -client ID        application (client) ID (default: AZURE_CLIENT_ID)
  -cloud NAME       public, usgov, china, bleu, delos, govsg, or the host of an authority,
                    such as contoso.ciamlogin.com, or externalid:HOST for a custom URL domain
                    of External ID (default: AZURE_AUTHORITY_HOST, or public)
  -region NAME      use the token endpoint of an Azure region, or "detect"

Credential, at most one (default: the one in the environment):
  -secret-file FILE            the client secret in a file
  -secret-stdin                the client secret on standard input
  -secret-env NAME             the client secret in an environment variable
  -certificate FILE            the certificate and its private key, PEM or PKCS#12, with
      -key FILE                the private key, if it is in a separate file
      -password-file FILE      the password of the private key or of the PKCS#12 file
      -password-env NAME       the same in an environment variable
      -send-chain              send the certificate chain (subject name and issuer)
      -rs256                   sign with RS256 instead of PS256
  -federated-token-file FILE   the token of another issuer, as in Kubernetes
      -azure-proxy             use AZURE_KUBERNETES_TOKEN_PROXY (identity bindings of AKS)
  -github                      the token of this GitHub Actions job
  -managed-identity ID         the token of the managed identity with this client ID, or "default"

Flags do not accept secrets, because other users can see them in the process list, and the
shell saves them in its history.

Other:
  -ca FILE          also trust the certificate authorities in this PEM file
  -timeout TIME     stop after this time (default: 1m)
  -json             print JSON
`

const identityText = `  -identity ID      use the managed identity of this machine or app, without an app registration:
                    "system", the client ID, "object:" and the object ID, or the resource ID
`

func usageOf(command string) string {
	if command == "doctor" {
		return `usage: entra doctor [flags] [scope]

Checks the configuration, name, connection, clock, discovery, credential, token and claims,
and says how to fix each problem. scope is the default scope of one API, such as
api://orders/.default (default: that of Microsoft Graph). The token is not printed.
` + flagsText + identityText + `
Exit codes: 0 no step failed (there may be warnings), 1 a step failed, 2 wrong usage.
`
	}
	return `usage: entra token [flags] [scope]

Requests a token for the app itself, and shows its claims and lifetime and the requests that
were made. scope is the default scope of one API, such as api://orders/.default (default:
that of Microsoft Graph). Claims are decoded for display and not verified.
` + flagsText + `  -raw              print only the token; anyone who has the token can use it
  -assertion FILE   request a token on behalf of the user whose access token for this app is
                    in FILE ("-": standard input); several scopes of one API may follow
` + identityText + `
Exit codes: 0 success, 1 no token was acquired, 2 wrong usage.
`
}
