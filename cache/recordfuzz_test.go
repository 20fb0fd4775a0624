package cache

import (
	"context"
	"errors"
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
	for _, plain := range []string{
		``, `null`, `{}`, `[]`, `{"entries":[{}]}`, `{"ttl":-1,"entries":[{"failures":[null,{}],"lease":"x"}]}`,
		`{"ttl":3600000000000,"epochs":["","",""],"signin":"a","signed_in":1,"state":"cmVmcmVzaA==","entries":[` +
			`{"scopes":"s","token":{"text":"t","age":1,"refresh_after":9,"usable_for":3540000000000,"lifetime":3600000000000}},` +
			`{"scopes":"s","lease":"other","lease_age":9223372036854775807}]}`,
		`{"ttl":9223372036854775807,"entries":[{"scopes":"s","token":{"text":"t","age":-9223372036854775808,` +
			`"usable_for":9223372036854775807,"lifetime":9223372036854775807}}]}`,
		`{"entries":[{"scopes":"s","failures":[{"error":"eA==","age":1,"retry_in":9223372036854775807,"in_a_row":-5}]}]}`,
		`{"ttl":1,"marks":[{"scope":"","id":"x","age":-1},{"scope":"","id":""},{}]}`,
	} {
		f.Add([]byte(plain), true)
		f.Add([]byte(plain), false)
	}
	key := NewSealKey([]byte("0123456789abcdef0123456789abcdef"))
	keys, err := seal.NewKeyring(purpose, []SealKey{key})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, value []byte, sealed bool) {
		if len(value) > maxRecord {
			return
		}
		store := &fixedStore{value: value}
		if sealed {
			store.keys = keys
		}
		synctest.Test(t, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			useFixedStore(t, store, key)
			runtime.ReadMemStats(&after)
			// A call reads and writes a few records, and JSON needs several bytes for one of the text.
			if got, most := after.TotalAlloc-before.TotalAlloc, uint64(8<<20+2000*len(value)); got > most {
				t.Errorf("a record of %d bytes: got %d bytes allocated, want at most %d", len(value), got, most)
			}
		})
	})
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
