//go:build linux

package servers

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// A Proxy forwards connections to a server and can disturb them.
type Proxy struct {
	Addr string // host and port

	target   string
	listener net.Listener

	mu    sync.Mutex // guards the fields below
	delay time.Duration
	cut   int // size of the requests that it cuts; 0 cuts none
	count int // of requests of that size
	conns map[net.Conn]bool
}

// NewProxy starts a proxy in front of the server at target. It ends with the test.
func NewProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	var config net.ListenConfig
	l, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Addr: l.Addr().String(), target: target, listener: l, conns: make(map[net.Conn]bool)}
	go p.accept()
	t.Cleanup(p.stop)
	return p
}

// Delay makes each response arrive later.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut breaks the connection of each second request of at least size bytes. The connection ends by turns after half of
// the request and before the response. If size is zero, all requests pass again.
func (p *Proxy) Cut(size int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = size
}

func (p *Proxy) stop() {
	p.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		conn.Close()
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		go p.forward(client)
	}
}

func (p *Proxy) forward(client net.Conn) {
	var dialer net.Dialer
	server, err := dialer.DialContext(context.Background(), "tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns[client], p.conns[server] = true, true
	p.mu.Unlock()
	closeBoth := func() {
		client.Close()
		server.Close()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, client)
		delete(p.conns, server)
	}
	go func() {
		defer closeBoth()
		pipe(server, client, p.request)
	}()
	defer closeBoth()
	pipe(client, server, func(b []byte) (int, bool) {
		p.mu.Lock()
		delay := p.delay
		p.mu.Unlock()
		time.Sleep(delay)
		return len(b), true
	})
}

// pipe copies from one side to the other until one side fails or filter returns false. filter returns how many bytes to
// copy.
func pipe(to, from net.Conn, filter func([]byte) (n int, more bool)) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		n, more := filter(buf[:n])
		if _, err := to.Write(buf[:n]); err != nil || !more {
			return
		}
	}
}

// request decides about a request of a client.
func (p *Proxy) request(b []byte) (n int, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut == 0 || len(b) < p.cut {
		return len(b), true
	}
	p.count++
	switch p.count % 4 {
	case 1:
		return len(b) / 2, false
	case 3:
		return len(b), false // the server may have written; its response is lost
	}
	return len(b), true
}
