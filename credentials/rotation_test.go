package credentials_test

import (
	"crypto/x509"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// loadTest runs a hundred goroutines that request tokens with one credential as fast as
// they can.
type loadTest struct {
	t  *testing.T
	e  *fakeEntra
	wg sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	moved *sync.Cond
	calls [100]int // finished calls of each goroutine
	stop  bool
}

func (e *fakeEntra) startLoad(t *testing.T, c entra.Credential) *loadTest {
	h := &loadTest{t: t, e: e}
	h.moved = sync.NewCond(&h.mu)
	for i := range h.calls {
		h.wg.Go(func() {
			client, err := e.client(c)
			if err != nil {
				t.Error(err)
				return
			}
			source := clientcreds.TokenSource(client, scope)
			for {
				token, err := source.Token()
				source.Invalidate(token) // so that the next call sends a request
				h.mu.Lock()
				if err != nil {
					t.Error(err)
					h.stop = true
				}
				h.calls[i]++
				h.moved.Broadcast()
				// No goroutine runs far ahead. The slowest would see two rotations in one call.
				for h.calls[i] > slices.Min(h.calls[:])+1 && !h.stop {
					h.moved.Wait()
				}
				stop := h.stop
				h.mu.Unlock()
				if stop {
					return
				}
			}
		})
	}
	return h
}

// waitForCalls waits until each goroutine has made a whole call, so that no call sees more
// than one rotation.
func (h *loadTest) waitForCalls() {
	h.mu.Lock()
	defer h.mu.Unlock()
	start := h.calls
	done := func() bool {
		for i := range start {
			if h.calls[i] < start[i]+2 { // the first of the two may have been in flight
				return false
			}
		}
		return true
	}
	for !done() && !h.stop {
		h.moved.Wait()
	}
}

// finish stops the goroutines. Each call must have sent one request, and a second one only
// if the first was rejected because the old credential was revoked in the meantime.
func (h *loadTest) finish(aadsts, rotations int) {
	h.mu.Lock()
	h.stop = true
	h.moved.Broadcast()
	h.mu.Unlock()
	h.wg.Wait()
	rejected, calls := h.e.Count(entratest.Match{AADSTS: aadsts}), 0
	for _, n := range h.calls {
		calls += n
	}
	if got := h.e.TokenRequests(); got != calls+rejected {
		h.t.Errorf("got %d requests for %d calls, of which %d were rejected", got, calls, rejected)
	}
	if rejected > 100*rotations {
		h.t.Errorf("%d requests were rejected in %d rotations", rejected, rotations)
	}
	h.t.Logf("%d calls, %d rotations, %d requests of which %d were rejected and retried", calls, rotations,
		h.e.TokenRequests(), rejected)
}

const rotations = 3

func TestSecretFileUnderLoad(t *testing.T) {
	e := newFakeEntra()
	e.secrets("secret-0")
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "secret"), "secret-0")
	c, err := credentials.SecretFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	h := e.startLoad(t, c)
	for i := range rotations {
		h.waitForCalls()
		old, next := fmt.Sprint("secret-", i), fmt.Sprint("secret-", i+1)
		e.secrets(old, next)
		if i%2 == 0 {
			replace(t, path, next)
		} else {
			testkit.WriteFile(t, path, "") // written in place, and read half written
			h.waitForCalls()
			testkit.WriteFile(t, path, next)
		}
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = []string{next}, []string{old} })
	}
	h.waitForCalls()
	h.finish(7000222, rotations)
}

func TestCertificateFilesUnderLoad(t *testing.T) {
	dir := testFiles(t, `cp leaf.crt cert; cp leaf.key key`)
	e := newFakeEntra()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	pair := [2]string{"leaf", "other"}
	trust := func(names ...string) {
		var list []*x509.Certificate
		for _, n := range names {
			list = append(list, certificate(t, dir, n+".crt"))
		}
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = list })
	}
	trust("leaf")
	c, err := credentials.CertificateFile(cert, &credentials.CertificateFileOptions{KeyPath: key})
	if err != nil {
		t.Fatal(err)
	}
	h := e.startLoad(t, c)
	for i := range rotations {
		h.waitForCalls()
		old, next := pair[i%2], pair[(i+1)%2]
		trust(old, next)
		replace(t, cert, read(t, dir, next+".crt"))
		h.waitForCalls() // the new certificate does not match the old key
		replace(t, key, read(t, dir, next+".key"))
		trust(next)
	}
	h.waitForCalls()
	h.finish(700027, rotations)
}

func TestFederatedTokenFileUnderLoad(t *testing.T) {
	p := newFakeEntra().trust(t)
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "token"), p.token(t, time.Hour))
	c, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{TokenFile: path})
	if err != nil {
		t.Fatal(err)
	}
	h := p.startLoad(t, c)
	for range rotations {
		h.waitForCalls()
		p.newKey(t)
		p.addKey()
		replace(t, path, p.token(t, time.Hour))
		p.onlyKey()
	}
	h.waitForCalls()
	h.finish(700027, rotations)
}

func TestSecretFuncUnderLoad(t *testing.T) {
	e := newFakeEntra()
	e.secrets("secret-0")
	vault := newVault("secret-0")
	h := e.startLoad(t, credentials.SecretFunc(vault.get))
	for i := range rotations {
		h.waitForCalls()
		next := fmt.Sprint("secret-", i+1)
		e.secrets(fmt.Sprint("secret-", i), next)
		vault.put(next)
		e.secrets(next)
	}
	h.waitForCalls()
	h.finish(7000215, rotations)
	// Each rejected secret caused one read of the vault.
	if reads := vault.readCount(); reads > 1+rotations {
		t.Errorf("the vault was read %d times", reads)
	}
}
