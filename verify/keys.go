package verify

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// keysLife is how old the keys get before a read refreshes them in the
	// background. Microsoft calls a day reasonable; an hour makes a key that is
	// withdrawn in an emergency useless sooner.
	keysLife = time.Hour
	// keysStale is how old the keys may get if every refresh fails. It is long
	// so that an outage does not stop the API, and ends so that a withdrawn key
	// cannot be kept alive for ever by keeping us from the authority.
	keysStale = 7 * 24 * time.Hour
	// keysWait is how long ago the authority may have been asked last. After that
	// nobody has needed the keys for a while, so they may be much older than
	// keysLife: a caller waits for the answer, and only if there is none do the old
	// keys serve.
	keysWait = 2 * keysLife
	// unknownInterval is the least time between two fetches for the sake of
	// tokens that name a key we do not have. Anyone can make up such tokens.
	unknownInterval = 10 * time.Second
	// fetchTimeout bounds one fetch.
	fetchTimeout = 10 * time.Second
	// The pause after a failed fetch doubles from the first to the second.
	firstPause, longestPause = time.Second, time.Minute
)

// keys are the authority's signing keys, kept and refreshed by those who read
// them: nothing runs between requests. A fetch belongs to no caller; it has a
// context of its own, and callers wait for it no longer than they want to.
type keys struct {
	fetcher fetcher
	logger  *slog.Logger

	current atomic.Pointer[keySet] // nil before the first fetch has succeeded

	mu        sync.Mutex    // guards the fields below
	flight    chan struct{} // closed at the end of the fetch that is under way; nil if none is
	failure   error         // why the last fetch failed, or nil
	failures  int           // how many have failed in a row
	retryAt   time.Time     // no fetch before, if there are no keys
	unknownAt time.Time     // no fetch before, for the sake of an unknown key
}

// keySet is what one fetch brought, and when to fetch again. It never changes.
type keySet struct {
	byID    map[string]*signingKey
	fetched time.Time     // when that fetch began
	tried   time.Time     // when the last fetch ended, this one or one that failed
	pause   time.Duration // after tried: then a read starts another
}

func newKeys(url string, client *http.Client, logger *slog.Logger) *keys {
	return &keys{fetcher: newFetcher(url, client), logger: logger}
}

// load returns the keys there are, nil if there are none, and whether they may
// be used: they are not too old. If it is time, it has them refreshed.
func (k *keys) load(now time.Time) (set *keySet, ok bool) {
	set = k.current.Load()
	if set == nil || since(set.fetched, now) >= keysStale {
		return set, false
	}
	ago := since(set.tried, now)
	if ago >= keysWait {
		return set, false
	}
	if ago < set.pause {
		return set, true
	}
	mine := *set
	mine.pause = ago + fetchTimeout
	if k.current.CompareAndSwap(set, &mine) {
		k.mu.Lock()
		k.startLocked()
		k.mu.Unlock()
	}
	return &mine, true
}

// since is the time from t to now by the clock that says more. The one on the wall
// may be set back, and the monotonic one may stop while a machine sleeps; neither
// may keep old keys alive.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t))
}

// find returns the key with that ID. If it is not there, the keys are fetched,
// but not more often than unknownInterval allows, whoever asks.
func (k *keys) find(ctx context.Context, id string) (*signingKey, error) {
	for asked := false; ; {
		now := time.Now()
		set, ok := k.load(now)
		if ok && set.byID[id] != nil {
			return set.byID[id], nil
		}
		done, mine, err := k.join(set, ok, asked, now)
		if err != nil {
			return nil, err
		}
		asked = asked || mine
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// join returns the end of the fetch that is under way, or of one it starts
// (mine) if that is allowed. A caller that has asked already, and whose fetch
// did not bring the key, is told so. One that joined another's fetch may have come
// after the authority answered, so it may start its own.
func (k *keys) join(set *keySet, ok, asked bool, now time.Time) (done <-chan struct{}, mine bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.Load() != set {
		return alreadyDone, false, nil // a fetch has just ended: look again
	}
	if k.flight != nil && !asked {
		return k.flight, false, nil
	}
	wait := k.retryAt
	if ok {
		wait = k.unknownAt
	}
	switch {
	case !asked && !now.Before(wait):
		if ok {
			k.unknownAt = now.Add(unknownInterval)
		}
		return k.startLocked(), true, nil
	case k.failure != nil: // the key may be one that we could not hear of
		return nil, false, k.failure
	case ok:
		return nil, false, reject(ReasonUnknownKey)
	}
	return nil, false, reject(ReasonKeysUnavailable)
}

var alreadyDone = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// startLocked starts a fetch unless one is under way. k.mu must be held.
func (k *keys) startLocked() <-chan struct{} {
	if k.flight == nil {
		k.flight = make(chan struct{})
		go k.fetch(k.flight)
	}
	return k.flight
}

// fetch gets the keys and closes done.
func (k *keys) fetch(done chan struct{}) {
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	started := time.Now()
	byID, err := k.fetcher.fetch(ctx)

	k.mu.Lock()
	defer k.mu.Unlock()
	k.flight = nil
	if err != nil {
		k.failedLocked(err)
		return
	}
	k.failure, k.failures = nil, 0
	k.replaceLocked(&keySet{byID, started, time.Now(), keysLife - rand.N(keysLife/10)})
}

// replaceLocked puts new keys in the place of the old, keeping those that are in
// both and retiring those that are gone. k.mu must be held.
func (k *keys) replaceLocked(set *keySet) {
	old := k.current.Load()
	if old == nil {
		old = &keySet{}
	}
	for id, was := range old.byID {
		if is := set.byID[id]; is != nil && is.same(was) {
			set.byID[id] = was
		} else {
			defer was.withdrawn.Store(true) // after the new ones can be found
		}
	}
	k.current.Store(set)
}

// failedLocked notes a failure and when to try again. k.mu must be held.
func (k *keys) failedLocked(err error) {
	pause := firstPause << min(k.failures, 10)
	pause = min(pause, longestPause)
	k.failures++
	k.failure = err
	now := time.Now()
	k.retryAt = now.Add(pause)
	if set := k.current.Load(); set != nil {
		k.current.Store(&keySet{set.byID, set.fetched, now, pause})
	}
	k.logger.Warn("the authority's signing keys could not be fetched", "error", err, "failures", k.failures, "retry_in", pause)
}
