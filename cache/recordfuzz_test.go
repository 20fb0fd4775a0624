package cache

import (
	"context"
	"errors"
	"math"
	"reflect"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/internal/seal"
)

// A fixedStore has the same value in all records, raw or sealed for the name of the record.
type fixedStore struct {
	value []byte
	keys  *seal.Keyring // nil for a raw value
}

func (s *fixedStore) Load(_ context.Context, name string) (Record, error) {
	value := s.value
	if s.keys != nil {
		value = s.keys.Seal(name, value)
	}
	return Record{Value: value, Version: "1", TTL: time.Hour}, nil
}

func (*fixedStore) Save(context.Context, string, []byte, Version, time.Duration) (Version, error) {
	return "2", nil
}

// No record makes the cache panic, hang or allocate without bounds. A raw record counts as missing. The sealed ones are
// those of another version of this package, or of a process with a fault.
func FuzzRecord(f *testing.F) {
	minute, most := time.Minute, time.Duration(math.MaxInt64)
	for _, r := range []record{
		&sessionRecord{}, &subjectRecord{},
		&sessionRecord{Entries: []entryRecord{{}}},
		&sessionRecord{TTL: -1, Entries: []entryRecord{{Failures: [2]*failureRecord{nil, {}}, Lease: "x"}}},
		&sessionRecord{TTL: time.Hour, SignIn: "a", Replaces: "b", SignedIn: 1, State: "refresh", Entries: []entryRecord{
			{Scopes: "s", Token: &tokenRecord{
				Text: "t", Age: 1, RefreshAfter: minute, UsableFor: 59 * minute, Lifetime: 60 * minute,
			}},
			{Scopes: "s", Lease: "other", LeaseAge: most},
		}},
		&sessionRecord{TTL: most, Entries: []entryRecord{
			{Scopes: "s", Token: &tokenRecord{Text: "t", Age: math.MinInt64, UsableFor: most, Lifetime: most}},
		}},
		&sessionRecord{Entries: []entryRecord{
			{Scopes: "s", Failures: [2]*failureRecord{{Error: "x", Age: 1, RetryIn: most, InARow: -5}}},
		}},
		&subjectRecord{TTL: 1, Marks: []mark{{"", "x", -1}, {}, {}}},
	} {
		plain := encode(r)
		f.Add(plain, true)
		f.Add(plain, false)
		f.Add(plain[:len(plain)-1], true)
		f.Add(append(plain, 0), true)
	}
	f.Add([]byte("{}"), true)
	key := NewSealKey([]byte("0123456789abcdef0123456789abcdef"))
	keys, err := seal.NewKeyring(purpose, []SealKey{key})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte, sealed bool) {
		if len(value) > maxRecord {
			return
		}
		expectSameEncoding(t, value, new(sessionRecord), new(sessionRecord))
		expectSameEncoding(t, value, new(subjectRecord), new(subjectRecord))
		store := &fixedStore{value: value}
		if sealed {
			store.keys = keys
		}
		synctest.Test(t, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			useFixedStore(t, store, key)
			runtime.ReadMemStats(&after)
			// A call reads and writes a few records.
			if got, most := after.TotalAlloc-before.TotalAlloc, uint64(4<<20+100*len(value)); got > most {
				t.Errorf("a record of %d bytes: got %d bytes allocated, want at most %d", len(value), got, most)
			}
		})
	})
}

// expectSameEncoding checks that a record that can be decoded is the same after it was encoded again.
func expectSameEncoding(t *testing.T, plain []byte, r, again record) {
	t.Helper()
	if !decode(plain, r) {
		return
	}
	if encoded := encode(r); !decode(encoded, again) || !reflect.DeepEqual(r, again) {
		t.Errorf("got %q for the record %q, which is not the same record", encoded, plain)
	}
}

func useFixedStore(t *testing.T, store *fixedStore, key SealKey) {
	t.Helper()
	c := New(Options{Store: store, Keys: []SealKey{key}})
	k := Key{Authority: "https://login.example/t", ClientID: "app", Flow: "flow", Subject: "alice", Session: "browser"}
	h := NewHandle(c, k, "s")
	h.EncodeError = func(err error) []byte { return []byte(err.Error()) }
	h.DecodeError = func(b []byte) error { return errors.New(string(b)) }
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	fetched := Response{AccessToken: "fetched", TokenType: "Bearer", Lifetime: time.Hour}
	tok, err := h.Token(ctx, "", func(context.Context, *Request) (Response, error) { return fetched, nil })
	switch {
	case err == nil && tok.AccessToken == "":
		t.Error("got an empty token, want an error or a token")
	case store.keys == nil && (err != nil || tok.AccessToken != "fetched"):
		t.Errorf("a record without a seal: got token %v, error %v; want the fetched token", tok, err)
	}
	if _, err := h.Put(ctx, fetched); err != nil {
		t.Errorf("sign-in: got error %v", err)
	}
	if _, err := c.PurgeSession(ctx, k); err != nil {
		t.Errorf("sign-out: got error %v", err)
	}
	time.Sleep(time.Minute)
}
