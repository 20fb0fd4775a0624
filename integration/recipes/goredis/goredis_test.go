package goredis_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/goredis"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
)

const principal = "dddddddd-0000-4000-8000-00000000000d"

// serve is a Redis server with TLS that responds to GET with the password of the connection.
func serve(t *testing.T) (addr string, config *tls.Config) {
	t.Helper()
	serverConfig, config := recipetest.TLS(t)
	l, err := tls.Listen("tcp", "127.0.0.1:0", serverConfig)
	if err != nil {
		t.Fatal(err)
	}
	recipetest.Serve(t, l, func(conn net.Conn) {
		if err := serveConn(conn); !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(t.Output(), "server:", err)
		}
	})
	return l.Addr().String(), config
}

func serveConn(conn net.Conn) error {
	r := bufio.NewReader(conn)
	var password string
	for {
		command, err := readCommand(r)
		if err != nil {
			return err
		}
		reply := "+OK\r\n"
		switch strings.ToUpper(command[0]) {
		case "HELLO":
			if len(command) == 5 && command[3] == principal {
				password = command[4]
			}
			reply = "%1\r\n+proto\r\n:3\r\n"
		case "AUTH":
			if len(command) == 3 && command[1] == principal {
				password = command[2]
			}
		case "GET":
			reply = fmt.Sprintf("$%d\r\n%s\r\n", len(password), password)
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return err
		}
	}
}

// readCommand reads an array of bulk strings.
func readCommand(r *bufio.Reader) (command []string, err error) {
	number := func() (int, error) {
		line, err := r.ReadString('\n')
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(strings.TrimSpace(line[1:]))
	}
	n, err := number()
	for range n {
		size, err := number()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		command = append(command, string(b[:size]))
	}
	return command, err
}

func TestNewClient(t *testing.T) {
	recipetest.Fit{Resource: recipetest.Redis, NoContext: true, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		addr, config := serve(t)
		c := goredis.NewClient(client, addr, principal, config)
		t.Cleanup(func() { c.Close() })
		return func(ctx context.Context) (string, error) {
			return c.Get(ctx, "token").Result() // on the same connection, which authenticates again
		}
	}}.Test(t)
}
