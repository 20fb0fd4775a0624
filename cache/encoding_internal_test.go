package cache

import (
	"reflect"
	"testing"
)

// fullRecords have a value in each field.
func fullRecords() []record {
	failed := &failureRecord{Error: "e", Claims: "c", InARow: 2, Age: 64, RetryIn: -65, Throttled: 66}
	return []record{
		&sessionRecord{
			TTL: 1, Epochs: epochs{"x", "", "z"}, SignIn: "new", Replaces: "old", SignedIn: 2, State: "state", StateAge: 3,
			Entries: []entryRecord{
				{Scopes: "s", Lease: "lease", LeaseAge: 4, Failures: [2]*failureRecord{nil, failed}, Token: &tokenRecord{
					Text: "text", Type: "Bearer", Scope: "granted", Claims: "claims", Age: 5, RefreshAfter: 6, UsableFor: 7,
					Lifetime: 8,
				}},
				{},
			},
		},
		&subjectRecord{TTL: 1, Marks: []mark{{"s", "id", 2}, {"", "other", 3}}},
	}
}

// Processes of two releases share a store, so a change of the format needs a new number in purpose.
func TestEncodingOfRecords(t *testing.T) {
	const want = "entra/cache 2"
	if purpose != want {
		t.Errorf("got purpose %q, want %q with this format", purpose, want)
	}
	for i, want := range []string{
		"\x02\x02x\x00\x02z\x06new\x06old\x04\nstate\x06\x04\x02s\x02\btext\fBearer\x0egranted\fclaims\n\f\x0e\x10" +
			"\x00\x02\x02e\x02c\x04\x80\x01\x81\x01\x84\x01\nlease\b" + "\x00\x00\x00\x00\x00\x00",
		"\x02\x04\x02s\x04id\x04\x00\nother\x06",
	} {
		r := fullRecords()[i]
		plain := encode(r)
		if string(plain) != want {
			t.Errorf("got %q, want %q", plain, want)
		}
		empty := func() record { return reflect.New(reflect.TypeOf(r).Elem()).Interface().(record) }
		if again := empty(); !decode(plain, again) || !reflect.DeepEqual(r, again) {
			t.Errorf("got %+v, want %+v", again, r)
		}
		for n := range plain {
			if decode(plain[:n], empty()) {
				t.Errorf("the first %d bytes of %q are a record", n, plain)
			}
		}
		if decode(append(plain, 0), empty()) {
			t.Errorf("%q with another byte is a record", plain)
		}
	}
}

// A record from a process with a fault does not make this one allocate much more than the record has.
func TestDecodingIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name  string
		plain []byte
		r     record
		ok    bool
	}{
		{"64 entries", encode(&sessionRecord{Entries: make([]entryRecord, 64)}), &sessionRecord{}, true},
		{"65 entries", encode(&sessionRecord{Entries: make([]entryRecord, 65)}), &sessionRecord{}, false},
		{"256 marks", encode(&subjectRecord{Marks: make([]mark, 256)}), &subjectRecord{}, true},
		{"257 marks", encode(&subjectRecord{Marks: make([]mark, 257)}), &subjectRecord{}, false},
		{"a text without an end", []byte("\x02\xfe\xff\xff\xff\x0fx"), &sessionRecord{}, false},
		{"a negative length", []byte("\x02\x01"), &sessionRecord{}, false},
		{"a number of 11 bytes", []byte("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00\x00"), &subjectRecord{}, false},
	} {
		if got := decode(tt.plain, tt.r); got != tt.ok {
			t.Errorf("%s: got decoded = %v, want %v", tt.name, got, tt.ok)
		}
	}
}
