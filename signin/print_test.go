package signin_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra/signin"
)

// forms returns v in all forms in which a program may print it.
func forms(v any) map[string]string {
	out := map[string]string{}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out[f] = fmt.Sprintf(f, v)
	}
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("x", "v", v)
	out["slog text"], out["slog JSON"] = text.String(), structured.String()
	if b, err := json.Marshal(v); err == nil {
		out["JSON"] = string(b)
	}
	return out
}

// Keys, session IDs and logins are never printed, in any type that contains them.
func TestPrintingLeaksNothing(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	store := newSharedStore()
	var r *http.Request
	var problem signin.Problem
	w := newWebApp(t, func(s *settings) {
		s.site.Keys = []signin.Key{signin.NewKey([]byte(secret))}
		s.site.Store = store
		s.site.Page = func(_ http.ResponseWriter, _ *http.Request, p signin.Problem) { problem = p }
	})
	b := w.browser(t)
	b.signIn("/call", alice)
	id := b.session()
	w.calls = func(_ http.ResponseWriter, in *http.Request) { r = in }
	b.get("/call")
	b.get("/login")
	b.get("/callback?error=x&state=" + strings.Repeat("s", 43))
	hidden := []string{secret, id, "webapp-secret", "eyJ", "Alice", alice, "MDEyMzQ1Njc4", "[48 49 50", "30313233",
		"0x30, 0x31"}
	for _, c := range b.cookies() {
		hidden = append(hidden, c.Value)
	}
	config := signin.Config{Keys: []signin.Key{signin.NewKey([]byte(secret))}, Logger: slog.New(slog.DiscardHandler)}
	type holder struct {
		site   *signin.Site
		value  signin.Site
		key    signin.Key
		keys   []signin.Key
		config signin.Config
	}
	for name, v := range map[string]any{
		"Site": w.site, "*Site": *w.site, "Key": config.Keys[0], "Config": config, "Problem": problem,
		"struct": holder{w.site, *w.site, config.Keys[0], config.Keys, config}, "context": r.Context(),
		"TokenSource": w.site.TokenSource(r),
	} {
		for format, text := range forms(v) {
			for _, h := range hidden {
				if strings.Contains(text, h) {
					t.Errorf("%s printed with %s contains %s", name, format, strings.ReplaceAll(h, secret, "<SECRET>"))
				}
			}
		}
	}
	if got := fmt.Sprint(w.site); got != "signin.Site{"+origin+"}" {
		t.Errorf("got %s", got)
	}
	for _, line := range w.log.Lines(t) {
		text := fmt.Sprint(line)
		for _, h := range hidden {
			if strings.Contains(text, h) {
				t.Errorf("the log contains a secret: %s", text)
			}
		}
	}
}
