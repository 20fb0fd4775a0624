package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// freeAddress returns the address of a free loopback port, for a server in another process.
func freeAddress(t *testing.T) string {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().String()
}

// startServer starts a server in another process and waits until it listens. The command must have a context. The
// server is terminated when the test ends. Its output is logged if the test fails.
func startServer(t *testing.T, command *exec.Cmd, address string) {
	t.Helper()
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, &output
	terminate := func() error { return command.Process.Signal(syscall.SIGTERM) } // also ends the workers of a server
	command.Cancel, command.WaitDelay = terminate, 10*time.Second
	if err := command.Start(); err != nil {
		t.Fatalf("%v; integration/install.sh installs it", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait()
	}()
	t.Cleanup(func() {
		_ = terminate()
		<-exited
		if t.Failed() {
			t.Logf("%s: %s", command.Path, output.String())
		}
	})
	var dialer net.Dialer
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for {
		conn, err := dialer.DialContext(ctx, "tcp", address)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s: exited before it listened", command.Path)
		case <-ctx.Done():
			t.Fatalf("%s: does not listen: %v", command.Path, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// serveGraph serves Microsoft Graph at its own name in an offline network, for clients that do not read its address in
// the discovery document. The CA of its certificate is added to caFile.
func (f *fake) serveGraph(t *testing.T, network *offlineNetwork) {
	t.Helper()
	const name = "graph.microsoft.com"
	network.alias(name)
	certificate, ca := entratest.LocalCertificate(name)
	bundle := must[[]byte](t)(os.ReadFile(f.caFile))
	bundle = append(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})...)
	if err := os.WriteFile(f.caFile, bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	listener := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:443"))
	server := &http.Server{Handler: f.Server, ReadHeaderTimeout: time.Minute, TLSConfig: &tls.Config{
		Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
	go server.ServeTLS(listener, "", "")
	t.Cleanup(func() { server.Close() })
}
