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

// maxFile bounds the size of a file.
const maxFile = 1 << 20

// mtimeGranularity is the age at which a modification time is trusted. Two changes within
// one tick of the file system's clock have the same modification time.
const mtimeGranularity = 2 * time.Second

// version is the credential made from one state of the files.
type version struct {
	credential entra.Credential
	info       entra.CredentialInfo
	digest     [sha256.Size]byte // of the contents
	notBefore  time.Time         // if zero, unknown
	attrs      []slog.Attr       // for the log, without secrets
	skipped    []string          // parts of the files that were not used
}

// file is a credential in one or more files. It is reloaded when the files change.
//
// It does not use a goroutine or a file watch, because networks and containers do not support
// watches reliably. Instead the files are stat'ed whenever the credential is needed. That
// takes microseconds, which is little compared with a request to Entra.
//
// Files may be half written, or contain a new certificate with the old key. In that case
// the current version stays in use, and the files are read again each time until they are
// valid.
type file struct {
	kind       string // such as "certificate", for errors and the log
	paths      []string
	parse      func(ctx context.Context, contents [][]byte) (version, error)
	logger     *slog.Logger
	warnBefore time.Duration // before expiry; if negative, never
	hint       string        // why Entra may have rejected the credential, for errors; usually empty

	reading  chan struct{}            // a semaphore: at most one goroutine reads the files
	current  atomic.Pointer[version]  // not nil after open
	snapshot atomic.Pointer[snapshot] // of the files when they had the current version
	warned   atomic.Int64             // when the expiry was last logged, in Unix seconds
	logged   string                   // the last error that was logged; guarded by reading
}

// snapshot is the stat information of all files at the time they were read.
type snapshot struct {
	infos   []fs.FileInfo
	trusted bool // every later change shows in the stat information
}

// open reads the files for the first time.
func (f *file) open() (entra.Credential, error) {
	f.reading = make(chan struct{}, 1)
	v, infos, err := f.read(context.Background(), nil)
	if err != nil {
		return entra.Credential{}, err
	}
	f.accept(context.Background(), v, infos)
	f.warnOfExpiry(context.Background(), v)
	return entra.CredentialFunc(f.load).WithInfo(func() entra.CredentialInfo {
		info := f.current.Load().info
		info.File = f.paths[0]
		return info
	}), nil
}

func (f *file) load(ctx context.Context, rejected entra.Credential) (entra.Credential, error) {
	v := f.current.Load()
	isRejected := v.credential.Equal(rejected)
	if isRejected || f.changed() {
		if err := f.refresh(ctx, v, isRejected); err != nil {
			return entra.Credential{}, err
		}
		v = f.current.Load()
	}
	f.warnOfExpiry(ctx, v)
	return v.credential, nil
}

// refresh reads the files, unless another goroutine is reading them. If Entra has rejected
// the current version v, refresh waits for the other goroutine, and it returns errors.
// Otherwise v stays usable and errors are only logged.
func (f *file) refresh(ctx context.Context, v *version, rejected bool) error {
	select {
	case f.reading <- struct{}{}:
	default:
		if !rejected {
			return nil
		}
		select {
		case f.reading <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-f.reading }()
	if f.current.Load() != v {
		return nil // replaced in the meantime
	}
	next, infos, err := f.read(ctx, v)
	if err != nil {
		f.logError(ctx, err)
	} else {
		f.accept(ctx, next, infos)
	}
	if !rejected {
		return nil
	}
	if expiry := v.info.NotAfter; next == v && !expiry.IsZero() && time.Now().After(expiry) {
		return invalid("the %s in %q expired at %s and the file has not been renewed",
			f.kind, f.paths[0], expiry.UTC().Format(time.RFC3339))
	}
	if next == v && f.hint != "" {
		return invalid("%s", f.hint)
	}
	return err
}

// changed reports whether the files may differ from the current version.
func (f *file) changed() bool {
	last := f.snapshot.Load()
	if !last.trusted {
		return true
	}
	for i, path := range f.paths {
		// Stat follows links. In a volume of Kubernetes the path leads through ..data,
		// which is replaced atomically.
		now, err := os.Stat(path)
		then := last.infos[i]
		if err != nil || !os.SameFile(then, now) || !now.ModTime().Equal(then.ModTime()) || now.Size() != then.Size() {
			return true
		}
	}
	return false
}

// read returns the version in the files. It returns old if the contents have not changed.
func (f *file) read(ctx context.Context, old *version) (*version, []fs.FileInfo, error) {
	contents, infos := make([][]byte, len(f.paths)), make([]fs.FileInfo, len(f.paths))
	sum := sha256.New()
	for i, path := range f.paths {
		var err error
		if contents[i], infos[i], err = f.readFile(path); err != nil {
			return nil, nil, err
		}
		fmt.Fprintf(sum, "%d:", len(contents[i]))
		sum.Write(contents[i])
	}
	digest := [sha256.Size]byte(sum.Sum(nil))
	if old != nil && digest == old.digest {
		return old, infos, nil
	}
	v, err := f.parse(ctx, contents)
	if err != nil {
		return nil, nil, err
	}
	v.digest = digest
	if old != nil && time.Now().Before(v.notBefore) {
		return nil, nil, invalid("the %s in %q is not valid before %s; until then the previous one is used",
			f.kind, f.paths[0], v.notBefore.UTC().Format(time.RFC3339))
	}
	return &v, infos, nil
}

func (f *file) readFile(path string) ([]byte, fs.FileInfo, error) {
	if path == "" {
		return nil, nil, invalid("the path of the %s file is empty", f.kind)
	}
	// Opening some devices has side effects, so the type is checked before. Opening a pipe
	// blocks until it has a writer, unless the flag nonblock is set.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, nil, notRegular(f.kind, path, info)
	}
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	opened, err := os.OpenFile(path, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	defer opened.Close()
	// This information belongs to the contents. It is older than them, so that a change
	// during the read is noticed later.
	if info, err = opened.Stat(); err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	if !info.Mode().IsRegular() {
		return nil, nil, notRegular(f.kind, path, info)
	}
	data, err := io.ReadAll(io.LimitReader(opened, maxFile+1))
	if err != nil {
		return nil, nil, unreadable(f.kind, path, err)
	}
	if len(data) > maxFile {
		return nil, nil, invalid("the %s file %q is larger than %d bytes", f.kind, path, maxFile)
	}
	return data, info, nil
}

func notRegular(kind, path string, info fs.FileInfo) error {
	if info.IsDir() {
		return invalid("the %s file %q is a directory", kind, path)
	}
	return invalid("the %s file %q is not a regular file, so it cannot be read again when it changes", kind, path)
}

func unreadable(kind, path string, err error) error {
	e := invalid("cannot read the %s file %q: %v", kind, path, err)
	var p *fs.PathError
	if errors.As(err, &p) {
		e = invalid("cannot read the %s file %q: %v", kind, path, p.Err)
		e.Err = p
	}
	return e
}

// accept makes v the current version.
func (f *file) accept(ctx context.Context, v *version, infos []fs.FileInfo) {
	trusted := true
	for _, i := range infos {
		trusted = trusted && time.Since(i.ModTime()) > mtimeGranularity
	}
	old := f.current.Swap(v)
	f.snapshot.Store(&snapshot{infos, trusted})
	f.logged = ""
	if old != nil && old != v {
		f.log(ctx, slog.LevelInfo, "entra: new "+f.kind+" loaded", v.attrs...)
	}
	if old != v && len(v.skipped) > 0 {
		f.log(ctx, slog.LevelWarn, "entra: a part of the "+f.kind+" file cannot be used and was skipped",
			slog.Any("skipped", v.skipped))
	}
}

// logError logs that the files cannot be used. It logs the same error once.
func (f *file) logError(ctx context.Context, err error) {
	if err.Error() != f.logged {
		f.logged = err.Error()
		text := "entra: reloading the " + f.kind + " failed; the previous one stays in use"
		f.log(ctx, slog.LevelWarn, text, slog.Any("error", err))
	}
}

// warnOfExpiry logs once a day that v expires soon or has expired.
func (f *file) warnOfExpiry(ctx context.Context, v *version) {
	if f.warnBefore < 0 || v.info.NotAfter.IsZero() {
		return
	}
	now := time.Now()
	left := v.info.NotAfter.Sub(now)
	last := f.warned.Load()
	if left > f.warnBefore || now.Unix()-last < 24*60*60 || !f.warned.CompareAndSwap(last, now.Unix()) {
		return
	}
	state := "expires soon"
	if left <= 0 {
		state = "has expired"
	}
	f.log(ctx, slog.LevelWarn, "entra: the "+f.kind+" "+state+"; renew it", v.attrs...)
}

func (f *file) log(ctx context.Context, level slog.Level, text string, attrs ...slog.Attr) {
	if f.logger != nil {
		f.logger.LogAttrs(ctx, level, text, append([]slog.Attr{slog.String("file", f.paths[0])}, attrs...)...)
	}
}
