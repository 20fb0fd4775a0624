package signin

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/testkit"
)

func testSite(t testing.TB) *Site {
	t.Helper()
	client, err := entra.New(entra.Config{TenantID: "11111111-1111-4111-8111-111111111111",
		ClientID: "aaaaaaaa-0000-4000-8000-0000000000ee", Credential: entra.Secret("x")})
	if err != nil {
		t.Fatal(err)
	}
	flow, err := authcode.New(client, authcode.Config{RedirectURL: "https://app.example/callback"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(flow, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Data sealed under one name, for one site, with one key cannot be opened otherwise.
func TestSealIsBoundToItsName(t *testing.T) {
	keys := []Key{NewKey([]byte("0123456789abcdef0123456789abcdef")), NewKey([]byte("fedcba9876543210fedcba9876543210"))}
	k, err := newKeyring("site", keys[:1])
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.seal("name", map[string]int{"x": 1})
	if err != nil {
		t.Fatal(err)
	}
	ring := func(site string, keys ...Key) *keyring {
		k, err := newKeyring(site, keys)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, test := range map[string]struct {
		ring *keyring
		name string
		ok   bool
	}{
		"the same":     {k, "name", true},
		"a new key":    {ring("site", keys[1], keys[0]), "name", true},
		"another name": {k, "name2", false},
		"another site": {ring("site2", keys[0]), "name", false},
		"shifted":      {ring("site\x00na", keys[0]), "me", false},
		"another key":  {ring("site", keys[1]), "name", false},
		"a random key": {ring("site"), "name", false},
	} {
		got := map[string]int{}
		if ok := test.ring.open(test.name, sealed, &got); ok != test.ok || ok != (got["x"] == 1) {
			t.Errorf("%s: got %t, want %t", name, ok, test.ok)
		}
	}
	again, err := k.seal("name", map[string]int{"x": 1})
	if err != nil || string(again) == string(sealed) {
		t.Errorf("got the same ciphertext twice, or error %v", err)
	}
	for n := range sealed {
		if k.open("name", sealed[:n], &struct{}{}) {
			t.Errorf("the first %d bytes can be opened", n)
		}
	}
	// NewKey copies the bytes.
	secret := []byte("0123456789abcdef0123456789abcdef")
	key := NewKey(secret)
	clear(secret)
	if !ring("site", key).open("name", sealed, &map[string]int{}) {
		t.Error("changing the slice changed the key")
	}
}

// Frames and subresources of another site are embedded. Old browsers send neither mode nor destination.
func TestIsEmbedded(t *testing.T) {
	for _, test := range []struct {
		site, mode, dest string
		want             bool
	}{
		{"cross-site", "no-cors", "image", true}, {"cross-site", "no-cors", "", true}, {"cross-site", "", "iframe", true},
		{"cross-site", "navigate", "iframe", true}, {"cross-site", "cors", "document", true},
		{"cross-site", "navigate", "document", false}, {"cross-site", "navigate", "", false},
		{"cross-site", "", "document", false},
		{"cross-site", "", "", false}, {"same-origin", "no-cors", "image", true},
		{"same-origin", "navigate", "iframe", true}, {"same-origin", "navigate", "document", false}, {"", "", "", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for name, value := range map[string]string{
			"Sec-Fetch-Site": test.site, "Sec-Fetch-Mode": test.mode, "Sec-Fetch-Dest": test.dest,
		} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		if got := isEmbedded(r); got != test.want {
			t.Errorf("%+v: got %t", test, got)
		}
	}
}

// Cookie values are decoded up to maxCookieBytes.
func TestDecodeCookieIsBounded(t *testing.T) {
	if b, ok := decodeCookie(strings.Repeat("A", maxCookieBytes)); !ok || len(b) != maxCookieBytes/4*3 {
		t.Errorf("got %d bytes, %t at the bound", len(b), ok)
	}
	if _, ok := decodeCookie(strings.Repeat("A", maxCookieBytes+4)); ok {
		t.Error("got a value above the bound")
	}
}

// The bounds of a login are exact: the size of the state parameter, and the time for which finished logins count.
func TestBoundsOfLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t)
		login, err := s.flow.Begin(t.Context(), authcode.Request{})
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
		for longPage, bound := range map[string]int{"": maxStateBytes, "/long": maxLongStateBytes} {
			largest := 0
			for n := range bound {
				to, ok := s.setLogin(httptest.NewRecorder(), r, &loginState{Login: login, PageOf: strings.Repeat("x", n)}, longPage)
				if !ok {
					break
				}
				u, err := url.Parse(to)
				if err != nil {
					t.Fatal(err)
				}
				largest = len(u.Query().Get("state"))
			}
			if largest > bound || largest < bound-3 { // a byte more takes up to two characters, and a slot has one or two digits
				t.Errorf("long page %q: got a largest state of %d bytes, want %d", longPage, largest, bound)
			}
		}

		st := &loginState{Login: login}
		for range maxFinished + 1 {
			rec := httptest.NewRecorder()
			s.setFinished(rec, r, st)
			r = httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
			for _, c := range rec.Result().Cookies() {
				if c.MaxAge > 0 {
					r.AddCookie(c)
				}
			}
		}
		for _, want := range []int{maxFinished, 0} {
			if got := len(s.finishedLogins(r)); got != want {
				t.Errorf("got %d finished logins, want %d", got, want)
			}
			time.Sleep(loopWindow)
		}
	})
}

// With the largest value of each cookie that a sign-in can set, the cookies of sign-ins stay below 4 KB together.
func TestLargestCookiesOfSignIns(t *testing.T) {
	s := testSite(t)
	s.cookies = newCookies(&url.URL{Scheme: "https", Host: "app.example", Path: "/callback"}, authcode.ResponseModeFormPost)
	login, err := s.flow.Begin(t.Context(), authcode.Request{})
	if err != nil {
		t.Fatal(err)
	}
	jar := map[string]string{}
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
		for name, value := range jar {
			r.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		return r
	}
	store := func(rec *httptest.ResponseRecorder) {
		for _, c := range rec.Result().Cookies() {
			if jar[c.Name] = c.Value; c.MaxAge < 0 {
				delete(jar, c.Name)
			}
		}
	}
	rec := httptest.NewRecorder()
	s.signOutLogins(rec, request())
	setCookie(rec, s.cookies.login(linkCookie, link("id"), 0))
	store(rec)
	for range maxFinished {
		rec := httptest.NewRecorder()
		s.setFinished(rec, request(), &loginState{Login: login, Request: strings.Repeat("x", 16)})
		store(rec)
	}
	for range 10 * loginSlots {
		rec := httptest.NewRecorder()
		if _, ok := s.setLogin(rec, request(), &loginState{Login: login}, "/"+strings.Repeat("x", 1999)); !ok {
			t.Fatal("got no login")
		}
		store(rec)
	}
	total := 0
	for name, value := range jar {
		total += len(name) + len("=") + len(value) + len("; ")
	}
	if want := loginSlots + 4; len(jar) != want || total > 4096 {
		t.Errorf("got %d cookies of %d bytes, want %d of at most 4096", len(jar), total, want)
	}
	t.Logf("%d bytes", total)
}

// The memory store is bounded, evicts the least recently used record, and removes expired ones.
func TestMemoryStoreIsBounded(t *testing.T) {
	m := newMemoryStore()
	later := time.Now().Add(time.Hour)
	for i := range maxMemoryRecords + 10 {
		if i == maxMemoryRecords {
			m.Find("0")
		}
		m.Commit(strconv.Itoa(i), nil, later)
	}
	_, used, _ := m.Find("0")
	_, oldest, _ := m.Find("1")
	if n := m.records.Len(); n != maxMemoryRecords || !used || oldest {
		t.Errorf("got %d records, used one %t, oldest one %t; want %d, true, false", n, used, oldest, maxMemoryRecords)
	}
	m = newMemoryStore()
	for i := range 100 {
		m.Commit(strconv.Itoa(i), nil, time.Now().Add(-time.Second))
	}
	if n := m.records.Len(); n > 1 {
		t.Errorf("got %d expired records, want at most 1", n)
	}
}

// The memory store does not return expired records. Tombstones and similar marks have no expiry of their own.
func TestMemoryStoreDropsExpiredRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemoryStore()
		m.Commit("mark", []byte("x"), time.Now().Add(tombstoneTTL))
		time.Sleep(tombstoneTTL - time.Nanosecond)
		if b, found, err := m.Find("mark"); string(b) != "x" || !found || err != nil {
			t.Errorf("before its expiry: got %q, %t, %v", b, found, err)
		}
		time.Sleep(time.Nanosecond)
		if b, found, err := m.Find("mark"); b != nil || found || err != nil || m.records.Len() != 0 {
			t.Errorf("at its expiry: got %q, %t, %v and %d records, want none", b, found, err, m.records.Len())
		}
	})
}

// Errors that are neither of Entra nor of a token are redacted and cut in the log, too.
func TestLogRedactsPlainErrors(t *testing.T) {
	var log testkit.Log
	s := testSite(t)
	s.logger = log.Logger()
	const token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJzIn0.c2lnbmF0dXJl"
	err := fmt.Errorf("AUTH failed: %s%s", token, strings.Repeat(" x", 1000))
	s.logError(t.Context(), slog.LevelError, "message", err, slog.Int("status", 503))
	want := "AUTH failed: [redacted]" + strings.Repeat(" x", 1000)
	want = want[:maxLoggedBytes] + "..."
	lines := log.Lines(t)
	if len(lines) != 1 || lines[0]["error"] != want || lines[0]["status"] != 503.0 || lines[0]["level"] != "ERROR" {
		t.Errorf("got log %v, want error %q", lines, want)
	}
}

// Any record in the store, sealed or not, yields no panic and no expired session.
func FuzzSession(f *testing.F) {
	now := time.Now().UTC()
	whole, err := json.Marshal(session{
		Account:  authcode.Account{HomeAccountID: "a.b", TenantID: "11111111-1111-4111-8111-111111111111", ObjectID: "a"},
		LastSeen: now, Expires: now.Add(time.Hour), SID: "s", Claims: json.RawMessage(`{"tid":"x"}`),
	})
	if err != nil {
		f.Fatal(err)
	}
	for _, b := range [][]byte{whole, []byte(`{}`), []byte(`null`), []byte(`{"last_seen":"x"}`),
		[]byte(`{"claims":"x","expires":"2999-01-01T00:00:00Z"}`), []byte("{"), nil} {
		f.Add(b)
	}
	s := testSite(f)
	const id = "AAAAAAAAAAAAAAAAAAAAAAAAAA"
	name := s.recordKey(sessionKey(id))
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed, err := s.keys.seal("store "+name, json.RawMessage(b))
		if err != nil {
			sealed = b
		}
		if err := s.store.CommitCtx(t.Context(), name, sealed, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
		r.AddCookie(&http.Cookie{Name: s.cookies.sessionName, Value: id})
		v, err := s.loadSession(r)
		if err != nil {
			t.Fatal(err)
		}
		v.claims()
		if v != nil && (!time.Now().Before(v.Expires) || !s.flow.AllowsTenant(v.Account.TenantID)) {
			t.Errorf("got a session of tenant %q until %v", v.Account.TenantID, v.Expires)
		}
	})
}
