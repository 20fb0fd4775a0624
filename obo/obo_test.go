package obo_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

const alice = "alice@contoso.onmicrosoft.com"

// recorder keeps the forms of token requests.
type recorder struct {
	next  http.RoundTripper
	forms []url.Values
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodPost {
		body, err := req.GetBody()
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(b))
		if err != nil {
			return nil, err
		}
		r.forms = append(r.forms, form)
	}
	return r.next.RoundTrip(req)
}

func setup(t testing.TB, change ...func(*entratest.Config)) (*entratest.Server, *recorder, *entra.Client) {
	t.Helper()
	cfg := entratest.Sample()
	for _, f := range change {
		f(&cfg)
	}
	s := entratest.NewServer(cfg)
	r := &recorder{next: s.Client().Transport}
	app := s.App("api-a")
	c, err := entra.New(entra.Config{
		TenantID: app.TenantID, ClientID: app.ClientID, Credential: entra.Secret(app.Secrets[0]), HTTPClient: &http.Client{Transport: r},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, r, c
}

func assertionOf(s *entratest.Server, user string, life time.Duration) string {
	return s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: user, Lifetime: life})
}

func refusal(t *testing.T, err error) *entra.Error {
	t.Helper()
	var e *entra.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %T: %v", err, err)
	}
	return e
}

func TestWire(t *testing.T) {
	s, r, c := setup(t)
	assertion := assertionOf(s, alice, time.Hour)
	if _, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read", "openid", "offline_access").Token(); err != nil {
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
	if len(r.forms) != 1 || !reflect.DeepEqual(r.forms[0], want) {
		t.Errorf("got %v, want %v", r.forms, want)
	}
}

func segment(json string) string { return base64.RawURLEncoding.EncodeToString([]byte(json)) }

// What cannot be exchanged is refused before Entra is asked; what cannot be judged here
// is left to Entra.
func TestAssertions(t *testing.T) {
	s, r, c := setup(t)
	header := segment(`{"alg":"RS256","typ":"JWT"}`)
	for _, tt := range []struct {
		name, assertion string
		refused         string // part of the description; "" if Entra is to judge
	}{
		{"of another tenant", s.Mint(entratest.MintOptions{Tenant: entratest.SampleOtherTenant, Resource: "api-a", Client: "webapp", User: "carol@fabrikam.onmicrosoft.com"}), "use Client.WithTenant"},
		{"an end under another name", header + "." + segment(`{"scp":"x","exp":946685400,"Exp":4000000000}`) + ".x", "the assertion ended at 2000-01-01"},
		{"app-only under another name", header + "." + segment(`{"idtyp":"app","IDTYP":"user","exp":4000000000}`) + ".x", "an app's own token"},
		{"empty", "", "there is no assertion"},
		{"not a token", "s3cret", "is not a token"},
		{"with its scheme", "Bearer " + assertionOf(s, alice, time.Hour), "is not a token"},
		{"one part too few", header + "." + segment("{}"), "is not a token"},
		{"one part too many", header + "." + segment("{}") + ".x.y", "is not a token"},
		{"payload that is no JSON", header + ".s3cret.x", "is not a token"},
		{"payload that is no object", header + "." + segment("[]") + ".x", "is not a token"},
		{"huge", header + "." + segment(`{"a":"`+strings.Repeat("x", 300<<10)+`"}`) + ".x", "is not a token"},
		{"expired", assertionOf(s, alice, -time.Minute), "the assertion ended at "},
		{"app-only by idtyp", s.Mint(entratest.MintOptions{Resource: "api-a", Client: "daemon"}), "an app's own token"},
		{"app-only by oid and sub", header + "." + segment(`{"oid":"x","sub":"x","exp":4000000000}`) + ".x", "an app's own token"},
		{"bad signature", header + "." + segment(`{"scp":"x","oid":"x","sub":"y","exp":4000000000}`) + ".x", ""},
		{"no expiry", header + "." + segment(`{"scp":"x"}`) + ".x", ""},
		{"strange claims", header + "." + segment(`{"scp":[1],"exp":{"x":1},"idtyp":7}`) + ".x", ""},
		{"encrypted", segment(`{"alg":"RSA-OAEP","enc":"A256GCM"}`) + ".a.b.c.d", ""},
		{"for another audience", s.Mint(entratest.MintOptions{Resource: "api-b", Client: "webapp", User: alice, Scopes: []string{"Orders.Read"}}), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := len(r.forms)
			_, err := obo.TokenSource(c, tt.assertion, "api://api-b/Orders.Read").Token()
			e := refusal(t, err)
			asked := len(r.forms) - before
			if tt.refused != "" {
				if e.InteractionRequired() != strings.Contains(tt.refused, "ended") || e.StatusCode != 0 || !strings.Contains(e.Description, tt.refused) || asked != 0 {
					t.Errorf("%v, %d requests", err, asked)
				}
			} else if asked != 1 || e.StatusCode != 400 || len(e.AADSTS) == 0 {
				t.Errorf("%v, %d requests", err, asked)
			}
			if len(tt.assertion) > 10 && strings.Contains(err.Error(), tt.assertion) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the assertion is in %v", err)
			}
		})
	}
}

func TestNoScopes(t *testing.T) {
	s, r, c := setup(t)
	for _, scopes := range [][]string{nil, {"openid", "profile"}} {
		_, err := obo.TokenSource(c, assertionOf(s, alice, time.Hour), scopes...).Token()
		if e := refusal(t, err); e.Code != "invalid_scope" || len(r.forms) != 0 {
			t.Errorf("%v: %v", scopes, err)
		}
	}
}

// A token is served up to the end of its assertion, however long it lives itself, and
// is not refreshed early, since no new one would end later.
func TestNotPastTheAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r, c := setup(t, func(c *entratest.Config) { c.Lifetime = func() time.Duration { return 90 * time.Minute } })
		source := obo.TokenSource(c, assertionOf(s, alice, 40*time.Minute), "api://api-b/Orders.Read")
		end := time.Now().Add(40 * time.Minute)
		tok, err := source.Token()
		if err != nil || !tok.Expiry.Equal(end.Truncate(time.Second)) {
			t.Fatalf("expires %v, %v, want %v", tok.Expiry, err, end)
		}
		for time.Until(tok.Expiry) > 0 {
			if got, err := source.Token(); err != nil || got.AccessToken != tok.AccessToken {
				t.Fatalf("%v before the end: %v", time.Until(end), err)
			}
			time.Sleep(time.Minute)
		}
		_, err = source.Token()
		if e := refusal(t, err); e.Code != "invalid_grant" || !strings.Contains(e.Description, "the caller must send a new token") {
			t.Errorf("got %v", err)
		}
		if len(r.forms) != 1 {
			t.Errorf("%d requests, want 1", len(r.forms))
		}
	})
}

// Nor is it where the two end within a minute of each other.
func TestNotJustPastTheAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, c := setup(t, func(c *entratest.Config) { c.Lifetime = func() time.Duration { return 6 * time.Minute } })
		source := obo.TokenSource(c, assertionOf(s, alice, 310*time.Second), "api://api-b/Orders.Read")
		end := time.Now().Add(310 * time.Second).Truncate(time.Second)
		tok, err := source.Token()
		if err != nil || !tok.Expiry.Equal(end) {
			t.Fatalf("expires %v, %v, want %v", tok.Expiry, err, end)
		}
		if served := source.Held().UsableUntil(); served.After(end) {
			t.Errorf("served until %v, past %v", served, end)
		}
	})
}

// While the assertion lives longer than the token, the token is refreshed early, with
// the assertion and not with anything else, whatever refresh_in says.
func TestRefreshKeepsTheUser(t *testing.T) {
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
		if len(r.forms) != 6 {
			t.Errorf("%d requests, want 6", len(r.forms))
		}
		for _, form := range r.forms {
			if form.Get("grant_type") != "urn:ietf:params:oauth:grant-type:jwt-bearer" || form.Get("assertion") == "" {
				t.Errorf("grant_type %s", form.Get("grant_type"))
			}
		}
	})
}

// A source with a claims challenge sends it with the assertion.
func TestClaims(t *testing.T) {
	s, r, c := setup(t)
	source := obo.TokenSource(c, assertionOf(s, alice, time.Hour), "api://api-b/Orders.Read")
	source.WithClaims(`{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`).Token()
	if got := r.forms[0].Get("claims"); got != `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}` {
		t.Errorf("claims %s", got)
	}
}

var _ obo.Verified = (*verify.Token)(nil)

type validated struct{ raw string }

func (v validated) Raw() string               { return v.raw }
func (v validated) SHA256() [sha256.Size]byte { return sha256.Sum256([]byte(v.raw)) }

// A source for a validated token shares the token of one for its text.
func TestForToken(t *testing.T) {
	s, r, c := setup(t)
	for _, length := range []int{1, 600, 2000} {
		assertion := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Claims: map[string]any{"filler": strings.Repeat("x", length)}})
		a, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read").Token()
		if err != nil {
			t.Fatal(err)
		}
		b, err := obo.ForToken(c, validated{assertion}, "api://api-b/orders.read").Token()
		if err != nil || a.AccessToken != b.AccessToken {
			t.Errorf("%d characters: another token, %v", len(assertion), err)
		}
	}
	if len(r.forms) != 3 {
		t.Errorf("%d requests, want 3", len(r.forms))
	}
	_, err := obo.ForToken(c, nil, "api://api-b/Orders.Read").Token()
	if e := refusal(t, err); e.Code != "invalid_request" || !strings.Contains(e.Description, "there is no assertion") {
		t.Errorf("no token: %v", err)
	}
}

func FuzzAssertion(f *testing.F) {
	s, _, c := setup(f)
	f.Add(assertionOf(s, alice, time.Hour))
	f.Add("a.b.c")
	f.Add(segment(`{}`) + "." + segment(`{"exp":1e400,"scp":null}`) + ".")
	f.Add("....")
	refuseAll := &http.Client{Transport: denier{}}
	c, err := entra.New(entra.Config{
		TenantID: c.TenantID(), ClientID: c.ClientID(), Credential: entra.Secret("x"), HTTPClient: refuseAll,
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, assertion string) {
		tok, err := obo.TokenSource(c, assertion, "api://api-b/Orders.Read").Token()
		if tok != nil || err == nil {
			t.Fatal("got a token from nobody")
		}
		if e := refusal(t, err); e.Code == "" || len(assertion) > 8 && strings.Contains(e.Error(), assertion) {
			t.Errorf("got %v", err)
		}
	})
}

type denier struct{}

func (denier) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody there")
}

func ExampleTokenSource() {
	fake := entratest.NewServer(entratest.Sample()) // in production: leave HTTPClient out
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("api-a").ClientID,
		Credential: entra.Secret(fake.App("api-a").Secrets[0]),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	// The token that the API was called with, and has validated.
	assertion := fake.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: "alice@contoso.onmicrosoft.com"})

	next := obo.TokenSource(client, assertion, "api://api-b/Orders.Read")
	if _, err := next.Token(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(next.Held().Scopes())
	// Output: [api://api-b/Orders.Read]
}
