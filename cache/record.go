package cache

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra/internal/seal"
)

// purpose is part of all names and keys. A change of the format below needs a new number, so that processes of both
// formats do not read each other's records.
const purpose = "entra/cache 2"

// maxRecord bounds the plain text of a record, as [Store] documents.
const maxRecord = 500 << 10

// A sessionRecord is the record of a session in a store. Clocks are not compared: all times are ages, which count
// from an event to the moment at which the record was saved or, after grow, loaded.
type sessionRecord struct {
	TTL      time.Duration // of the record when it was saved
	Epochs   epochs        // when the session started
	SignIn   string        // random ID of the last call of Put
	Replaces string        // SignIn of the previous one
	SignedIn time.Duration
	State    string
	StateAge time.Duration
	Entries  []entryRecord
}

type entryRecord struct {
	Scopes   string
	Token    *tokenRecord
	Failures [2]*failureRecord
	Lease    string // random ID of the flight that has it
	LeaseAge time.Duration
}

type tokenRecord struct {
	Text         string
	Type         string
	Scope        string
	Claims       string
	Age          time.Duration
	RefreshAfter time.Duration
	UsableFor    time.Duration
	Lifetime     time.Duration
}

type failureRecord struct {
	Error     string // by Handle.EncodeError
	Claims    string
	InARow    int64
	Age       time.Duration
	RetryIn   time.Duration
	Throttled time.Duration
}

// grow adds the time since the record was saved to its ages.
func (r *sessionRecord) grow(by time.Duration) {
	r.SignedIn += by
	r.StateAge += by
	for i := range r.Entries {
		e := &r.Entries[i]
		e.LeaseAge += by
		if e.Token != nil {
			e.Token.Age += by
		}
		for _, f := range e.Failures {
			if f != nil {
				f.Age += by
			}
		}
	}
}

// entry returns the entry of a scope set. It adds a missing one.
func (r *sessionRecord) entry(scopes string) *entryRecord {
	for i := range r.Entries {
		if sameScopes(r.Entries[i].Scopes, scopes) {
			return &r.Entries[i]
		}
	}
	r.Entries = append(r.Entries, entryRecord{Scopes: scopes})
	return &r.Entries[len(r.Entries)-1]
}

// leased reports whether a flight other than own has had the lease for less than a time.
func (e *entryRecord) leased(own string, life time.Duration) bool {
	return e.Lease != "" && e.Lease != own && e.LeaseAge < life
}

// laterThan reports whether r has a later sign-in than o. A sign-in names the previous one, because a store may round
// ages to milliseconds. Otherwise the ages are compared.
func (r *sessionRecord) laterThan(o *sessionRecord) bool {
	switch {
	case r.SignIn == "" || r.SignIn == o.SignIn || r.SignIn == o.Replaces:
		return false
	case o.SignIn == "" || o.SignIn == r.Replaces:
		return true
	}
	return r.SignedIn < o.SignedIn
}

// merge adds to r what o has and r lacks. Of two values, it keeps that of the later sign-in, and otherwise the
// younger one. The tokens of an earlier sign-in stay valid, so they stay where others are missing.
func (r *sessionRecord) merge(o *sessionRecord) {
	switch {
	case o.laterThan(r):
		merged := *o
		merged.Entries = slices.Clone(o.Entries)
		earlier := *r
		*r = merged
		r.addMissing(&earlier)
		return
	case r.laterThan(o):
	case o.State != "" && (r.State == "" || o.StateAge < r.StateAge):
		r.State, r.StateAge = o.State, o.StateAge
		fallthrough
	default:
		for _, e := range o.Entries {
			if mine := r.entry(e.Scopes); e.Token.usable() && (!mine.Token.usable() || e.Token.replaces(mine.Token)) {
				mine.Token = e.Token
			}
		}
	}
	r.addMissing(o)
}

func (r *sessionRecord) addMissing(o *sessionRecord) {
	if r.State == "" && !r.laterThan(o) {
		r.State, r.StateAge = o.State, o.StateAge
	}
	for _, e := range o.Entries {
		if mine := r.entry(e.Scopes); !mine.Token.usable() {
			mine.Token = e.Token
		}
	}
}

// replaces reports whether t is newer than old. Of two ages of one token, the higher one is right. The age of a record
// is too low if the store has executed the write late, after it had stopped for a while.
func (t *tokenRecord) replaces(old *tokenRecord) bool {
	if t.Text == old.Text {
		return t.Age > old.Age
	}
	return t.Age < old.Age
}

// contents returns the tokens of r, with their scopes and ages.
func (r *sessionRecord) contents() []string {
	c := []string{r.SignIn, r.State}
	for _, e := range r.Entries {
		if e.Token != nil {
			c = append(c, e.Scopes, e.Token.Text, e.Token.Age.String())
		}
	}
	return c
}

func (t *tokenRecord) usable() bool { return t != nil && t.Age < t.UsableFor }

// expire returns how long the record of a delegation may be stored. The state of a delegation expires stateTTL after it
// was obtained, and expire removes an expired one.
func (r *sessionRecord) expire(stateTTL time.Duration) time.Duration {
	if r.StateAge >= stateTTL {
		r.State, r.StateAge = "", 0
		return 0
	}
	return stateTTL - r.StateAge
}

// prune removes expired values, and then the oldest entries until r fits into a record. It keeps the entry of scopes.
// It sets the lifetime of r and returns its plain text.
func (r *sessionRecord) prune(scopes string, sessionTTL time.Duration) (plain []byte) {
	const least = time.Minute // a record without contents still has its epochs
	r.TTL = least
	if r.State != "" {
		r.TTL = sessionTTL
	}
	remaining := r.Entries[:0]
	for _, e := range r.Entries {
		empty := true
		if e.Token != nil && e.Token.Age >= e.Token.Lifetime {
			e.Token = nil
		}
		if e.Token != nil {
			empty, r.TTL = false, max(r.TTL, e.Token.Lifetime-e.Token.Age)
		}
		for i, f := range e.Failures {
			if f == nil {
				continue
			}
			if left := max(f.RetryIn, f.Throttled) + failureMemory - f.Age; left > 0 {
				empty, r.TTL = false, max(r.TTL, left)
			} else {
				e.Failures[i] = nil
			}
		}
		if e.leased("", refreshLease) {
			empty = false
		} else {
			e.Lease, e.LeaseAge = "", 0
		}
		if !empty {
			remaining = append(remaining, e)
		}
	}
	r.TTL = min(r.TTL, max(sessionTTL, least))
	r.Entries = remaining
	for {
		if len(r.Entries) <= maxScopeSets {
			if plain = encode(r); len(plain) <= maxRecord {
				return plain
			}
		}
		oldest := -1
		for i, e := range r.Entries {
			if !sameScopes(e.Scopes, scopes) && (oldest < 0 || e.age() > r.Entries[oldest].age()) {
				oldest = i
			}
		}
		if oldest < 0 {
			return plain
		}
		r.Entries = slices.Delete(r.Entries, oldest, oldest+1)
	}
}

func (e *entryRecord) age() time.Duration {
	if e.Token == nil {
		return e.LeaseAge
	}
	return e.Token.Age
}

func newTokenRecord(t *token, now time.Time) *tokenRecord {
	if t == nil {
		return nil
	}
	return &tokenRecord{
		Text: t.oauth.AccessToken, Type: t.oauth.TokenType, Scope: t.scope, Claims: t.claims,
		Age: since(now, t.obtainedAt), RefreshAfter: t.refreshAfter, UsableFor: t.usableFor,
		Lifetime: t.oauth.Expiry.Sub(t.obtainedAt.Round(0)),
	}
}

// token returns the token that was recorded, by the clock of this process.
func (t *tokenRecord) token(now time.Time) *token {
	obtainedAt := now.Add(-t.Age)
	return &token{
		oauth: oauth2.Token{
			AccessToken: t.Text, TokenType: t.Type, Expiry: obtainedAt.Add(t.Lifetime).Round(0),
		},
		scope: t.Scope, claims: t.Claims, obtainedAt: obtainedAt, refreshAfter: t.RefreshAfter, usableFor: t.UsableFor,
	}
}

// since returns how long ago t was by the clock that is further from it.
func since(now, t time.Time) time.Duration { return max(0, -until(now, t)) }

// epochs are the IDs of the marks that were in force for a session when it started: of its subject, of its app, and
// of the session itself. Without a mark, an ID is empty.
type epochs [3]string

// A subjectRecord has the marks of a subject. It is a record of its own, because the sessions of a subject cannot be
// listed: their names are hashes.
type subjectRecord struct {
	TTL   time.Duration
	Marks []mark
}

// A mark ends all sessions in its scope that do not have its ID, that is, those that started before it.
type mark struct {
	Scope string
	ID    string
	Age   time.Duration
}

// maxMarks bounds the marks of a subject.
const maxMarks = 256

// find returns the youngest mark of a scope.
func (r *subjectRecord) find(scope string) (m mark) {
	for _, other := range r.Marks {
		if other.Scope == scope && (m.ID == "" || other.Age < m.Age) {
			m = other
		}
	}
	return m
}

// merge adds a mark of another record, unless it is the same.
func (r *subjectRecord) merge(m mark) {
	same := func(o mark) bool { return o.Scope == m.Scope && o.ID == m.ID }
	if !slices.ContainsFunc(r.Marks, same) {
		r.Marks = append(r.Marks, m)
	}
}

// add adds a mark, and drops those that it replaces and those that are older than ttl. If there are too many, the new
// one ends all sessions of the subject and replaces all others. Without one of them, a session could come back.
func (r *subjectRecord) add(m mark, ttl time.Duration) {
	r.TTL = ttl
	r.Marks = slices.DeleteFunc(r.Marks, func(old mark) bool { return old.Scope == m.Scope || old.Age >= ttl })
	r.Marks = append(r.Marks, m)
	if len(r.Marks) > maxMarks {
		m.Scope = ""
		r.Marks = []mark{m}
	}
}

// sessionNames are the names of a session's records, and the scopes of the marks that end it.
type sessionNames struct {
	session []string // one for each key, the first is written
	marks   []string // the records in which marks can end it
	scopes  [3]string
}

// all returns the names of all records that concern the session.
func (n *sessionNames) all() []string { return slices.Concat(n.session, n.marks) }

func newSessionNames(keys *seal.Keyring, k Key) sessionNames {
	parts := []string{"session", k.Authority, k.ClientID, k.Flow, k.Capabilities, k.Subject, k.Session}
	if k.Owner != "" {
		parts = append(parts, k.Owner)
	}
	n := sessionNames{
		session: keys.Names(joined(parts...)),
		scopes:  [3]string{"", k.appScope(), k.sessionScope()},
	}
	for _, record := range k.marksRecords() {
		n.marks = append(n.marks, keys.Names(record)...)
	}
	return n
}

// marksRecords names the records in which marks can end the session of k. Those of delegations are stored for longer.
// Each delegation also has a record of its own, so that a process that begins and ends many does not fill that of the
// subject.
func (k *Key) marksRecords() []string {
	if k.Delegation {
		return []string{joined("delegations", k.Subject), joined("delegation", k.sessionScope(), k.Subject)}
	}
	return []string{joined("subject", k.Subject)}
}

// appScope returns the scope of a mark for all sessions of k.Subject in one app, in all tenants of a cloud.
func (k *Key) appScope() string {
	return shortHash("app", host(k.Authority), k.ClientID, k.Flow)
}

// sessionScope returns the scope of a mark for those with k.Session.
func (k *Key) sessionScope() string { return shortHash("session", k.appScope(), k.Session) }

func shortHash(parts ...string) string {
	sum := sha256.Sum256([]byte(joined(parts...)))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// joined returns a text that differs for different parts.
func joined(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = strconv.AppendQuote(b, p)
	}
	return string(b)
}
