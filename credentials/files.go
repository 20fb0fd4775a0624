package credentials

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/entratoken/entra"
)

// maxFile bounds what is read of a file.
const maxFile = 1 << 20

// racy is how long a file must have been left alone until its time stamp is believed: a
// second change within one tick of a file system's clock does not show in it.
const racy = 2 * time.Second

// A version is what was made of files' content.
type version struct {
	credential entra.Credential
	digest     [sha256.Size]byte // of the content
	notBefore  time.Time         // zero: unknown
	notAfter   time.Time         // zero: unknown
	attrs      []slog.Attr       // for the log: nothing secret
}

// Files make a credential of the content of one or more files, and another when they
// change. There is no goroutine and no watch, which networks and containers do not
// support alike: whenever the credential is needed the files are looked at (not read),
// which costs microseconds beside a request to Entra.
//
// What is read may be half written, or a new certificate may stand beside the old key:
// then the version before stays in use, and the files are read again every time until
// they make sense.
type files struct {
	kind   string // "certificate", for instance, for errors and the log
	paths  []string
	parse  func(ctx context.Context, contents [][]byte) (version, error)
	logger *slog.Logger
	expiry expiry

	turn    chan struct{}           // filled by the one who reads
	current atomic.Pointer[version] // never nil once open has succeeded
	last    atomic.Pointer[look]    // when the files held the current version
	logged  string                  // the last failure that was logged; belongs to whose turn it is
}

// A look is what could be seen of all files when they were read.
type look struct {
	stamps  []fs.FileInfo
	settled bool // a change since would show
}

// open reads the files for the first time. The credential that it returns reads them
// again when they change.
func (f *files) open() (entra.Credential, error) {
	f.turn = make(chan struct{}, 1)
	v, stamps, err := f.read(context.Background(), nil)
	if err != nil {
		return entra.Credential{}, err
	}
	f.accept(context.Background(), v, stamps)
	f.expiry.check(context.Background(), f, v)
	return entra.CredentialFunc(f.load), nil
}

func (f *files) load(ctx context.Context, refused entra.Credential) (entra.Credential, error) {
	v := f.current.Load()
	force := v.credential.Equal(refused)
	if force || f.changed() {
		if err := f.refresh(ctx, v, force); err != nil {
			return entra.Credential{}, err
		}
		v = f.current.Load()
	}
	f.expiry.check(ctx, f, v)
	return v.credential, nil
}

// refresh reads the files, unless somebody else does. If v, the version in use, has been
// refused, it waits for that and returns what is wrong with the files; if not, v is good
// enough meanwhile.
func (f *files) refresh(ctx context.Context, v *version, refused bool) error {
	select {
	case f.turn <- struct{}{}:
	default:
		if !refused {
			return nil
		}
		select {
		case f.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-f.turn }()
	if f.current.Load() != v {
		return nil // somebody has found another since we came
	}
	next, stamps, err := f.read(ctx, v)
	switch {
	case err != nil:
		f.warn(ctx, err)
	default:
		f.accept(ctx, next, stamps)
		if refused && next == v && !v.notAfter.IsZero() && time.Now().After(v.notAfter) {
			err = refuse("the %s in %q ended at %s, and nothing has renewed the file since", f.kind, f.paths[0], v.notAfter.UTC().Format(time.RFC3339))
		}
	}
	if !refused {
		return nil
	}
	return err
}

// changed reports whether the files may be others than those of the current version.
func (f *files) changed() bool {
	last := f.last.Load()
	if !last.settled {
		return true
	}
	for i, path := range f.paths {
		// Stat follows links: in a volume of Kubernetes the path leads through ..data,
		// which is replaced in one step.
		now, err := os.Stat(path)
		then := last.stamps[i]
		if err != nil || !os.SameFile(then, now) || !now.ModTime().Equal(then.ModTime()) || now.Size() != then.Size() {
			return true
		}
	}
	return false
}

// read makes a version of what the files hold now; it is old if they hold the same.
func (f *files) read(ctx context.Context, old *version) (*version, []fs.FileInfo, error) {
	contents, stamps := make([][]byte, len(f.paths)), make([]fs.FileInfo, len(f.paths))
	sum := sha256.New()
	for i, path := range f.paths {
		var err error
		if contents[i], stamps[i], err = f.readFile(path); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(sum, "%d:", len(contents[i]))
		sum.Write(contents[i])
	}
	digest := [sha256.Size]byte(sum.Sum(nil))
	if old != nil && digest == old.digest {
		return old, stamps, nil
	}
	v, err := f.parse(ctx, contents)
	if err != nil {
		return nil, nil, err
	}
	v.digest = digest
	if old != nil && time.Now().Before(v.notBefore) {
		return nil, nil, refuse("the %s in %q is not valid before %s; until then the one before it is used",
			f.kind, f.paths[0], v.notBefore.UTC().Format(time.RFC3339))
	}
	return &v, stamps, nil
}

func (f *files) readFile(path string) ([]byte, fs.FileInfo, error) {
	if path == "" {
		return nil, nil, refuse("the name of the %s file is missing", f.kind)
	}
	// To open a pipe is to wait for its writer, unless one says otherwise; and some devices
	// do something when they are opened, so the file is looked at before, too.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, notRegular(f.kind, path, info)
	}
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	file, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	defer file.Close()
	// The stamp is of what is read, from before it is read: a change meanwhile shows later.
	if info, err = file.Stat(); err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, notRegular(f.kind, path, info)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	if len(data) > maxFile {
		return nil, nil, refuse("the %s file %q is larger than %d bytes", f.kind, path, maxFile)
	}
	return data, info, nil
}

func notRegular(kind, path string, info fs.FileInfo) error {
	if info.IsDir() {
		return refuse("the %s file %q is a directory; name a file in it", kind, path)
	}
	return refuse("the %s file %q is not a regular file, so it cannot be read again when it changes", kind, path)
}

func unreadable(kind, path string, err error) error {
	e := refuse("the %s file %q cannot be read: %v", kind, path, err)
	var p *fs.PathError
	if errors.As(err, &p) {
		e.Description = fmt.Sprintf("the %s file %q cannot be read: %v", kind, path, p.Err)
		e.Err = p
	}
	return e
}

func (f *files) accept(ctx context.Context, v *version, stamps []fs.FileInfo) {
	settled := true
	for _, s := range stamps {
		settled = settled && time.Since(s.ModTime()) > racy
	}
	old := f.current.Swap(v)
	f.last.Store(&look{stamps, settled})
	f.logged = ""
	if old != nil && old != v && f.logger != nil {
		f.logger.LogAttrs(ctx, slog.LevelInfo, "entra: a new "+f.kind+" was read", append([]slog.Attr{slog.String("file", f.paths[0])}, v.attrs...)...)
	}
}

// warn logs that the files cannot be used, once as long as they are wrong in the same way.
func (f *files) warn(ctx context.Context, err error) {
	if f.logger == nil || err.Error() == f.logged {
		return
	}
	f.logged = err.Error()
	f.logger.LogAttrs(ctx, slog.LevelWarn, "entra: the "+f.kind+" cannot be read anew; the one before it stays in use", slog.String("file", f.paths[0]), slog.Any("error", err))
}
