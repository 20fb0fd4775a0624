package obo_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

const alice = "alice@contoso.onmicrosoft.com"

func setup(t testing.TB, changes ...func(*entratest.Config)) (*entratest.Server, *testkit.Recorder, *entra.Client) {
	t.Helper()
	s := testkit.Server(changes...)
	r := testkit.NewRecorder(s.Client().Transport)
	return s, r, testkit.Client(t, testkit.ClientConfig(s, "api-a", r))
}

func assertionOf(s *entratest.Server, user string, life time.Duration) string {
	return s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: user, Lifetime: life})
}

func TestRequest(t *testing.T) {
	s, r, c := setup(t)
	assertion := assertionOf(s, alice, time.Hour)
	if _, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read", "openid",
		"offline_access").Token(); err != nil {
		t.Fatal(err)
	}
	want := url.Values{
		"grant_type":          {"urn:ietf:params:oauth:grant-type:jwt-bearer"},
		"requested_token_use": {"on_behalf_of"},
		"client_id":           {s.App("api-a").ClientID},
		"client_secret":       {"api-a-secret"},
		"client_info":         {"1"},
		"assertion":           {assertion},
		"scope":               {"api://api-b/Orders.Read openid offline_access profile"},
	}
	if len(r.Forms()) != 1 || !reflect.DeepEqual(r.Forms()[0], want) {
		t.Errorf("got %v, want %v", r.Forms(), want)
	}
}

func segment(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }

// A proxy that mixes up responses must not get one user the data of another. The home account ID of a guest names
// another user in another tenant.
func TestTokenOfAnotherUserIsRejected(t *testing.T) {
	const me, other = "aaaaaaaa-1111-4000-8000-00000000a11c", "bbbbbbbb-1111-4000-8000-000000000b0b"
	s, r, c := setup(t)
	tid := s.App("api-a").TenantID
	for _, tt := range []struct{ name, uid, utid, want string }{
		{"the user", me, tid, ""},
		{"the user, in upper case", strings.ToUpper(me), strings.ToUpper(tid), ""},
		{"a guest", other, entratest.SampleOtherTenant, ""},
		{"another user", other, tid,
			"entra: invalid_response: the response is a token for another user than that of the assertion"},
	} {
		r.ChangeResponses(func(_ url.Values, body map[string]any) {
			body["client_info"] = segment(fmt.Sprintf(`{"uid":%q,"utid":%q}`, tt.uid, tt.utid))
		})
		_, err := obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read").Token()
		if got := fmt.Sprint(err); got != tt.want && !(err == nil && tt.want == "") {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
}

// Assertions that Entra cannot accept fail without a request. All others are sent.
func TestAssertionsAreChecked(t *testing.T) {
	s, r, c := setup(t)
	header := segment(`{"alg":"RS256","typ":"JWT"}`)
	appOnly := header + "." + segment(`{"idtyp":"app"}`) + "."
	for _, tt := range []struct {
		name, assertion string
		rejected        string // part of the description; empty if the assertion is sent
	}{
		{"of another tenant", s.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a",
			Client: "webapp", User: "carol@fabrikam.onmicrosoft.com"}), "use Client.WithTenant"},
		{"expiry in another case", header + "." + segment(`{"scp":"x","exp":946685400,"Exp":4000000000}`) + ".x",
			"the assertion expired at 2000-01-01T00:10:00Z"},
		{"idtyp in another case", header + "." + segment(`{"idtyp":"app","IDTYP":"user","exp":4000000000}`) + ".x",
			"app-only token"},
		{"empty", "", "the assertion is empty"},
		{"not a token", "s3cret", "is not a JWT"},
		{"with its scheme", "Bearer " + assertionOf(s, alice, time.Hour), "is not a JWT"},
		{"one part too few", header + "." + segment("{}"), "is not a JWT"},
		{"one part too many", header + "." + segment("{}") + ".x.y", "is not a JWT"},
		{"payload is not JSON", header + ".s3cret.x", "is not a JWT"},
		{"payload is not an object", header + "." + segment("[]") + ".x", "is not a JWT"},
		{"of the maximum size", appOnly + strings.Repeat("x", 256<<10-len(appOnly)), "app-only token"},
		{"larger than the maximum", appOnly + strings.Repeat("x", 256<<10-len(appOnly)+1), "is not a JWT"},
		{"expired", assertionOf(s, alice, -time.Minute), "the assertion expired at "},
		{"app-only by idtyp", s.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"}), "app-only token"},
		{"app-only by oid and sub", header + "." + segment(`{"oid":"x","sub":"x","exp":4000000000}`) + ".x",
			"app-only token"},
		{"bad signature", header + "." + segment(`{"scp":"x","oid":"x","sub":"y","exp":4000000000}`) + ".x", ""},
		{"user with equal oid and sub",
			header + "." + segment(`{"scp":"x","oid":"x","sub":"x","exp":4000000000}`) + ".x", ""},
		{"user by idtyp", header + "." + segment(`{"idtyp":"user","oid":"x","sub":"x","exp":4000000000}`) + ".x", ""},
		{"expiry zero", header + "." + segment(`{"scp":"x","exp":0}`) + ".x", ""},
		{"negative expiry", header + "." + segment(`{"scp":"x","exp":-1}`) + ".x", ""},
		{"expiry out of range", header + "." + segment(`{"scp":"x","exp":1e300}`) + ".x", ""},
		{"expired, in a string", header + "." + segment(`{"scp":"x","exp":"946685400"}`) + ".x",
			"the assertion expired at 2000-01-01T00:10:00Z"},
		{"not a number in a string", header + "." + segment(`{"scp":"x","exp":"NaN"}`) + ".x", ""},
		{"no expiry", header + "." + segment(`{"scp":"x"}`) + ".x", ""},
		{"strange claims", header + "." + segment(`{"scp":[1],"exp":{"x":1},"idtyp":7}`) + ".x", ""},
		{"encrypted", segment(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d", ""},
		{"for another audience",
			s.Mint(entratest.MintOptions{Resource: "api-b", Client: "webapp", User: alice,
				Scopes: []string{"Orders.Read"}}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.Forms())
			_, err := obo.TokenSource(c, tt.assertion, "api://api-b/Orders.Read").Token()
			e := testkit.Error(t, err)
			sent := len(r.Forms()) - before
			if tt.rejected != "" {
				if e.InteractionRequired() != strings.Contains(tt.rejected, "expired") || e.StatusCode != 0 ||
					!strings.Contains(e.Description, tt.rejected) || sent != 0 {
					t.Errorf("got %v and %d requests, want %q and 0", err, sent, tt.rejected)
				}
			} else if sent != 1 || e.StatusCode != 400 || len(e.AADSTS) == 0 {
				t.Errorf("got %v and %d requests, want an error of Entra and 1", err, sent)
			}
			if len(tt.assertion) > 10 && strings.Contains(err.Error(), tt.assertion) ||
				strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error contains the assertion: %v", err)
			}
		})
	}
}

func TestScopesAreRequired(t *testing.T) {
	s, r, c := setup(t)
	for _, scopes := range [][]string{nil, {"openid", "profile"}} {
		_, err := obo.TokenSource(c, assertionOf(s, alice, time.Hour), scopes...).Token()
		if e := testkit.Error(t, err); e.Code != "invalid_scope" || len(r.Forms()) != 0 {
			t.Errorf("%v: got %v and %d requests, want invalid_scope and 0", scopes, err, len(r.Forms()))
		}
	}
}

// A token is for one API. Entra would return one for some of the scopes, or AADSTS28000.
func TestScopesOfTwoAPIsAreRejected(t *testing.T) {
	s, r, c := setup(t)
	for _, scopes := range [][]string{
		{"api://api-b/Orders.Read", "User.Read"},
		{"api://api-b/Orders.Read", "api://api-c/Bills.Read"},
		{"https://graph.microsoft.com/.default", "api://api-b/.default"},
	} {
		_, err := obo.TokenSource(c, assertionOf(s, alice, time.Hour), scopes...).Token()
		const want = "the scopes name several APIs, but a token is for one; use a TokenSource for each API"
		if e := testkit.Error(t, err); e.Code != "invalid_scope" || e.Description != want || len(r.Forms()) != 0 {
			t.Errorf("%q: got %v and %d requests, want invalid_scope: %s", scopes, err, len(r.Forms()), want)
		}
	}
	source := obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read", "openid")
	if _, err := source.Token(); err != nil || len(r.Forms()) != 1 {
		t.Errorf("scopes of one API: got %v and %d requests, want a token and 1", err, len(r.Forms()))
	}
}

// Scopes that Entra rejects in every request are an error without one, for all functions of the package.
func TestInvalidScopesAreRejectedLocally(t *testing.T) {
	e := newEstate()
	c, r := e.process(t)
	d := begin(t, c, e.caller(alice))
	sent := len(r.Forms())
	const uri = `"api://api-b" names an API but no permission; use "api://api-b/.default", or scopes of the API`
	const mixed = `"api://api-b/.default" stands for all permissions and cannot be combined with ` +
		`"api://api-b/Orders.Read"; use one of the two`
	for _, tt := range []struct {
		scopes []string
		want   string
	}{
		{[]string{"api://api-b"}, uri},
		{[]string{"openid", "api://api-b"}, uri},
		{[]string{"api://api-b/.default", "api://api-b/Orders.Read"}, mixed},
	} {
		_, plain := obo.TokenSource(c, e.caller(alice).raw, tt.scopes...).Token()
		_, begun := obo.Begin(t.Context(), c, e.caller(alice), tt.scopes...)
		_, resumed := obo.Resume(c, d, tt.scopes...).Token()
		for name, err := range map[string]error{"TokenSource": plain, "Begin": begun, "Resume": resumed} {
			if got := testkit.Error(t, err); got.Code != "invalid_scope" || got.Description != tt.want || !got.Local() {
				t.Errorf("%s of %q: got %v, want invalid_scope: %s", name, tt.scopes, err, tt.want)
			}
		}
	}
	if n := len(r.Forms()) - sent; n != 0 {
		t.Errorf("got %d requests, want 0", n)
	}
	if _, err := obo.TokenSource(c, e.caller(alice).raw, "openid", "api://api-b/.default").Token(); err != nil {
		t.Errorf("the default scope with one of OpenID Connect: %v", err)
	}
}

// A token is served until its assertion expires, even if the token expires later. It is not
// refreshed early, because a new token could not be served longer.
func TestTokenIsNotServedPastItsAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := setup(t, func(c *entratest.Config) { c.Lifetime = func() time.Duration { return 90 * time.Minute } })
		source := obo.TokenSource(c, assertionOf(s, alice, 40*time.Minute), "api://api-b/Orders.Read")
		end := time.Now().Add(40 * time.Minute)
		tok, err := source.Token()
		if err != nil || !tok.Expiry.Equal(end.Truncate(time.Second)) {
			t.Fatalf("got expiry %v, %v, want %v", tok.Expiry, err, end)
		}
		for time.Until(tok.Expiry) > 0 {
			if got, err := source.Token(); err != nil || got.AccessToken != tok.AccessToken {
				t.Fatalf("%v before the expiry: got another token or %v", time.Until(end), err)
			}
			time.Sleep(time.Minute)
		}
		_, err = source.Token()
		if e := testkit.Error(t, err); e.Code != "invalid_grant" ||
			!strings.Contains(e.Description, "the caller must send a new token") {
			t.Errorf("got %v, want invalid_grant", err)
		}
		if len(r.Forms()) != 1 {
			t.Errorf("got %d requests, want 1", len(r.Forms()))
		}
	})
}

// The same holds if token and assertion expire within a minute of each other.
func TestTokenIsNotServedJustPastItsAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, c := setup(t, func(c *entratest.Config) { c.Lifetime = func() time.Duration { return 6 * time.Minute } })
		source := obo.TokenSource(c, assertionOf(s, alice, 310*time.Second), "api://api-b/Orders.Read")
		end := time.Now().Add(310 * time.Second).Truncate(time.Second)
		tok, err := source.Token()
		if err != nil || !tok.Expiry.Equal(end) {
			t.Fatalf("got expiry %v, %v, want %v", tok.Expiry, err, end)
		}
		if info, ok := source.Cached(); !ok || !info.ExpiresAt.Equal(end) {
			t.Errorf("cached until %v, want %v", info.ExpiresAt, end)
		}
		time.Sleep(time.Until(end))
		if _, err := source.Token(); err == nil {
			t.Error("a token was served after its assertion expired")
		}
	})
}

// If the expiry of the assertion is unknown, a token is served for ten minutes. Then Entra checks
// the assertion again.
func TestUnknownExpiryIsTenMinutes(t *testing.T) {
	for name, assertion := range map[string]string{
		"encrypted":    segment(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d",
		"no expiry":    segment(`{"alg":"RS256"}`) + "." + segment(`{"scp":"x"}`) + ".x",
		"not a number": segment(`{"alg":"RS256"}`) + "." + segment(`{"scp":"x","exp":"soon"}`) + ".x",
		"two numbers":  segment(`{"alg":"RS256"}`) + "." + segment(`{"scp":"x","exp":"4000000000 1"}`) + ".x",
	} {
		synctest.Test(t, func(t *testing.T) {
			s, r, c := setup(t)
			accepts := true
			acceptAs(s, r, assertionOf(s, alice, time.Hour), &accepts)
			source := obo.TokenSource(c, assertion, "api://api-b/Orders.Read")
			tok, err := source.Token()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if want := time.Now().Add(10 * time.Minute); !tok.Expiry.Equal(want) {
				t.Errorf("%s: got expiry %v, want %v", name, tok.Expiry, want)
			}
			accepts = false
			time.Sleep(10*time.Minute - time.Second)
			if again, err := source.Token(); err != nil || again.AccessToken != tok.AccessToken {
				t.Errorf("%s: got another token or %v, want the cached one", name, err)
			}
			time.Sleep(time.Second)
			if _, err := source.Token(); err == nil || len(r.Forms()) != 2 {
				t.Errorf("%s: got %v and %d requests, want an error of Entra and 2", name, err, len(r.Forms()))
			}
		})
	}
}

// acceptAs replaces the assertion in requests by a valid one while accepts is true, as if Entra could read it.
func acceptAs(s *entratest.Server, r *testkit.Recorder, valid string, accepts *bool) {
	r.Next = testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
		if req.Method == http.MethodPost && *accepts {
			if err := req.ParseForm(); err != nil {
				return nil, err
			}
			req.PostForm.Set("assertion", valid)
			body := req.PostForm.Encode()
			req.Body, req.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		}
		return s.Client().Transport.RoundTrip(req)
	})
}

// Some token services write exp as a string, against RFC 7519, section 2. A number in it is the expiry.
func TestExpiryInAString(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := setup(t)
		accepts := true
		acceptAs(s, r, assertionOf(s, alice, time.Hour), &accepts)
		end := time.Now().Add(4 * time.Minute).Truncate(time.Second)
		assertion := segment(`{"alg":"RS256"}`) + "." + segment(fmt.Sprintf(`{"scp":"x","exp":"%d"}`, end.Unix())) + ".x"
		source := obo.TokenSource(c, assertion, "api://api-b/Orders.Read")
		if tok, err := source.Token(); err != nil || !tok.Expiry.Equal(end) {
			t.Fatalf("got expiry %v, %v, want %v", tok, err, end)
		}
		time.Sleep(time.Until(end))
		_, err := source.Token()
		if e := testkit.Error(t, err); e.Code != "invalid_grant" || e.StatusCode != 0 || len(r.Forms()) != 1 {
			t.Errorf("got %v and %d requests, want invalid_grant and 1", err, len(r.Forms()))
		}
	})
}

// A token that expires before its assertion is refreshed at each refresh_in, with the assertion.
func TestRefreshUsesTheAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := setup(t, func(c *entratest.Config) {
			c.Lifetime = func() time.Duration { return time.Hour }
			c.RefreshIn = func(time.Duration) time.Duration { return 10 * time.Minute }
		})
		source := obo.TokenSource(c, assertionOf(s, alice, 24*time.Hour), "api://api-b/Orders.Read")
		for range 6 {
			if _, err := source.Token(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			time.Sleep(10 * time.Minute)
		}
		if len(r.Forms()) != 6 {
			t.Errorf("got %d requests, want 6", len(r.Forms()))
		}
		for _, form := range r.Forms() {
			if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || form.Get("assertion") == "" {
				t.Errorf("got grant_type %s, want the assertion's", form.Get("grant_type"))
			}
		}
	})
}

// A claims challenge is sent with the assertion.
func TestClaimsChallengeIsSent(t *testing.T) {
	s, r, c := setup(t)
	source := obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read")
	source.WithClaims(`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`).Token()
	const want = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	if got := r.Forms()[0].Get("claims"); got != want {
		t.Errorf("got claims %s, want %s", got, want)
	}
}

var _ obo.Verified = (*verify.Token)(nil)

type validated struct{ raw string }

func (v validated) Raw() string               { return v.raw }
func (v validated) SHA256() [sha256.Size]byte { return sha256.Sum256([]byte(v.raw)) }

// ForToken and TokenSource share the token of one assertion.
func TestForTokenSharesTheToken(t *testing.T) {
	s, r, c := setup(t)
	for _, length := range []int{1, 600, 2000} {
		assertion := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice,
			Claims: map[string]any{"filler": strings.Repeat("x", length)}})
		a, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read").Token()
		if err != nil {
			t.Fatal(err)
		}
		b, err := obo.ForToken(c, validated{assertion}, "api://api-b/orders.read").Token()
		if err != nil || a.AccessToken != b.AccessToken {
			t.Errorf("%d characters: got another token or %v", len(assertion), err)
		}
	}
	if len(r.Forms()) != 3 {
		t.Errorf("got %d requests, want 3", len(r.Forms()))
	}
}

// Without a token, as in a handler without verify.Middleware, the source fails.
func TestForTokenWithoutToken(t *testing.T) {
	_, r, c := setup(t)
	for name, v := range map[string]obo.Verified{"nil": nil, "nil *verify.Token": (*verify.Token)(nil),
		"zero verify.Token": &verify.Token{}} {
		_, err := obo.ForToken(c, v, "api://api-b/Orders.Read").Token()
		if e := testkit.Error(t, err); e.Code != "invalid_request" ||
			!strings.Contains(e.Description, "the assertion is empty") {
			t.Errorf("%s: got %v, want invalid_request", name, err)
		}
	}
	if len(r.Forms()) != 0 {
		t.Errorf("got %d requests, want 0", len(r.Forms()))
	}
}

func FuzzAssertion(f *testing.F) {
	s := testkit.Server()
	f.Add(assertionOf(s, alice, time.Hour))
	f.Add("a.b.c")
	f.Add(segment(`{}`) + "." + segment(`{"exp":1e400,"scp":null}`) + ".")
	f.Add("....")
	offline := testkit.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no network") })
	c := testkit.Client(f, testkit.ClientConfig(s, "api-a", offline))
	f.Fuzz(func(t *testing.T, assertion string) {
		testkit.CostsAtMost(t, "TokenSource", testkit.Cost{Fixed: 64 << 10, PerByte: 40}, assertion, func(s string) {
			obo.TokenSource(c, s, "api://api-b/Orders.Read")
		})
		tok, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read").Token()
		if tok != nil || err == nil {
			t.Fatal("got a token without a response")
		}
		if e := testkit.Error(t, err); e.Code == "" || len(assertion) > 8 && strings.Contains(e.Error(), assertion) {
			t.Errorf("got %v, want an error with a code and without the assertion", err)
		}
	})
}

// A tenant that is a domain is not compared with tid, even if it is as long as a GUID.
func TestTenantDomainIsNotCompared(t *testing.T) {
	s, _, c := setup(t)
	c, err := c.WithTenant("a-b-c-d-eeeeeeeeeeeeeeeeeeee.example")
	if err != nil {
		t.Fatal(err)
	}
	_, err = obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read").Token()
	if e := testkit.Error(t, err); e.StatusCode == 0 {
		t.Errorf("got %v, want an error of Entra", err)
	}
}
