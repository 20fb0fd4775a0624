package signin

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
)

// withCookies returns a request with cookies of logins, given as pairs of names and values.
func withCookies(s *Site, pairs ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "https://app.example/", nil)
	for pair := range slices.Chunk(pairs, 2) {
		r.AddCookie(&http.Cookie{Name: s.cookies.loginPrefix + pair[0], Value: pair[1]})
	}
	return r
}

// A request names at most two sessions, however many cookies it has.
func TestSessionsOfRequestAreBounded(t *testing.T) {
	s := testSite(t)
	text := func(c string) string { return strings.Repeat(c, linkLength) }
	r := withCookies(s, linkCookie, "", linkCookie, text("a")[1:], linkCookie, text("a")+"a", linkCookie, text("b"),
		linkCookie, text("c"), linkCookie, text("d"))
	if got, want := s.sessionKeys(r), []string{linkedKey(text("b")), linkedKey(text("c"))}; !slices.Equal(got, want) {
		t.Errorf("got the sessions %q, want %q", got, want)
	}
	id := strings.Repeat("i", idLength)
	r.AddCookie(s.cookies.session(id))
	if got, want := s.sessionKeys(r), []string{sessionKey(id), linkedKey(text("b"))}; !slices.Equal(got, want) {
		t.Errorf("with a session cookie: got the sessions %q, want %q", got, want)
	}
}

// A sign-out deletes the cookies that the request has, and sets a cookie that cancels late sign-ins.
func TestSignOutDeletesCookiesOfLogins(t *testing.T) {
	s := testSite(t)
	for _, test := range []struct{ names, deleted []string }{
		{nil, nil},
		{[]string{slotCookie(3), finishedCookie}, []string{slotCookie(3), finishedCookie}},
		{[]string{pageCookie, linkCookie, slotCookie(0), slotCookie(1)},
			[]string{slotCookie(0), slotCookie(1), pageCookie, linkCookie}},
	} {
		var pairs []string
		for _, name := range test.names {
			pairs = append(pairs, name, "value")
		}
		w := httptest.NewRecorder()
		s.signOutLogins(w, withCookies(s, pairs...))
		var deleted, set []string
		for _, c := range w.Result().Cookies() {
			name := strings.TrimPrefix(c.Name, s.cookies.loginPrefix)
			if c.MaxAge < 0 {
				deleted = append(deleted, name)
			} else {
				set = append(set, name)
			}
		}
		if !slices.Equal(deleted, test.deleted) || !slices.Equal(set, []string{signedOutCookie}) {
			t.Errorf("%q: got the deleted cookies %q and the new ones %q, want %q and only %q", test.names, deleted, set,
				test.deleted, signedOutCookie)
		}
	}
}

// A page in a cookie is checked like any other, because the config may have changed since the cookie was set.
func TestPageOfCookieIsChecked(t *testing.T) {
	s := testSite(t)
	login, err := s.flow.Begin(t.Context(), authcode.Request{ReturnTo: "/short"})
	if err != nil {
		t.Fatal(err)
	}
	for page, want := range map[string]string{
		"/long": "/long", "//other.example": s.config.Home, s.config.LoginPath: s.config.Home, "": s.config.Home,
	} {
		st := &loginState{id: "id", Login: login, Long: true}
		sealed, err := s.keys.seal("page id", page)
		if err != nil {
			t.Fatal(err)
		}
		r := withCookies(s, pageCookie, encodeCookie(sealed))
		if got, ok := s.page(r, st); got != want || ok != (page == want) {
			t.Errorf("page %q: got %q, found = %v, want %q, %v", page, got, ok, want, page == want)
		}
		st.id = "another"
		if got, ok := s.page(r, st); got != s.config.Home || ok {
			t.Errorf("page %q of another login: got %q, found = %v, want %q, false", page, got, ok, s.config.Home)
		}
		st.Long = false
		if got, ok := s.page(r, st); got != "/short" || !ok {
			t.Errorf("a login with a short page: got %q, found = %v, want /short, true", got, ok)
		}
	}
}
