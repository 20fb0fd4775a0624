package integration_test

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"testing"
)

// driver is a process that runs a library in another language, with a program in node or python.
type driver struct {
	name string
	in   io.Writer
	out  *bufio.Reader
}

// msalResult has the fields of MSAL's AuthenticationResult that the tests check.
type msalResult struct {
	AccessToken   string
	IDToken       string
	FromCache     bool
	Scopes        []string
	TenantID      string
	UniqueID      string
	TokenType     string
	IDTokenClaims struct{ Nonce, Name string }
	Account       json.RawMessage
}

// driverError has the fields of the libraries' errors that the tests check.
type driverError struct {
	Name, Message, ErrorCode, SubError string
	ErrorNo                            int
}

// newNode starts a program in the directory node. It trusts the fake's certificate and stops when the test ends.
func (f *fake) newNode(t *testing.T, program string) *driver {
	t.Helper()
	command := exec.Command("node", program)
	command.Dir = "node"
	command.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+f.caFile)
	return startDriver(t, command)
}

// startDriver starts a process that stops when the test ends.
func startDriver(t *testing.T, command *exec.Cmd) *driver {
	t.Helper()
	command.Stderr = t.Output()
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := command.Wait(); err != nil {
			t.Errorf("%s: %v", command.Args[0], err)
		}
	})
	return &driver{name: command.Args[0], in: in, out: bufio.NewReader(out)}
}

// do sends a command. It returns the library's error, or fills in result.
func (n *driver) do(t *testing.T, command map[string]any, result any) *driverError {
	t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.in.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	line, err = n.out.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	var response struct {
		Result json.RawMessage
		Error  *driverError
	}
	if err := json.Unmarshal(line, &response); err != nil {
		t.Fatal(err)
	}
	if response.Error == nil && result != nil {
		if err := json.Unmarshal(response.Result, result); err != nil {
			t.Fatal(err)
		}
	}
	return response.Error
}

// call returns the command that calls a method of an application.
func call(app, method string, arguments ...any) map[string]any {
	return map[string]any{"on": app, "call": method, "with": arguments}
}

// must runs a command that must succeed.
func (n *driver) must(t *testing.T, command map[string]any, result any) {
	t.Helper()
	if failed := n.do(t, command, result); failed != nil {
		t.Fatalf("%s: %+v", n.name, *failed)
	}
}

// app creates an application in the sample tenant with a credential.
func (n *driver) app(t *testing.T, f *fake, name, client string, credential map[string]any) {
	t.Helper()
	auth := map[string]any{
		"clientId": client, "authority": f.authority(), "knownAuthorities": []string{f.host},
	}
	for key, value := range credential {
		auth[key] = value
	}
	n.must(t, map[string]any{"new": name, "auth": auth}, nil)
}
