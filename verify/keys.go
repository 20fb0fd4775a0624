package verify

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/retry"
	"github.com/entratoken/entra/internal/safecall"
)

const (
	// refreshAfter is the age at which a lookup refreshes the keys in the background.
	// Microsoft suggests a day. An hour limits the use of a key that is withdrawn in
	// an emergency.
	refreshAfter = time.Hour
	// maxAge is the age at which keys stop being used if every refresh fails. It
	// is long, so that an outage does not stop the API. It is bounded, so that an
	// attacker who blocks our requests cannot keep a withdrawn key in use forever.
	maxAge = 7 * 24 * time.Hour
	// idleTime is the time without a fetch after which callers wait for one. No
	// caller needed the keys for a while then, so they may be much older than
	// refreshAfter. The old keys are used only if the fetch fails.
	idleTime = 2 * refreshAfter
	// unknownInterval is the minimum time between two fetches that tokens with
	// unknown keys cause. Anyone can make such tokens.
	unknownInterval = 10 * time.Second
	// fetchTimeout bounds one request for the keys.
	fetchTimeout = 10 * time.Second
	// fetchTotal bounds a fetch: a request and its retries.
	fetchTotal = 25 * time.Second
	// The pause after a failed fetch doubles from minPause to maxPause.
	minPause, maxPause = time.Second, time.Minute
)

// keySource has the signing keys for the tokens of each tenant.
//
// All tenants share the keys of the authority. A custom signing key belongs to the
// service principal of the application in one tenant, and only the key document of
// that tenant has it. Such a key must not sign for another tenant, whose
// administrators did not choose it. So each tenant has keys of its own then.
type keySource struct {
	rules    *rules
	shared   *keys                     // of tokens that need no others
	byTenant *lru.Cache[string, *keys] // of tenants with a verified token; nil if all tokens use the shared keys
	untested *lru.Cache[string, *keys] // of other tenants, which anyone can make up; they evict only each other
	newKeys  func(tenantID string) *keys

	mu    sync.Mutex  // held while keys are added to untested
	limit *fetchLimit // of the fetches of untested; nil unless any tenant is allowed
}

const (
	// maxKeyTenants is the number of tenants whose keys are cached if any tenant is
	// allowed, and of tenants without a verified token.
	maxKeyTenants = 1000
	// untestedInterval is the mean time between two fetches for tenants without a
	// verified token if any tenant is allowed. Anyone can make tokens that name one.
	// It permits untestedBurst such fetches at once.
	untestedInterval = 100 * time.Millisecond
	untestedBurst    = 100
	// warnInterval is the minimum time between two warnings that such fetches are limited.
	warnInterval = time.Minute
)

// fetchLimit limits the fetches for all tenants without a verified token together. All fetches count: the first
// one, those for unknown keys, those after failures, and refreshes. It cannot tell real tenants from others, so a
// flood of tokens delays the first fetch for a new tenant. It does not affect a tenant in byTenant.
type fetchLimit struct {
	logger *slog.Logger

	mu     sync.Mutex // guards the fields below
	earned time.Time  // when the limit has no arrears
	warned time.Time  // the time of the last warning
}

// take reports whether a fetch may start, and counts it. A nil fetchLimit allows all.
func (l *fetchLimit) take(now time.Time) bool {
	if l == nil {
		return true
	}
	ok, warn := l.count(now)
	if warn {
		l.logger.Warn("verify: too many new tenants; some wait for their keys")
	}
	return ok
}

// count is take without the warning. warn reports whether it is due.
func (l *fetchLimit) count(now time.Time) (ok, warn bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.earned.Before(now) {
		l.earned = now
	}
	if l.earned.Sub(now) <= (untestedBurst-1)*untestedInterval {
		l.earned = l.earned.Add(untestedInterval)
		return true, false
	}
	if now.Sub(l.warned) < warnInterval {
		return false, false
	}
	l.warned = now
	return false, true
}

// newKeySource returns the keys for cfg. It makes no requests.
func newKeySource(r *rules, cfg Config, logger *slog.Logger) *keySource {
	budget := retry.NewBudget()
	newKeys := func(tenant, app string, logger *slog.Logger) *keys {
		k := newKeys(r.keysURL(tenant, app), r.host, cfg.HTTPClient, budget, logger)
		k.onEvent = cfg.OnEvent
		return k
	}
	tenant := "common"
	if len(r.tenants) == 1 { // it is empty if any tenant is allowed
		for id := range r.tenants {
			tenant = id
		}
	}
	if cfg.KeysFor == "" || tenant != "common" {
		return &keySource{rules: r, shared: newKeys(tenant, cfg.KeysFor, logger)}
	}
	newCache := func() *lru.Cache[string, *keys] {
		c, _ := lru.New[string, *keys](max(len(r.tenants), maxKeyTenants)) // fails only for sizes below 1
		return c
	}
	s := &keySource{
		rules:    r,
		shared:   newKeys(tenant, "", logger),
		byTenant: newCache(),
		untested: newCache(),
		newKeys: func(tenantID string) *keys {
			return newKeys(tenantID, cfg.KeysFor, logger.With("tenant", tenantID))
		},
	}
	if r.anyTenant {
		s.limit = &fetchLimit{logger: logger}
	}
	return s
}

// of returns the keys for the tokens of a tenant. The tokens of a tenant that is not
// allowed get the shared keys. They are rejected as without a custom signing key.
func (s *keySource) of(tenantID string) (*keys, error) {
	if s.byTenant == nil || !s.rules.allows(tenantID) {
		return s.shared, nil
	}
	if k, ok := s.cached(tenantID); ok {
		return k, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k, ok := s.cached(tenantID); ok {
		return k, nil
	}
	if !s.limit.take(time.Now()) { // of the first fetch, so that other tokens do not evict keys
		return nil, tooManyTenants()
	}
	k := s.newKeys(tenantID)
	k.limit.Store(s.limit)
	s.untested.Add(tenantID, k)
	return k, nil
}

func (s *keySource) cached(tenantID string) (*keys, bool) {
	if k, ok := s.byTenant.Get(tenantID); ok {
		return k, true
	}
	return s.untested.Get(tenantID)
}

// verified records that one of k has signed a token of a tenant. Tokens that are made up then cannot evict k, and
// those of other tenants do not limit its fetches.
func (s *keySource) verified(tenantID string, k *keys) {
	if s.byTenant == nil || k == s.shared {
		return
	}
	k.limit.Store(nil)
	if s.byTenant.Contains(tenantID) {
		return
	}
	s.byTenant.Add(tenantID, k)
	s.untested.Remove(tenantID)
}

// used records that a cached token of a tenant was accepted, so that others do not evict the keys of the tenant.
func (s *keySource) used(tenantID string) {
	if s.byTenant != nil {
		s.byTenant.Get(tenantID)
	}
}

var errTooManyTenants = errors.New("tokens of too many new tenants arrive at once")

func tooManyTenants() error { return &Error{Reason: ReasonKeysUnavailable, Err: errTooManyTenants} }

// keys caches the signing keys of the authority. Lookups start the fetches, and
// nothing runs between requests. A fetch has a context of its own, so a caller that
// stops waiting does not cancel it.
type keys struct {
	url    string
	host   string
	client *http.Client
	calls  safecall.Limiter // of fetch
	budget *retry.Budget    // of the retries of all keys of the authority
	logger *slog.Logger

	onEvent func(Event) // Config.OnEvent

	limit   atomic.Pointer[fetchLimit] // of the fetches; nil without a limit
	current atomic.Pointer[keySet]     // nil before the first successful fetch

	mu        sync.Mutex    // guards the fields below; held while current is replaced
	flight    chan struct{} // closed when the fetch in flight ends; nil between fetches
	failure   error         // the error of the last fetch, or nil
	failures  int           // the number of consecutive failed fetches
	retryAt   time.Time     // the earliest time of a fetch without usable keys
	unknownAt time.Time     // the earliest time of a fetch for an unknown key
}

// keySet is the result of a fetch, and the time of the next. It never changes.
type keySet struct {
	byID    map[string]*signingKey
	fetched time.Time     // the start of that fetch
	tried   time.Time     // the end of the last fetch, successful or not
	pause   time.Duration // the time from tried to the next fetch
}

// newKeys returns an empty cache for the key document at an https URL of host.
func newKeys(url, host string, client *http.Client, budget *retry.Budget, logger *slog.Logger) *keys {
	return &keys{
		url: url, host: host, client: client, calls: safecall.NewLimiter(), budget: budget,
		logger: logger,
	}
}

// load returns the current keys, or nil, and whether they may be used. It starts a
// refresh if one is due.
func (k *keys) load(now time.Time) (set *keySet, ok bool) {
	set = k.current.Load()
	if set == nil || since(set.fetched, now) >= maxAge {
		return set, false
	}
	idle := since(set.tried, now)
	if idle >= idleTime {
		return set, false
	}
	if idle < set.pause {
		return set, true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.Load() != set || k.flight == nil && !k.limit.Load().take(now) { // one caller starts the refresh
		return set, true
	}
	next := *set
	next.pause = idleTime // the fetch replaces it
	k.current.Store(&next)
	k.startLocked(false)
	return &next, true
}

// since returns the longer of the times from t to now by the wall clock and by the
// monotonic clock. The wall clock may be set back, and the monotonic clock may
// stop while a machine sleeps. Neither may extend the use of old keys.
func since(t, now time.Time) time.Duration {
	return max(now.Sub(t), now.Round(0).Sub(t))
}

// find returns the key with that ID. If the ID is unknown, find waits for a fetch, which
// unknownInterval and k.limit limit.
func (k *keys) find(ctx context.Context, id string) (*signingKey, error) {
	for fetched := false; ; {
		now := time.Now()
		set, ok := k.load(now)
		if ok && set.byID[id] != nil {
			return set.byID[id], nil
		}
		done, started, err := k.join(id, set, ok, fetched, now)
		if err != nil {
			return nil, err
		}
		fetched = fetched || started
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// join returns a channel that is closed when a fetch ends, and whether the caller
// started that fetch for the key with that ID. It joins the fetch in flight, or starts one if that is allowed.
// If the caller has started a fetch already, or must not start one, join returns an
// error. A caller that joined a fetch may still start another, because it may have
// joined after the authority sent its response.
func (k *keys) join(id string, set *keySet, ok, fetched bool, now time.Time) (
	done <-chan struct{}, started bool, err error,
) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.current.Load() != set { // a fetch has just ended, so the caller must look again
		return closed, false, nil
	}
	if k.flight != nil && !fetched {
		return k.flight, false, nil
	}
	earliest := k.retryAt
	if ok {
		earliest = k.unknownAt
	}
	due := !fetched && !now.Before(earliest)
	first := set == nil && k.failure == nil // counted by keySource.of
	allowed := due && (first || k.limit.Load().take(now))
	switch {
	case allowed:
		if ok {
			k.unknownAt = now.Add(unknownInterval)
		}
		// An idle verifier uses its old keys after a failure, so it does not retry.
		retries := ok || set == nil || since(set.fetched, now) >= maxAge
		return k.startLocked(retries), true, nil
	case due:
		return nil, false, tooManyTenants()
	case k.failure != nil: // the key may be published, but we cannot know
		return nil, false, k.failure
	case ok:
		return nil, false, rejectValue(ReasonUnknownKey, "", id)
	}
	return nil, false, reject(ReasonKeysUnavailable)
}

// closed is a closed channel.
var closed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// startLocked starts a fetch unless one is in flight. The caller must hold k.mu.
func (k *keys) startLocked(retries bool) <-chan struct{} {
	if k.flight == nil {
		k.flight = make(chan struct{})
		go k.refresh(k.flight, retries)
	}
	return k.flight
}

// refresh fetches the keys, stores the result and closes done. retries allows retries of a
// failed request, for callers that wait and cannot use older keys.
func (k *keys) refresh(done chan struct{}, retries bool) {
	event := Event{Kind: EventKeysFetched}
	defer func() { safecall.Notify(k.onEvent, event) }() // after close(done), so that no caller waits for OnEvent
	defer close(done)
	ctx, cancel := context.WithTimeout(context.Background(), fetchTotal)
	defer cancel()
	retrier := k.budget.Start(retry.Sleep)
	began := time.Now()
	started := began
	byID, err := k.fetchSafely(ctx)
	for err != nil && retries && retrier.Again(ctx, failure(err)) {
		started = time.Now()
		byID, err = k.fetchSafely(ctx)
	}
	event.Took = time.Since(began)
	if err != nil {
		event.Kind, event.Reason, event.Err = EventKeysFailed, ReasonKeysUnavailable, err
	}

	k.mu.Lock()
	defer k.mu.Unlock()
	k.flight = nil
	if err != nil {
		k.failedLocked(err)
		return
	}
	k.failure, k.failures = nil, 0
	k.replaceLocked(&keySet{byID, started, time.Now(), refreshAfter - rand.N(refreshAfter/10)})
}

// replaceLocked replaces the current keys. Keys in both sets are kept, and keys that
// are missing from the new set are marked as withdrawn. The caller must hold k.mu.
func (k *keys) replaceLocked(set *keySet) {
	old := k.current.Load()
	if old == nil {
		old = &keySet{}
	}
	for id, key := range old.byID {
		if other := set.byID[id]; other != nil && other.equal(key) {
			set.byID[id] = key
		} else {
			defer key.withdrawn.Store(true) // after the new keys are stored
		}
	}
	k.current.Store(set)
}

// failedLocked records a failed fetch and the time of the next. The caller must hold
// k.mu.
func (k *keys) failedLocked(err error) {
	pause := min(minPause<<min(k.failures, 10), maxPause)
	k.failures++
	k.failure = err
	now := time.Now()
	k.retryAt = now.Add(pause)
	if set := k.current.Load(); set != nil {
		k.current.Store(&keySet{set.byID, set.fetched, now, pause})
	}
	k.logger.Warn("verify: failed to fetch the signing keys", "error", err, "failures", k.failures, "retry_in", pause)
}

// maxDocumentSize is the maximum size of the key document in bytes. Entra's has about
// 20,000.
const maxDocumentSize = 1 << 20

// fetchSafely calls fetch. The transport of Config.HTTPClient may panic, and it may not
// return when its context ends. Without a result, every caller would wait, and no
// other fetch would start.
func (k *keys) fetchSafely(ctx context.Context) (map[string]*signingKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	byID, err := safecall.Do(ctx, k.calls, k.fetch)
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return byID, err
	}
	if ctx.Err() != nil {
		return nil, k.networkError(err)
	}
	return nil, &Error{
		Reason: ReasonKeysUnavailable, Err: errors.New("request to " + k.host + " failed: " + err.Error()),
	}
}

// fetch fetches the key document. Every error is an [*Error] with
// [ReasonKeysUnavailable].
func (k *keys) fetch(ctx context.Context) (map[string]*signingKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return nil, k.networkError(err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := k.client.Do(req)
	if err != nil {
		return nil, k.networkError(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &Error{
			Reason:     ReasonKeysUnavailable,
			StatusCode: resp.StatusCode,
			Err: &requestError{
				text:    k.host + " responded with HTTP status " + strconv.Itoa(resp.StatusCode),
				failure: retry.FromResponse(resp.StatusCode, resp.Header),
			},
		}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxDocumentSize+1))
	if err != nil {
		return nil, k.networkError(err)
	}
	if len(body) > maxDocumentSize {
		return nil, k.documentError(errors.New("is too large"))
	}
	byID, err := parseKeys(body)
	if errors.Is(err, errNotKeys) {
		err = fmt.Errorf("%w (%s); check whether a proxy sent it", err,
			httpclient.DescribeBody(resp.StatusCode, resp.Header, len(body)))
	}
	if err != nil {
		return nil, k.documentError(err)
	}
	return byID, nil
}

// documentError returns the error for an unusable key document.
func (k *keys) documentError(err error) error {
	return &Error{Reason: ReasonKeysUnavailable, Err: errors.New("the key document of " + k.host + " " + err.Error())}
}

// networkError returns the error for a request to the authority that got no response.
func (k *keys) networkError(err error) error { return networkError(ReasonKeysUnavailable, k.host, err) }

// networkError returns the error for a request to host that got no response. Errors of
// net/http can quote a proxy or a server, so only neterr's text is used.
func networkError(reason Reason, host string, err error) error {
	text, cause := neterr.Describe(host, err)
	return &Error{Reason: reason, Err: &requestError{text, cause, retry.FromError(err)}}
}

// requestError has a text that quotes neither a proxy nor a server.
type requestError struct {
	text    string
	cause   error // may be nil
	failure retry.Failure
}

func (e *requestError) Error() string { return e.text }

func (e *requestError) Unwrap() error { return e.cause }

// failure describes the error of a fetch to package retry. An unusable document is not
// requested again at once.
func failure(err error) retry.Failure {
	if e, ok := errors.AsType[*requestError](err); ok {
		return e.failure
	}
	return retry.Failure{}
}

// signingKey is a public key of the authority.
type signingKey struct {
	id        string
	algorithm string // the only algorithm it is for, or empty
	issuer    string // the only issuer it is for, perhaps with {tenantid}, or empty
	public    *rsa.PublicKey
	withdrawn atomic.Bool // it has disappeared from the document
}

// equal compares keys, without withdrawn.
func (k *signingKey) equal(other *signingKey) bool {
	return k.id == other.id && k.algorithm == other.algorithm && k.issuer == other.issuer && k.public.Equal(other.public)
}

// Bounds on a key document. Entra publishes fewer than twenty keys of 2048 bits. A
// huge key would be slow, and a short one is not secure.
const (
	maxKeys    = 200
	minKeyBits = 2048
	maxKeyBits = 8192
)

var errNotKeys = errors.New("is not a JSON object with an array of keys")

// parseKeys parses a JWK set (RFC 7517) with Microsoft's "issuer" member. It ignores
// keys that are not RSA signing keys or have members of the wrong type (RFC 7517,
// section 5). It also ignores a kid that several different keys have, because the kid
// is ambiguous then. A document without a usable key is an error.
//
// The modules that parse JWK sets bring many dependencies for these few lines.
func parseKeys(document []byte) (map[string]*signingKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(document, &set) != nil {
		return nil, errNotKeys
	}
	if len(set.Keys) > maxKeys {
		return nil, errors.New("has too many keys")
	}
	keys := make(map[string]*signingKey, len(set.Keys))
	var ambiguous []string
	for _, text := range set.Keys {
		k := parseKey(text)
		if k == nil {
			continue
		}
		if other := keys[k.id]; other != nil && !other.equal(k) {
			ambiguous = append(ambiguous, k.id)
		}
		keys[k.id] = k
	}
	for _, id := range ambiguous {
		delete(keys, id)
	}
	if len(keys) == 0 {
		return nil, errors.New("does not have a usable signing key")
	}
	return keys, nil
}

// parseKey parses a JWK (RFC 7517, section 4; RFC 7518, section 6.3.1). It returns nil
// if Entra does not sign tokens with such a key.
func parseKey(text []byte) *signingKey {
	var k struct {
		Type       string   `json:"kty"`
		Use        string   `json:"use"`
		Operations []string `json:"key_ops"`
		Algorithm  string   `json:"alg"`
		ID         string   `json:"kid"`
		Modulus    string   `json:"n"`
		Exponent   string   `json:"e"`
		Issuer     string   `json:"issuer"`
	}
	if json.Unmarshal(text, &k) != nil || k.Type != "RSA" || k.ID == "" {
		return nil
	}
	if k.Use != "" && k.Use != "sig" || k.Operations != nil && !slices.Contains(k.Operations, "verify") {
		return nil
	}
	if k.Algorithm != "" && methods[k.Algorithm] == nil {
		return nil
	}
	n, err := encoding.DecodeString(k.Modulus)
	if err != nil {
		return nil
	}
	e, err := encoding.DecodeString(k.Exponent)
	if err != nil || len(e) > 4 {
		return nil
	}
	public := &rsa.PublicKey{N: new(big.Int).SetBytes(n)}
	for _, b := range e {
		public.E = public.E<<8 | int(b)
	}
	bits := public.N.BitLen()
	if bits < minKeyBits || bits > maxKeyBits || public.N.Bit(0) == 0 {
		return nil
	}
	if public.E < 3 || public.E > 1<<31-1 || public.E%2 == 0 {
		return nil
	}
	return &signingKey{id: k.ID, algorithm: k.Algorithm, issuer: k.Issuer, public: public}
}
