// Command entratest runs a fake Microsoft Entra ID on a loopback address, for
// tests in any language.
//
//	go run github.com/entratoken/entra/entratest/cmd/entratest [-listen 127.0.0.1:0] [-estate FILE] [-ca-out FILE] [-env APP]
//
// The first line of its standard output is one JSON object: the authority's
// URL, the file with the certificate to trust, and the tenants, apps and users
// with their secrets. Requests are logged on standard error. An interrupt or
// SIGTERM stops it.
//
// With -env the output is the environment of one of the apps instead, in the variables that
// Azure's own tools and package credentials read, for a shell:
//
//	entratest -env daemon > env.sh &    then, in the same shell or another:
//	. ./env.sh; entra doctor api://api-b/.default
//
// The authority's root page shows the estate and the last requests, and has
// buttons that inject faults, roll keys over and revoke sessions. Scripts press
// the same buttons, and read the journal at /-/requests:
//
//	curl --cacert ca.pem -d action=fault -d kind=429 -d path=token -d times=2 $AUTHORITY/
//	curl --cacert ca.pem -d action=rotate $AUTHORITY/
//	curl --cacert ca.pem -d action=revoke -d username=alice@contoso.onmicrosoft.com $AUTHORITY/
//	curl --cacert ca.pem $AUTHORITY/-/requests
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

// run serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("entratest", flag.ContinueOnError)
	flags.SetOutput(stderr)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	file := flags.String("estate", "", "JSON file with the estate (default: a built-in sample)")
	caOut := flags.String("ca-out", "", "file to write the certificate authority to, in PEM (default: a temporary one)")
	env := flags.String("env", "", "print the variables that Azure's tools read, for the app of this name, in place of the JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	cfg := entratest.Sample()
	if *file != "" {
		var err error
		if cfg, err = readEstate(*file); err != nil {
			return err
		}
	}
	cfg.OnRequest = logger(stderr, cfg)
	s, err := newServer(cfg)
	if err != nil {
		return err
	}
	for i, a := range cfg.Apps { // with their defaults
		cfg.Apps[i] = s.App(a.Name)
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
	names := []string{host}
	if name, err := os.Hostname(); err == nil {
		names = append(names, name)
	}
	cert, ca := entratest.LocalCertificate(names...)
	caFile, remove, err := writeCA(*caOut, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}))
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
	return serve(ctx, l, cert, newConsole(cfg, s))
}

// serve answers on l until ctx ends, then lets requests finish.
func serve(ctx context.Context, l net.Listener, cert tls.Certificate, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:          log.New(io.Discard, "", 0), // clients that don't trust the authority yet
	}
	failed := make(chan error, 1)
	go func() { failed <- srv.ServeTLS(l, "", "") }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		return srv.Close() // requests that a fault delays
	}
	return nil
}

// newServer turns an impossible estate into an error.
func newServer(cfg entratest.Config) (s *entratest.Server, err error) {
	defer func() {
		if problem := recover(); problem != nil {
			err = fmt.Errorf("%v", problem)
		}
	}()
	return entratest.NewServer(cfg), nil
}

// publicHost is how clients reach what listens on addr.
func publicHost(listen string, addr net.Addr) (host, port string) {
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return "127.0.0.1", "443"
	}
	if asked, _, err := net.SplitHostPort(listen); err == nil && asked != "" && net.ParseIP(asked) == nil {
		return asked, port // a name
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return host, port
}

// writeCA writes the authority's certificate where clients find it. A
// temporary file goes when the command does.
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
