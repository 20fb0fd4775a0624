//go:build unix

package credentials_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/internal/testkit"
)

// Opening a pipe without a writer would block. A file that becomes a pipe between stat and
// open does not block.
func TestFileBecomesAPipe(t *testing.T) {
	dir := t.TempDir()
	path, next := filepath.Join(dir, "secret"), filepath.Join(dir, "next")
	testkit.WriteFile(t, path, "daemon-secret")
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
			err := syscall.Mkfifo(next, 0o600)
			err = errors.Join(err, os.Rename(next, path), os.WriteFile(next, []byte("daemon-secret"), 0o600),
				os.Rename(next, path))
			if err != nil {
				stopped <- err
				return
			}
		}
	}()
	read := make(chan error)
	go func() {
		defer close(read)
		for range 5000 {
			_, err := credentials.SecretFile(path, nil)
			var e *entra.Error
			if err != nil && (!errors.As(err, &e) || !strings.Contains(e.Description, "is not a regular file")) {
				read <- err
				return
			}
		}
	}()
	select {
	case err, failed := <-read:
		if failed {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("reading the file blocks")
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
}
