// Command entratest runs a fake Microsoft Entra ID on a loopback address, for
// tests in any language.
//
//	go run github.com/entratoken/entra/entratest/cmd/entratest [-listen ADDRESS] [-names NAMES]
//		[-config FILE] [-ca-out FILE] [-state DIR] [-env APP]
//
// The first line of standard output is a JSON object. It has the URL of the
// authority, the file with the CA certificate to trust, and the tenants, apps and
// users with their secrets. The command logs requests to standard error. It stops
// on an interrupt or SIGTERM.
//
// # Environment variables
//
// With -env, the command prints the environment variables of one app instead, in the
// syntax of a shell. Azure's tools and package credentials read these variables:
//
//	entratest -env daemon > env.sh &
//	. ./env.sh; entra doctor api://api-b/.default    # after entratest has printed "serving"
//
// SSL_CERT_FILE replaces the system's CAs, for Go and OpenSSL.
//
// # Configuration file
//
// By default, the command serves [entratest.Sample]. With -config, it reads a JSON
// file. Its fields are those of [entratest.Config], [entratest.App] and
// [entratest.User]. Certificates, roots and keys are in PEM. Durations are strings:
//
//	{
//	  "lifetime": "10m",
//	  "tenants": [{"id": "11111111-1111-4111-8111-111111111111", "domain": "contoso.onmicrosoft.com"}],
//	  "apps": [
//	    {"name": "job", "clientId": "aaaaaaaa-0000-4000-8000-000000000001", "tenantId": "contoso.onmicrosoft.com",
//	     "secrets": ["job-secret"], "permissions": [{"resource": "api://orders", "roles": ["Orders.Read.All"]}]},
//	    {"name": "orders", "clientId": "aaaaaaaa-0000-4000-8000-000000000002", "tenantId": "contoso.onmicrosoft.com",
//	     "appIdUri": "api://orders", "roles": ["Orders.Read.All"]}
//	  ]
//	}
//
// # State
//
// Without -state, the CA and the keys are new at each start. With -state, a directory
// keeps them, so that clients trust the CA and accept tokens, refresh tokens and cookies
// after a restart. If it has a file config.json, that is the configuration. Consents and
// rotated keys are not kept. The directory has private keys: do not share it.
//
// # Names
//
// The certificate has the names localhost, the host of -listen and the name of the
// machine. -names adds others. With -listen entra:443 -names graph.microsoft.com, clients
// that resolve that name to the command find a part of Microsoft Graph there.
//
// # Docker
//
// The Dockerfile and compose.yaml next to package entratest run the command in a
// container. GET /-/health reports that it serves.
//
// # Console
//
// The root page of the authority shows the last requests as sequence diagrams and is
// updated while it is open (see [entratest.Server.Console]). Its buttons inject faults,
// rotate keys and revoke sessions. Scripts can send the same forms, and read the journal
// at /-/requests:
//
//	curl --cacert ca.pem -d action=fault -d kind=429 -d endpoint=token -d times=2 $AUTHORITY/
//	curl --cacert ca.pem -d action=clear $AUTHORITY/
//	curl --cacert ca.pem -d action=rotate $AUTHORITY/
//	curl --cacert ca.pem -d action=revoke -d username=alice@contoso.onmicrosoft.com $AUTHORITY/
//	curl --cacert ca.pem $AUTHORITY/-/requests
//
// The fields of a fault are kind (429, 503, 500, slow, drop, truncate, html,
// malformed or redirect), endpoint, tenant, client (a client ID), grant (a grant
// type), times, skip and retryAfter. Other actions are announce and retire, for
// signing keys.
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/entratoken/entra/entratest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "entratest:", err)
		os.Exit(1)
	}
}

const usage = `Usage: entratest [-listen ADDRESS] [-names NAMES] [-config FILE] [-ca-out FILE] [-state DIR] [-env APP]

Runs a fake Microsoft Entra ID for tests, until it is interrupted. The first line
of output is a JSON object with the URL of the authority, the file of the CA
certificate to trust, and all IDs and secrets. The URL opens a page that shows
requests and injects faults.

`

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("entratest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	listen := flags.String("listen", "127.0.0.1:0", "`address` to listen on; port 0 selects a free port")
	names := flags.String("names", "", "more `names` of the certificate, separated by commas")
	file := flags.String("config", "", "JSON `file` with tenants, apps and users (default: a built-in sample)")
	caOut := flags.String("ca-out", "", "`file` for the CA certificate in PEM (default: a temporary file)")
	stateDir := flags.String("state", "", "`directory` that keeps the CA and the keys across restarts (default: new ones)")
	env := flags.String("env", "", "print the environment variables of the `app` with this name instead of the JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg := entratest.Sample()
	ca := entratest.NewCA()
	if *stateDir != "" {
		st, err := readState(*stateDir)
		if err != nil {
			return err
		}
		ca = st.ca
		cfg.SigningKeys, cfg.SealKey = []tls.Certificate{st.signing}, st.seal
		if saved := filepath.Join(*stateDir, "config.json"); *file == "" && fileExists(saved) {
			*file = saved
		}
		if *caOut == "" {
			*caOut = filepath.Join(*stateDir, "ca.pem")
		}
	}
	if *file != "" {
		read, err := readConfig(*file)
		if err != nil {
			return err
		}
		read.SigningKeys, read.SealKey = cfg.SigningKeys, cfg.SealKey
		cfg = read
	}
	cfg.OnRequest = logger(stderr, cfg)
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	for i, a := range cfg.Apps {
		cfg.Apps[i] = s.App(a.Name) // with defaults
	}
	for i, u := range cfg.Users {
		cfg.Users[i] = s.User(u.Username)
	}
	l, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	defer l.Close()
	host, port := publicHost(*listen, l.Addr())
	hosts := append(strings.FieldsFunc(*names, func(r rune) bool { return r == ',' || r == ' ' }), host)
	if name, err := os.Hostname(); err == nil {
		hosts = append(hosts, name)
	}
	cert := entratest.IssueCertificate(ca, hosts...)
	caFile, remove, err := writeCA(*caOut, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Certificate[0]}))
	if err != nil {
		return err
	}
	defer remove()
	authority := "https://" + net.JoinHostPort(host, port)
	d := describe(cfg, authority, caFile)
	if *env != "" {
		err = d.printEnv(stdout, *env)
	} else {
		err = json.NewEncoder(stdout).Encode(d)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(stderr, "serving", authority)
	return serve(ctx, l, cert, s.Console(ctx))
}

// serve serves l until ctx ends, then waits up to five seconds for open requests.
func serve(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:          log.New(io.Discard, "", 0), // clients that do not trust the CA
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	shutdownCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(shutdownCtx); err != nil {
		return srv.Close() // requests that a fault delays
	}
	return nil
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newServer returns an error if cfg is invalid.
func newServer(cfg entratest.Config) (s *entratest.Server, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
		}
	}()
	return entratest.NewServer(cfg), nil
}

// publicHost returns the host and port for clients of the listener at addr, which
// was opened for the address listen.
func publicHost(listen string, addr net.Addr) (host, port string) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "127.0.0.1", "443"
	}
	if name, _, err := net.SplitHostPort(listen); err == nil && name != "" && net.ParseIP(name) == nil {
		return name, port
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return host, port
}

// writeCA writes the CA certificate to path, or to a temporary file if path is
// empty. remove deletes the temporary file.
func writeCA(path string, data []byte) (file string, remove func(), err error) {
	if path != "" {
		if path, err = filepath.Abs(path); err != nil {
			return "", nil, err
		}
		return path, func() {}, os.WriteFile(path, data, 0o644)
	}
	dir, err := os.MkdirTemp("", "entratest")
	if err != nil {
		return "", nil, err
	}
	file = filepath.Join(dir, "ca.pem")
	return file, func() { os.RemoveAll(dir) }, os.WriteFile(file, data, 0o644)
}
