package pgx_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/internal/testkit/servers"
)

// A gateway stands before a PostgreSQL server. As Azure Database for PostgreSQL does, it requires a token as the
// password of a connection. A test reads the token and verifies it.
type gateway struct {
	addr   string
	server string

	mu     sync.Mutex // guards tokens
	tokens []string   // of the connections, in order
}

func newGateway(t *testing.T, server *servers.Server) *gateway {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gateway{addr: l.Addr().String(), server: server.Addr}
	recipetest.Serve(t, l, func(conn net.Conn) {
		if err := g.serve(conn); err != nil && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(t.Output(), "gateway:", err)
		}
	})
	return g
}

// token returns the token of the connection on which application is the setting application_name.
func (g *gateway) token(application string) (string, error) {
	i, err := strconv.Atoi(application)
	if err != nil {
		return "", err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tokens[i], nil
}

func (g *gateway) serve(conn net.Conn) error {
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if _, ok := startup.(*pgproto3.SSLRequest); ok && err == nil { // without TLS on the loopback interface
		if _, err := conn.Write([]byte("N")); err != nil {
			return err
		}
		startup, err = backend.ReceiveStartupMessage()
	}
	if err != nil {
		return err
	}
	request, ok := startup.(*pgproto3.StartupMessage)
	if !ok {
		return fmt.Errorf("got %T, want a startup message", startup)
	}
	backend.Send(&pgproto3.AuthenticationCleartextPassword{})
	if err := backend.Flush(); err != nil {
		return err
	}
	if err := backend.SetAuthType(pgproto3.AuthTypeCleartextPassword); err != nil {
		return err
	}
	message, err := backend.Receive()
	if err != nil {
		return err
	}
	password, ok := message.(*pgproto3.PasswordMessage)
	if !ok {
		return fmt.Errorf("got %T, want a password", message)
	}
	g.mu.Lock()
	request.Parameters["application_name"] = strconv.Itoa(len(g.tokens))
	g.tokens = append(g.tokens, password.Password)
	g.mu.Unlock()
	return g.forward(conn, request)
}

// forward connects conn, which has authenticated, to the server.
func (g *gateway) forward(conn net.Conn, request *pgproto3.StartupMessage) error {
	server, err := net.Dial("tcp", g.server)
	if err != nil {
		return err
	}
	defer server.Close()
	request.Parameters["user"], request.Parameters["database"] = "postgres", "postgres"
	b, err := request.Encode(nil)
	if err != nil {
		return err
	}
	if _, err := server.Write(b); err != nil {
		return err
	}
	go func() {
		defer server.Close()
		_, _ = io.Copy(server, conn)
	}()
	_, _ = io.Copy(conn, server)
	return nil
}
