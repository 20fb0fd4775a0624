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
)

// A herd is a hundred goroutines that get tokens with one credential as fast as they can.
type herd struct {
	t  *testing.T
	e  *estate
	wg sync.WaitGroup

	mu    sync.Mutex // guards the fields below
	moved *sync.Cond
	calls [100]int // of each, that have ended
	stop  bool
}

func (e *estate) herd(t *testing.T, c entra.Credential) *herd {
	h := &herd{t: t, e: e}
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
				source.Invalidate(token) // so that the next one is asked for
				h.mu.Lock()
				if err != nil {
					t.Error(err)
					h.stop = true
				}
				h.calls[i]++
				h.moved.Broadcast()
				// None runs far ahead, or the slowest would see a rotation after another.
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

// graze waits until every one of them has made a whole call, so that no call sees more
// than one rotation.
func (h *herd) graze() {
	h.mu.Lock()
	defer h.mu.Unlock()
	begun := h.calls
	done := func() bool {
		for i := range begun {
			if h.calls[i] < begun[i]+2 { // the first of them may have begun before
				return false
			}
		}
		return true
	}
	for !done() && !h.stop {
		h.moved.Wait()
	}
}

// home ends the herd. Every call was one request, and one more for each that Entra
// refused: those that were on their way with the old credential when it was revoked.
func (h *herd) home(aadsts, rotations int) {
	h.mu.Lock()
	h.stop = true
	h.moved.Broadcast()
	h.mu.Unlock()
	h.wg.Wait()
	refused, calls := h.e.Count(entratest.Match{AADSTS: aadsts}), 0
	for _, n := range h.calls {
		calls += n
	}
	if got := h.e.TokenRequests(); got != calls+refused {
		h.t.Errorf("%d requests for %d calls, of which %d were refused", got, calls, refused)
	}
	if refused > 100*rotations {
		h.t.Errorf("%d requests were refused in %d rotations", refused, rotations)
	}
	h.t.Logf("%d calls, %d rotations, %d requests of which %d were refused and made again", calls, rotations, h.e.TokenRequests(), refused)
}

const rotations = 3

func TestSecretFileUnderLoad(t *testing.T) {
	e := newEstate()
	e.secrets("secret-0")
	path := write(t, filepath.Join(t.TempDir(), "secret"), "secret-0")
	c, err := credentials.SecretFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h := e.herd(t, c)
	for i := range rotations {
		h.graze()
		old, next := fmt.Sprint("secret-", i), fmt.Sprint("secret-", i+1)
		e.secrets(old, next)
		if i%2 == 0 {
			replace(t, path, next)
		} else {
			write(t, path, "") // it is written in place, and read between
			h.graze()
			write(t, path, next)
		}
		e.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = []string{next}, []string{old} })
	}
	h.graze()
	h.home(7000222, rotations)
}

func TestCertificateFilesUnderLoad(t *testing.T) {
	dir := made(t, `cp leaf.crt cert; cp leaf.key key`)
	e := newEstate()
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
	c, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: cert, KeyPath: key})
	if err != nil {
		t.Fatal(err)
	}
	h := e.herd(t, c)
	for i := range rotations {
		h.graze()
		old, next := pair[i%2], pair[(i+1)%2]
		trust(old, next)
		replace(t, cert, read(t, dir, next+".crt"))
		h.graze() // with a certificate that is not the key's
		replace(t, key, read(t, dir, next+".key"))
		trust(next)
	}
	h.graze()
	h.home(700027, rotations)
}

func TestFederatedTokenFileUnderLoad(t *testing.T) {
	p := newEstate().trust(t)
	path := write(t, filepath.Join(t.TempDir(), "token"), p.token(t, time.Hour))
	c, err := credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{TokenFile: path})
	if err != nil {
		t.Fatal(err)
	}
	h := p.herd(t, c)
	for range rotations {
		h.graze()
		p.newKey(t)
		p.addKey()
		replace(t, path, p.token(t, time.Hour))
		p.onlyKey()
	}
	h.graze()
	h.home(700027, rotations)
}

func TestSecretFuncUnderLoad(t *testing.T) {
	e := newEstate()
	e.secrets("secret-0")
	vault := newVault("secret-0")
	h := e.herd(t, credentials.SecretFunc(vault.get))
	for i := range rotations {
		h.graze()
		next := fmt.Sprint("secret-", i+1)
		e.secrets(fmt.Sprint("secret-", i), next)
		vault.put(next)
		e.secrets(next)
	}
	h.graze()
	h.home(7000215, rotations)
	// Each secret that was refused cost one look into the vault.
	if asked := vault.asked(); asked > 1+rotations {
		t.Errorf("the vault was asked %d times", asked)
	}
}
