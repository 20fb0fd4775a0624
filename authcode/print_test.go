package authcode_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/entratest"
)

// secrets returns the values of a login that no output may contain.
func secrets(t testing.TB, l *authcode.Login, params url.Values) []string {
	s := unmarshal(t, l)
	all := []string{s.State, s.Nonce, s.Verifier, "webapp-secret"}
	if code := params.Get("code"); code != "" {
		all = append(all, code)
	}
	return all
}

func expectNone(t testing.TB, where, text string, secrets []string) {
	t.Helper()
	for _, s := range secrets {
		if s != "" && strings.Contains(text, s) {
			t.Errorf("%s contains a secret: %s", where, strings.ReplaceAll(text, s, "<SECRET>"))
		}
	}
	if strings.Contains(text, "eyJ") {
		t.Errorf("%s contains a token", where)
	}
}

// forms returns the texts that fmt and slog make of v.
func forms(v any) map[string]string {
	out := map[string]string{}
	for _, f := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		out[f] = fmt.Sprintf(f, v)
	}
	var text, structured bytes.Buffer
	slog.New(slog.NewTextHandler(&text, nil)).Info("x", "v", v)
	slog.New(slog.NewJSONHandler(&structured, nil)).Info("x", "v", v)
	out["slog text"], out["slog JSON"] = text.String(), structured.String()
	return out
}

func TestPrintedFormsContainNoSecrets(t *testing.T) {
	e := newEstate()
	f := e.flow(t)
	login := begin(t, f, authcode.Request{LoginHint: alice})
	params := e.callback(t, login, alice)
	hidden := secrets(t, login, params)
	type holder struct {
		pointer *authcode.Login
		value   authcode.Login
	}
	for name, v := range map[string]any{
		"Login": login, "*Login": *login, "unexported fields": holder{login, *login}, "in a slice": []any{login,
			*login}, "zero": authcode.Login{}, "Flow": f,
	} {
		for format, text := range forms(v) {
			if name == "in a slice" && format == "slog JSON" {
				continue // this is the Login's JSON, which contains the secrets
			}
			expectNone(t, name+" "+format, text, hidden)
		}
	}
	want := "authcode.Login{until " + login.Expires().Format("2006-01-02T15:04:05Z") + "}"
	if got := fmt.Sprint(login); got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	signIn, err := f.Exchange(t.Context(), login, params)
	if err != nil {
		t.Fatal(err)
	}
	hidden = append(hidden, token(t, signIn.Source))
	for name, v := range map[string]any{"*SignIn": signIn, "SignIn": *signIn, "Claims": *signIn.Claims} {
		for format, text := range forms(v) {
			expectNone(t, name+" "+format, text, append(hidden, alice, "Alice"))
		}
	}
	want = "authcode.SignIn{tid=" + entratest.SampleTenant + " oid=" + signIn.Account.ObjectID + "}"
	if got := fmt.Sprint(signIn); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	whole, err := json.Marshal(signIn)
	if err != nil {
		t.Fatal(err)
	}
	expectNone(t, "the sign-in's JSON", string(whole), hidden)
	b, err := json.Marshal(signIn.Account)
	if err != nil {
		t.Fatal(err)
	}
	expectNone(t, "the account's JSON", string(b), hidden)
	var again authcode.Account
	if err := json.Unmarshal(b, &again); err != nil || again != signIn.Account {
		t.Errorf("got %v, %v from the account's JSON, want %v", again, err, signIn.Account)
	}
}

// No error contains a secret of the browser's request or of the token request.
func TestErrorsContainNoSecrets(t *testing.T) {
	for name, tamper := range map[string]func(*estate, *authcode.Login, url.Values){
		"state":   func(_ *estate, l *authcode.Login, q url.Values) { q.Set("state", l.State()+"x") },
		"twice":   func(_ *estate, _ *authcode.Login, q url.Values) { q.Add("code", q.Get("code")) },
		"no code": func(_ *estate, _ *authcode.Login, q url.Values) { q.Del("code") },
		"echo": func(_ *estate, l *authcode.Login, q url.Values) {
			q.Set("error", l.State())
			q.Set("error_description", q.Get("code")+" "+l.URL())
			q.Set("error_subcode", q.Get("code"))
			q.Set("claims", `{"a":"`+q.Get("code")+`"}`)
		},
		"Entra echoes": func(e *estate, l *authcode.Login, q url.Values) {
			e.Inject(entratest.Fault{Endpoint: "token", Status: 400,
				Body: `{"error":"invalid_grant","error_description":"` + q.Get("code") + ` webapp-secret"}`})
		},
		"ID token": func(e *estate, _ *authcode.Login, _ url.Values) {
			e.ChangeResponses(func(_ url.Values, a map[string]any) { a["id_token"] = a["access_token"] })
		},
		"malformed": func(e *estate, _ *authcode.Login, _ url.Values) {
			e.ChangeResponses(func(_ url.Values, a map[string]any) { a["client_info"] = "?" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate()
			f := e.flow(t)
			login := begin(t, f, authcode.Request{})
			params := e.callback(t, login, alice)
			hidden := secrets(t, login, params)
			tamper(e, login, params)
			_, err := f.Exchange(t.Context(), login, params)
			if err == nil {
				t.Fatal("no error")
			}
			for format, text := range forms(err) {
				expectNone(t, format, text, hidden)
			}
			b, err := json.Marshal(err)
			if err != nil {
				t.Fatal(err)
			}
			expectNone(t, "JSON", string(b), hidden)
		})
	}
}
