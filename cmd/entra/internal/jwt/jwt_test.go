package jwt_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/internal/testkit"
)

func token(header, payload string) string {
	e := base64.RawURLEncoding
	return e.EncodeToString([]byte(header)) + "." + e.EncodeToString([]byte(payload)) + ".c2ln"
}

func TestDecode(t *testing.T) {
	header, claims, err := jwt.Decode(token(`{"alg":"RS256"}`,
		`{"aud":["a",7,"b"],"iss":"i","exp":1700000000,"nbf":"x","iat":1e99}`))
	if err != nil {
		t.Fatal(err)
	}
	if jwt.Text(header, "alg") != "RS256" || jwt.Text(claims, "iss") != "i" || jwt.Text(claims, "exp") != "" {
		t.Errorf("got %v and %v", header, claims)
	}
	if got := strings.Join(jwt.Strings(claims, "aud"), " "); got != "a b" {
		t.Errorf("got aud %q", got)
	}
	if got := jwt.Time(claims, "exp"); !got.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got exp %v", got)
	}
	for _, name := range []string{"nbf", "iat", "none"} {
		if got := jwt.Time(claims, name); !got.IsZero() {
			t.Errorf("got %s %v, want zero", name, got)
		}
	}
	for raw, want := range map[string]string{
		"": "not a JWT", "a.b": "not a JWT", "a.b.c": "not JSON", "a.b.c.d.e": "encrypted", token(`{}`, `[]`): "not JSON",
		token(`{} {}`, `{}`): "not JSON", token(`null`, `{}`): "not JSON", strings.Repeat("a", 70_000): "too long",
	} {
		if _, _, err := jwt.Decode(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: got %v, want %s", raw, err, want)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(token(`{"alg":"RS256"}`, `{"aud":"a","exp":1700000000}`))
	f.Add("a.b.c")
	f.Add(token(`{}`, `{"exp":1e400}`))
	f.Fuzz(func(t *testing.T, raw string) {
		testkit.CostsAtMost(t, "Decode", testkit.Cost{Fixed: 64 << 10, PerByte: 100}, raw, func(s string) { jwt.Decode(s) })
		header, claims, err := jwt.Decode(raw)
		if (err == nil) != (header != nil && claims != nil) && err != nil && header != nil && claims != nil {
			t.Errorf("%v %v %v", header, claims, err)
		}
		for name := range claims {
			if at := jwt.Time(claims, name); !at.IsZero() && at.Year() > 12000 {
				t.Errorf("%s is in %d", name, at.Year())
			}
			jwt.Strings(claims, name)
		}
	})
}
