package cache

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
)

// asJSON returns a text of v that can be compared.
func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func wantRecord(t *testing.T, name string, got, want any) {
	t.Helper()
	if g, w := asJSON(t, got), asJSON(t, want); g != w {
		t.Errorf("%s: got\n%s, want\n%s", name, g, w)
	}
}

// decodeSession decodes a session's record.
func decodeSession(t *testing.T, plain []byte) (r sessionRecord) {
	t.Helper()
	if !decode(plain, &r) {
		t.Errorf("%q is not a record", plain)
	}
	return r
}

// aged returns a token of an hour.
func aged(text string, age time.Duration) *tokenRecord {
	return &tokenRecord{
		Text: text, Age: age, RefreshAfter: 40 * time.Minute, UsableFor: 59 * time.Minute, Lifetime: time.Hour,
	}
}

func TestAgesOfRecordGrow(t *testing.T) {
	r := sessionRecord{SignedIn: 1, StateAge: 2, Entries: []entryRecord{
		{LeaseAge: 3, Token: aged("t", 4), Failures: [2]*failureRecord{nil, {Age: 5}}}, {LeaseAge: 6},
	}}
	r.grow(10)
	wantRecord(t, "after 10 ns", r, sessionRecord{SignedIn: 11, StateAge: 12, Entries: []entryRecord{
		{LeaseAge: 13, Token: aged("t", 14), Failures: [2]*failureRecord{nil, {Age: 15}}}, {LeaseAge: 16},
	}})
}

func TestLeaseIsForOthersUntilItExpires(t *testing.T) {
	for _, tt := range []struct {
		lease string
		age   time.Duration
		want  bool
	}{
		{"", 0, false}, {"own", 0, false}, {"other", 0, true}, {"other", leaseTime - 1, true}, {"other", leaseTime, false},
	} {
		if got := (&entryRecord{Lease: tt.lease, LeaseAge: tt.age}).leased("own", leaseTime); got != tt.want {
			t.Errorf("lease %q of %v: got leased = %v, want %v", tt.lease, tt.age, got, tt.want)
		}
	}
}

func TestLaterSignInReplacesTheOtherOrIsYounger(t *testing.T) {
	for _, tt := range []struct {
		r, o sessionRecord
		want bool
	}{
		{sessionRecord{}, sessionRecord{}, false},
		{sessionRecord{SignIn: "a"}, sessionRecord{}, true},
		{sessionRecord{SignIn: "a", SignedIn: 5}, sessionRecord{SignedIn: 1}, true},
		{sessionRecord{}, sessionRecord{SignIn: "a"}, false},
		{sessionRecord{SignIn: "a", SignedIn: 1}, sessionRecord{SignIn: "a", SignedIn: 2}, false},
		{sessionRecord{SignIn: "a", SignedIn: 1}, sessionRecord{SignIn: "b", SignedIn: 2}, true},
		{sessionRecord{SignIn: "a", SignedIn: 2}, sessionRecord{SignIn: "b", SignedIn: 2}, false},
		{sessionRecord{SignIn: "a", SignedIn: 3}, sessionRecord{SignIn: "b", SignedIn: 2}, false},
		{sessionRecord{SignIn: "b", Replaces: "a", SignedIn: 2}, sessionRecord{SignIn: "a", SignedIn: 2}, true},
		{sessionRecord{SignIn: "b", Replaces: "a", SignedIn: 3}, sessionRecord{SignIn: "a", SignedIn: 2}, true},
		{sessionRecord{SignIn: "a", SignedIn: 2}, sessionRecord{SignIn: "b", Replaces: "a", SignedIn: 3}, false},
		{sessionRecord{SignIn: "b", Replaces: "a", SignedIn: 3}, sessionRecord{SignIn: "c", Replaces: "a", SignedIn: 2}, false},
	} {
		if got := tt.r.laterThan(&tt.o); got != tt.want {
			t.Errorf("%+v and %+v: got later = %v, want %v", tt.r, tt.o, got, tt.want)
		}
	}
}

func TestMergeKeepsTheLaterSignInAndTheYoungerValues(t *testing.T) {
	record := func(signIn string, signedIn time.Duration, state string, stateAge time.Duration, entries ...entryRecord,
	) sessionRecord {
		return sessionRecord{SignIn: signIn, SignedIn: signedIn, State: state, StateAge: stateAge, Entries: entries}
	}
	entry := func(scopes, token string, age time.Duration) entryRecord {
		return entryRecord{Scopes: scopes, Token: aged(token, age)}
	}
	expired := 59 * time.Minute
	for _, tt := range []struct {
		name       string
		r, o, want sessionRecord
	}{
		{"the other is a later sign-in",
			record("a", 9, "old", 1, entry("s", "old s", 1), entry("x", "old x", 1)),
			record("b", 5, "new", 5, entry("s", "new s", 5)),
			record("b", 5, "new", 5, entry("s", "new s", 5), entry("x", "old x", 1))},
		{"the other is an earlier sign-in",
			record("b", 5, "new", 5, entry("s", "new s", 5)),
			record("a", 9, "old", 1, entry("s", "old s", 1), entry("x", "old x", 1)),
			record("b", 5, "new", 5, entry("s", "new s", 5), entry("x", "old x", 1))},
		{"a later sign-in without a state gets none of an earlier one",
			record("b", 5, "", 0), record("a", 9, "old", 1), record("b", 5, "", 0)},
		{"an earlier sign-in fills in an expired token",
			record("b", 5, "new", 5, entry("s", "new s", expired)),
			record("a", 9, "old", 1, entry("s", "old s", 9)),
			record("b", 5, "new", 5, entry("s", "old s", 9))},
		{"the younger state of one sign-in",
			record("a", 9, "old", 5), record("a", 9, "new", 4), record("a", 9, "new", 4)},
		{"an older state", record("a", 9, "new", 4), record("a", 9, "old", 5), record("a", 9, "new", 4)},
		{"a state of the same age", record("a", 9, "own", 4), record("a", 9, "other", 4), record("a", 9, "own", 4)},
		{"the only state", record("a", 9, "", 0), record("a", 9, "new", 4), record("a", 9, "new", 4)},
		{"no state", record("a", 9, "own", 4), record("a", 9, "", 0), record("a", 9, "own", 4)},
		{"the younger token",
			record("", 0, "", 0, entry("s", "old", 5)), record("", 0, "", 0, entry("S", "new", 4)),
			record("", 0, "", 0, entry("s", "new", 4))},
		{"a token of the same age",
			record("", 0, "", 0, entry("s", "own", 5)), record("", 0, "", 0, entry("s", "other", 5)),
			record("", 0, "", 0, entry("s", "own", 5))},
		{"an older token",
			record("", 0, "", 0, entry("s", "new", 4)), record("", 0, "", 0, entry("s", "old", 5)),
			record("", 0, "", 0, entry("s", "new", 4))},
		{"a younger state and tokens",
			record("a", 9, "old", 5, entry("s", "old", 5)), record("a", 9, "new", 4, entry("s", "new", 4)),
			record("a", 9, "new", 4, entry("s", "new", 4))},
	} {
		tt.r.merge(&tt.o)
		wantRecord(t, tt.name, tt.r, tt.want)
	}
}

func TestTokenRecordIsUsableUntilItExpires(t *testing.T) {
	for age, want := range map[time.Duration]bool{0: true, 59*time.Minute - 1: true, 59 * time.Minute: false} {
		if got := aged("t", age).usable(); got != want {
			t.Errorf("age %v: got usable = %v, want %v", age, got, want)
		}
	}
	if (*tokenRecord)(nil).usable() {
		t.Error("no token: got usable = true, want false")
	}
}

func TestPruneRemovesWhatHasExpired(t *testing.T) {
	const ttl = 24 * time.Hour
	failed := func(age, retryIn, throttled time.Duration) *failureRecord {
		return &failureRecord{Error: "e", InARow: 1, Age: age, RetryIn: retryIn, Throttled: throttled}
	}
	for _, tt := range []struct {
		name    string
		ttl     time.Duration // of sessions; if zero, a day
		r, want sessionRecord
	}{
		{"nothing", 0, sessionRecord{}, sessionRecord{TTL: time.Minute}},
		{"a state", 0, sessionRecord{State: "s"}, sessionRecord{State: "s", TTL: ttl}},
		{"a state, and sessions of a second", time.Second,
			sessionRecord{State: "s"}, sessionRecord{State: "s", TTL: time.Second}},
		{"a token", 0,
			sessionRecord{Entries: []entryRecord{{Token: aged("t", 20*time.Minute)}}},
			sessionRecord{TTL: 40 * time.Minute, Entries: []entryRecord{{Token: aged("t", 20*time.Minute)}}}},
		{"two tokens", 0,
			sessionRecord{Entries: []entryRecord{{Token: aged("t", 0)}, {Scopes: "s", Token: aged("u", time.Minute)}}},
			sessionRecord{TTL: time.Hour,
				Entries: []entryRecord{{Token: aged("t", 0)}, {Scopes: "s", Token: aged("u", time.Minute)}}}},
		{"a token for longer than a session", 30 * time.Minute,
			sessionRecord{Entries: []entryRecord{{Token: aged("t", 0)}}},
			sessionRecord{TTL: 30 * time.Minute, Entries: []entryRecord{{Token: aged("t", 0)}}}},
		{"a token that has just expired", 0,
			sessionRecord{Entries: []entryRecord{{Token: aged("t", time.Hour)}}},
			sessionRecord{TTL: time.Minute, Entries: []entryRecord{}}},
		{"a failure", 0,
			sessionRecord{Entries: []entryRecord{{Failures: [2]*failureRecord{failed(time.Second, time.Minute, 0)}}}},
			sessionRecord{TTL: 6*time.Minute - time.Second,
				Entries: []entryRecord{{Failures: [2]*failureRecord{failed(time.Second, time.Minute, 0)}}}}},
		{"a failure with Retry-After", 0,
			sessionRecord{Entries: []entryRecord{{Failures: [2]*failureRecord{nil, failed(0, time.Minute, 2*time.Minute)}}}},
			sessionRecord{TTL: 7 * time.Minute,
				Entries: []entryRecord{{Failures: [2]*failureRecord{nil, failed(0, time.Minute, 2*time.Minute)}}}}},
		{"a failure that has just expired", 0,
			sessionRecord{Entries: []entryRecord{{Failures: [2]*failureRecord{failed(6*time.Minute, time.Minute, 0)}}}},
			sessionRecord{TTL: time.Minute, Entries: []entryRecord{}}},
		{"an expired failure next to a token", 0,
			sessionRecord{Entries: []entryRecord{
				{Token: aged("t", 0), Failures: [2]*failureRecord{nil, failed(time.Hour, time.Minute, 0)}}}},
			sessionRecord{TTL: time.Hour, Entries: []entryRecord{{Token: aged("t", 0)}}}},
		{"a lease", 0,
			sessionRecord{Entries: []entryRecord{{Lease: "l", LeaseAge: refreshLease - 1}}},
			sessionRecord{TTL: time.Minute, Entries: []entryRecord{{Lease: "l", LeaseAge: refreshLease - 1}}}},
		{"an expired lease", 0,
			sessionRecord{Entries: []entryRecord{{Lease: "l", LeaseAge: refreshLease, Token: aged("t", 0)}}},
			sessionRecord{TTL: time.Hour, Entries: []entryRecord{{Token: aged("t", 0)}}}},
	} {
		tt.r.prune("", cmp.Or(tt.ttl, ttl))
		wantRecord(t, tt.name, tt.r, tt.want)
	}
}

func TestPruneBoundsRecords(t *testing.T) {
	scopes := func(r *sessionRecord) (all []string) {
		for _, e := range r.Entries {
			all = append(all, e.Scopes)
		}
		return all
	}
	t.Run("number", func(t *testing.T) {
		var r sessionRecord
		for i := range maxScopeSets + 2 {
			e := entryRecord{Scopes: fmt.Sprint(i), Token: aged("t", time.Duration(i))}
			if i == 40 { // its lease is older than all tokens
				e.Token, e.Lease, e.LeaseAge = nil, "l", time.Second
			}
			r.Entries = append(r.Entries, e)
		}
		oldest := fmt.Sprint(maxScopeSets + 1)
		r.prune(oldest, time.Hour)
		got := strings.Join(scopes(&r), " ") + " "
		if len(r.Entries) != maxScopeSets || strings.Contains(got, " 40 ") || strings.Contains(got, " 64 ") ||
			!strings.Contains(got, " "+oldest+" ") {
			t.Errorf("got %d entries: %s; want all but 40 and 64, which are the oldest", len(r.Entries), got)
		}
		r.prune("", time.Hour)
		if len(r.Entries) != maxScopeSets {
			t.Errorf("at the bound: got %d entries, want %d", len(r.Entries), maxScopeSets)
		}
	})
	t.Run("the oldest is first", func(t *testing.T) {
		var r sessionRecord
		for i := range maxScopeSets + 1 {
			r.Entries = append(r.Entries, entryRecord{Scopes: fmt.Sprint(i), Token: aged("t", time.Duration(100-i))})
		}
		r.prune("", time.Hour)
		if got := scopes(&r); len(got) != maxScopeSets || got[0] != "1" {
			t.Errorf("got %d entries: %s; want all but 0, which is the oldest", len(got), strings.Join(got, " "))
		}
	})
	t.Run("size", func(t *testing.T) {
		// The first entry makes the record exactly as large as permitted. The other ones exceed it.
		fits := aged("", 9)
		r := sessionRecord{TTL: time.Hour, State: "state", Entries: []entryRecord{{Scopes: "kept", Token: fits}}}
		fits.Text = strings.Repeat("x", maxRecord-len(encode(&r))-2) // its length takes two bytes more than that of ""
		r.prune("", time.Hour)
		if got := scopes(&r); len(got) != 1 {
			t.Fatalf("a record of the maximum size: got the entries %q, want one", got)
		}
		r.Entries = append(r.Entries, entryRecord{Scopes: "a", Lease: "l"}, entryRecord{Scopes: "b", Lease: "l"})
		r.prune("KEPT", time.Hour)
		if got := scopes(&r); len(got) != 1 || got[0] != "kept" {
			t.Errorf("got the entries %q, want only the written entry", got)
		}
		fits.Text += "x"
		r.prune("kept", time.Hour)
		if got := scopes(&r); len(got) != 1 {
			t.Errorf("too large alone: got the entries %q, want the written entry", got)
		}
	})
}

func TestMarksOfScope(t *testing.T) {
	r := subjectRecord{Marks: []mark{{"s", "old", 9}, {"s", "young", 3}, {"s", "same", 3}, {"x", "another", 1}}}
	for scope, want := range map[string]string{"s": "young", "x": "another", "": ""} {
		if got := r.find(scope).ID; got != want {
			t.Errorf("scope %q: got mark %q, want %q", scope, got, want)
		}
	}
	r = subjectRecord{Marks: []mark{{"s", "replaced", 1}, {"x", "expired", 10}, {"y", "kept", 9}}}
	r.add(mark{"s", "new", 0}, 10)
	wantRecord(t, "added", r, subjectRecord{TTL: 10, Marks: []mark{{"y", "kept", 9}, {"s", "new", 0}}})
	r = subjectRecord{}
	for i := range maxMarks {
		r.add(mark{fmt.Sprint(i), "m", 0}, 10)
	}
	if got := len(r.Marks); got != maxMarks {
		t.Errorf("got %d marks, want %d", got, maxMarks)
	}
	r.add(mark{"one more", "new", 0}, 10)
	wantRecord(t, "too many", r, subjectRecord{TTL: 10, Marks: []mark{{"", "new", 0}}})
}

// A token survives a record, as seen by a process that reads it later.
func TestTokenRecordKeepsTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		obtained := time.Now()
		stored := token{
			oauth: oauth2.Token{AccessToken: "t", TokenType: "Bearer", Expiry: obtained.Add(time.Hour).Round(0)},
			scope: "s", claims: "c", obtainedAt: obtained, refreshAfter: 40 * time.Minute, usableFor: 59 * time.Minute,
		}
		time.Sleep(time.Minute)
		r := newTokenRecord(&stored, time.Now())
		wantRecord(t, "record", r, tokenRecord{
			Text: "t", Type: "Bearer", Scope: "s", Claims: "c", Age: time.Minute, RefreshAfter: 40 * time.Minute,
			UsableFor: 59 * time.Minute, Lifetime: time.Hour,
		})
		time.Sleep(time.Minute)
		r.Age += time.Minute
		got := r.token(time.Now())
		if !got.obtainedAt.Equal(obtained) || got.oauth != stored.oauth || got.scope != "s" || got.claims != "c" ||
			got.refreshAfter != 40*time.Minute || got.usableFor != 59*time.Minute {
			t.Errorf("got %s of %v from %v, want the same token from %v", got.oauth.AccessToken, got.oauth.Expiry,
				got.obtainedAt, obtained)
		}
		if newTokenRecord(nil, time.Now()) != nil {
			t.Error("got a record without a token, want none")
		}
	})
}
