package recipetest

import (
	"net"
	"sync"
	"testing"
)

// Serve starts to call handle for each connection that l accepts, and closes the connection afterwards. When the test
// ends, it closes l and waits for the calls.
func Serve(t testing.TB, l net.Listener, handle func(net.Conn)) {
	t.Helper()
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				handle(conn)
			})
		}
	})
}
