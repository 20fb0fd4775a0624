package httpclient_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/testkit"
)

// wantError checks the *Error in err's tree.
func wantError(t *testing.T, err error, unsent, stale bool) {
	t.Helper()
	e, ok := errors.AsType[*httpclient.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error in its tree", err)
	}
	if e.Unsent != unsent || e.Stale != stale {
		t.Errorf("%v: got unsent %t and stale %t, want %t and %t", err, e.Unsent, e.Stale, unsent, stale)
	}
}

func post(c *http.Client, url string) error {
	resp, err := c.Post(url, "text/plain", strings.NewReader("a code"))
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

func TestErrorSaysWhetherTheRequestWasSent(t *testing.T) {
	t.Run("connection refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		wantError(t, post(httpclient.Default(), "http://"+l.Addr().String()), true, false)
	})
	t.Run("certificate not trusted", func(t *testing.T) {
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = discard
		server.StartTLS()
		defer server.Close()
		wantError(t, post(httpclient.Default(), server.URL), true, false)
	})
	t.Run("closed without a response", func(t *testing.T) {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			if requests++; requests != 2 {
				panic(http.ErrAbortHandler)
			}
		}))
		defer server.Close()
		c := httpclient.Default()
		wantError(t, post(c, server.URL), false, false) // on a new connection
		if err := post(c, server.URL); err != nil {
			t.Fatal(err)
		}
		wantError(t, post(c, server.URL), false, true) // on a connection that has worked
	})
	t.Run("transport without a trace", func(t *testing.T) {
		down := testkit.RoundTripper(func(*http.Request) (*http.Response, error) {
			return nil, errors.New("down")
		})
		c := httpclient.Restricted(&http.Client{Transport: down})
		wantError(t, post(c, "https://login.microsoftonline.com/"), false, false)
	})
}

// A silent transport has one connection, which it never closes, and responds to no request.
type silent struct {
	net.Conn
	closed, idleClosed int
}

func (s *silent) Close() error {
	s.closed++
	return s.Conn.Close()
}

func (s *silent) CloseIdleConnections() { s.idleClosed++ }

func (s *silent) RoundTrip(req *http.Request) (*http.Response, error) {
	trace := httptrace.ContextClientTrace(req.Context())
	trace.GetConn(req.URL.Host)
	trace.GotConn(httptrace.GotConnInfo{Conn: s, Reused: true})
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// An HTTP/2 connection that has gone silent would otherwise be used by all later requests (golang/go#36026,
// golang/go#59690, Azure/azure-sdk-for-go#22412). A caller that waits only briefly, or that leaves, proves nothing.
func TestConnectionIsClosedAfterTimeOut(t *testing.T) {
	for _, tt := range []struct {
		name            string
		client, context time.Duration // time-outs
		cancel          bool
		closed          int
	}{
		{name: "time-out of the client", client: 20 * time.Second, closed: 1},
		{name: "deadline", context: 20 * time.Second, closed: 1},
		{name: "short deadline", context: 4 * time.Second},
		{name: "canceled", context: 20 * time.Second, cancel: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, peer := net.Pipe()
				defer peer.Close()
				s := &silent{Conn: conn}
				c := httpclient.Restricted(&http.Client{Transport: s, Timeout: tt.client})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if tt.cancel {
					time.AfterFunc(tt.context, cancel)
				} else if tt.context > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.context)
					defer cancel()
				}
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://login.microsoftonline.com/", nil)
				if err != nil {
					t.Fatal(err)
				}
				if _, err = c.Do(req); err == nil {
					t.Fatal("got a response, want an error")
				}
				if s.closed != tt.closed || s.idleClosed != tt.closed {
					t.Errorf("%v: closed the connection %d times and idle ones %d times, want %d", err, s.closed, s.idleClosed,
						tt.closed)
				}
			})
		})
	}
}
