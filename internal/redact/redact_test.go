package redact_test

import (
	"encoding/json"
	"encoding/xml"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/testkit"
)

func TestText(t *testing.T) {
	const (
		secret = "p~Q8/x+w=3%7B$k" // has characters that each kind of escaping changes
		jwt    = "eyJhbGciOi.eyJhdWQi.sig"
	)
	spaced := func(s, sep string) string { return s[:4] + sep + s[4:9] + sep + s[9:] }
	for name, test := range map[string]struct {
		text    string
		limit   int
		secrets []string
		want    string
	}{
		"one line":                     {"a\nb\tc\r\n d ", 100, nil, "a b c d"},
		"terminal":                     {"\x1b[31mred\x07", 100, nil, "[31mred"},
		"direction, C1, invalid UTF-8": {"a\u202eb\u009bc\xffd\ufffde", 100, nil, "a b c d e"},
		"at the limit":                 {"abcd", 4, nil, "abcd"},
		"over the limit":               {"abcde", 4, nil, "abcd..."},
		"over the limit in a rune":     {strings.Repeat("ä", 20), 31, nil, strings.Repeat("ä", 15) + "..."},
		"limit zero":                   {"abc", 0, nil, "..."},
		"limit below zero":             {"abc", -1, nil, "..."},
		"JWT":                          {"token " + jwt + " end", 100, nil, "token [redacted] end"},
		"JWT in quotes":                {`"` + jwt + `",x`, 100, nil, `"[redacted]",x`},
		"start of a JWT":               {"x=eyJ!", 100, nil, "x=[redacted]!"},
		"JWT cut after redaction":      {jwt + " abc", 11, nil, "[redacted] ..."},
		"64 characters":                {strings.Repeat("a-_.", 16) + " x", 100, nil, "[redacted] x"},
		"63 characters":                {strings.Repeat("a", 63), 100, nil, strings.Repeat("a", 63)},
		"hexadecimal digest":           {strings.Repeat("0f", 32), 100, nil, "[redacted]"},
		"long host name":               {"lookup " + longHost + ": no such host", 200, nil, "lookup " + longHost + ": no such host"},
		"long host name with a dot":    {longHost + ".", 100, nil, longHost + "."},
		"host name in upper case":      {strings.ToUpper(longHost), 100, nil, "[redacted]"},
		"label of 64 characters":       {strings.Repeat("a", 64) + ".example", 100, nil, "[redacted]"},
		"label without letters":        {longHost + ".42", 100, nil, "[redacted]"},
		"empty label":                  {"a.." + longHost, 100, nil, "[redacted]"},
		"authorization code":           {"1.AXkA" + strings.Repeat("0aZ_", 20) + ".AgABBAIAAADW", 100, nil, "[redacted]"},
		"GUID": {"Trace ID: 0a1b2c3d-4e5f-6789-abcd-ef0123456789", 100, nil,
			"Trace ID: 0a1b2c3d-4e5f-6789-abcd-ef0123456789"},
		"secret":           {"a " + secret + " b", 100, []string{secret}, "a [redacted] b"},
		"secret twice":     {secret + secret + " b " + secret, 100, []string{secret}, "[redacted] b [redacted]"},
		"secret in a form": {"x=" + url.QueryEscape(secret) + "&y", 100, []string{secret}, "x=[redacted]&y"},
		"secret in a path": {"/" + url.PathEscape(secret) + "/y", 100, []string{secret}, "/[redacted]/y"},
		"secret escaped in lower case": {"x=" + strings.ReplaceAll(strings.ToLower(url.QueryEscape("/+abcdefg")), " ", "") +
			"&y", 100, []string{"/+abcdefg"}, "x=[redacted]&y"},
		"secret escaped twice": {"x=" + url.QueryEscape(url.QueryEscape(secret)) + "&y", 100, []string{secret},
			"x=[redacted]&y"},
		"secret escaped 1,000 times": {"x=abcd%" + strings.Repeat("25", 999) + "2Fefgh&y", 100, []string{"abcd/efgh"},
			"x=[redacted]&y"},
		"last digit escaped 1,000 times": {"x=abcd" + strings.Repeat("%3", 1000) + "5efgh&y", 100, []string{"abcd5efgh"},
			"x=[redacted]&y"},
		"secret all escaped":         {"x=%61%62%63%64%65%66%67%68&y", 100, []string{"abcdefgh"}, "x=[redacted]&y"},
		"secret escaped at start":    {"%61bcdefgh&y", 100, []string{"abcdefgh"}, "[redacted]&y"},
		"secret with escaped line":   {"x=correct%0Ahorse&y", 100, []string{"correct\nhorse"}, "x=[redacted]&y"},
		"secret with escaped letter": {"x=%C3%80bcdefg&y", 100, []string{"Àbcdefg"}, "x=[redacted]&y"}, // C3 80 in UTF-8
		"secret in JSON":             {`{"s":"ab\"cd\/ef\\gh"}`, 100, []string{`ab"cd/ef\gh`}, `{"s":"[redacted]"}`},
		"secret in JSON of Go": {`{"s":"ab\u0026cd\u003cef\u00c4\u+0041"}`, 100, []string{`ab&cd<efÄ`},
			`{"s":"[redacted]\u+0041"}`},
		"half a character in JSON": {`ab\ud83dcdefgh`, 100, []string{`abud83dcdefgh`}, "[redacted]"},
		"no escape of JSON":        {`u0026 abcdefg u0026`, 100, []string{`&abcdefg&`}, `u0026 abcdefg u0026`},
		"secret in HTML": {`<b>ab&amp;cd&#34;ef&#x000027;gh&lt;</b>`, 100, []string{`ab&cd"ef'gh<`},
			"<b>[redacted]</b>"},
		"secret twice in HTML": {`ab&amp;amp;cd&ampef;gh`, 100, []string{`ab&cd&ef;gh`}, "[redacted]"},
		"no reference of HTML": {`a & b;cdefghij`, 100, []string{`a&b;cdefghij`}, "[redacted]"},
		"long reference of HTML": {`ab&#x` + strings.Repeat("0", 50) + `26;cd`, 100, []string{`ab&cdefg`},
			`ab&#x` + strings.Repeat("0", 50) + `26;cd`},
		"name in HTML":               {`pass&VerticalLine;word`, 100, []string{`pass|word`}, "[redacted]"},
		"HTML, then percent":         {`pass&lt%3Bword&gt%3Bphrase`, 100, []string{`pass<word>phrase`}, "[redacted]"},
		"percent, then HTML":         {`pass&#37;3Cword`, 100, []string{`pass<word`}, "[redacted]"},
		"JSON, then percent":         {`pass%5Cu003cword%5Cu003ephrase`, 100, []string{`pass<word>phrase`}, "[redacted]"},
		"JavaScript":                 {`pass\x3cword\x3ephrase`, 100, []string{`pass<word>phrase`}, "[redacted]"},
		"secret split by spaces":     {"a " + spaced(secret, " ") + " b", 100, []string{secret}, "a [redacted] b"},
		"secret split by lines":      {"a " + spaced(secret, "\r\n\t") + " b", 100, []string{secret}, "a [redacted] b"},
		"secret split by zero width": {"a " + spaced(secret, "\u200b") + " b", 100, []string{secret}, "a [redacted] b"},
		"escaped secret split": {"a " + spaced(url.QueryEscape(secret), "\n") + " b", 100, []string{secret},
			"a [redacted] b"},
		"secret with spaces":          {"a correct horse b", 100, []string{"correct horse"}, "a [redacted] b"},
		"secret with spaces, in form": {"x=correct+horse&y", 100, []string{"correct horse"}, "x=[redacted]&y"},
		"secret with a line feed":     {"a correct\nhorse b", 100, []string{"correct\nhorse"}, "a [redacted] b"},
		"secret that folds to little": {"a %41%41%41 b", 100, []string{"%41%41%41"}, "a [redacted] b"},
		"short secret":                {"a seven77 b", 100, []string{"seven77"}, "a seven77 b"},
		"short folded secret":         {"a b c d e f", 100, []string{"a     b"}, "a b c d e f"},
		"no secret":                   {"a b", 100, []string{""}, "a b"},
		"prefix given first":          {"a abcdefghijkl b", 100, []string{"abcdefgh", "abcdefghijkl"}, "a [redacted] b"},
		"overlap":                     {"abcdefghijkl", 100, []string{"abcdefgh", "efghijkl"}, "[redacted]"},
		"cut after redaction":         {strings.Repeat("x", 8) + secret, 10, []string{secret}, "xxxxxxxx[r..."},
		"percent alone":               {"100% of 5%2 %zz", 100, []string{secret}, "100% of 5%2 %zz"},
		"secret after a percent sign": {"%4" + "1bcdefgh9", 100, []string{"1bcdefgh9"}, "%4[redacted]"},
		"umlauts around a split":      {"ää 12345 67890 öö", 100, []string{"1234567890"}, "ää [redacted] öö"},
	} {
		if got := redact.Text(test.text, test.limit, test.secrets...); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

func TestJSON(t *testing.T) {
	nonce := `{"access_token":{"xms_ds_nonce":{"value":"` + strings.Repeat("AwAB_-", 20) + `"}}}`
	for name, test := range map[string]struct {
		text string
		want string
	}{
		"claims challenge":     {nonce, nonce},
		"white space":          {"{ \"a\" :\n\t[ 1, \"b c\" ] }\n", `{"a":[1,"b c"]}`},
		"not JSON":             {`{"a"`, ""},
		"empty":                {"", ""},
		"at the limit":         {`"` + strings.Repeat("a", 198) + `"`, `"` + strings.Repeat("a", 198) + `"`},
		"over the limit":       {`"` + strings.Repeat("a", 199) + `"`, ""},
		"secret":               {`{"a":"s3cret-value"}`, ""},
		"escaped secret":       {`{"a":"s3cret%2Dvalue"}`, ""},
		"JWT":                  {`{"a":"eyJhbGciOi.e30."}`, ""},
		"direction of writing": {"{\"a\":\"\u202e\"}", ""},
	} {
		if got := redact.JSON(test.text, 200, "s3cret-value"); got != test.want {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
		form := url.Values{"client_secret": {"s3cret-value"}}
		if got := redact.Form(form).JSON(test.text, 200); got != test.want {
			t.Errorf("%s: the Redactor returns %q, want %q", name, got, test.want)
		}
	}
}

func TestRedactor(t *testing.T) {
	form := url.Values{"scope": {"api://not-secret"}, "client_id": {"not-a-secret"}}
	var all []string
	for _, p := range []string{
		"client_secret", "client_assertion", "assertion", "code", "code_verifier", "refresh_token", "password",
		"user_federated_identity_credential",
	} {
		form[p] = []string{"first-" + p, "second " + p}
		all = append(all, url.QueryEscape("first-"+p), "second\n"+p)
	}
	r := redact.Form(form)
	got := r.Text(strings.Join(all, ",")+",api://not-secret,not-a-secret,eyJ", 1000)
	if want := strings.Repeat("[redacted],", len(all)) + "api://not-secret,not-a-secret,[redacted]"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (redact.Redactor{}).Text("a\n"+"first-code eyJabc", 100), "a first-code [redacted]"; got != want {
		t.Errorf("zero Redactor: got %q, want %q", got, want)
	}
	for _, v := range []any{r, &r, struct{ r redact.Redactor }{r}, []any{r}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if got := fmt.Sprintf(verb, v); strings.Contains(got, "first") || strings.Contains(got, "6669727374") {
				t.Errorf("%s of %T prints %s", verb, v, got)
			}
		}
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	type holder struct {
		Exported   redact.Secret[string]
		unexported redact.Secret[string]
		pointer    *redact.Secret[string]
	}
	s := redact.NewSecret("s3cret")
	if got := fmt.Sprintf("%p", s); strings.Contains(got, "s3cret") {
		t.Errorf("%%p prints %s", got)
	}
	if got := s.Value(); got != "s3cret" {
		t.Errorf("Value: got %q", got)
	}
	if got := (redact.Secret[[]byte]{}).Value(); got != nil {
		t.Errorf("Value of the zero Secret: got %q, want nil", got)
	}
	for _, v := range []any{
		s, &s, holder{s, s, &s}, &holder{s, s, &s}, []any{s}, map[string]any{"k": s}, redact.NewSecret([]byte("s3cret")),
	} {
		var texts []string
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%U"} {
			texts = append(texts, fmt.Sprintf(verb, v))
		}
		j, err := json.Marshal(v)
		if err != nil {
			t.Errorf("json.Marshal of %T: %v", v, err)
		}
		x, _ := xml.Marshal(v) // does not support maps
		var log strings.Builder
		slog.New(slog.NewTextHandler(&log, nil)).Info("m", "v", v)
		slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "v", v)
		for _, text := range append(texts, string(j), string(x), log.String()) {
			if strings.Contains(text, "s3cret") || strings.Contains(strings.ToLower(text), "733363726574") ||
				strings.Contains(text, "115 51 99") {
				t.Errorf("%T is printed as %s", v, text)
			}
		}
	}
	for got, want := range map[string]string{
		fmt.Sprint(s): "[redacted]", fmt.Sprintf("%#v", s): "[redacted]", fmt.Sprintf("%x", &s): "[redacted]",
		s.LogValue().String(): "[redacted]",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if j, err := json.Marshal(map[string]any{"a": s}); err != nil || string(j) != `{"a":"[redacted]"}` {
		t.Errorf("json.Marshal: got %s, %v", j, err)
	}
}

// longHost is a host name that is as long as a token.
const longHost = "orders-production-westeurope-0123456789.privatelink.internal.contoso.example"

func FuzzText(f *testing.F) {
	f.Add("a\x1b[31m\u202e", "12345678", 10)
	f.Add("eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOi", 100)
	f.Add("x=%2561bcdefgh&y", "abcdefgh", 100)
	f.Add("a bcd\ne%66gh", "abcdefgh", 100)
	f.Fuzz(func(t *testing.T, s, secret string, limit int) {
		limit = max(0, min(limit, 1000))
		cost := testkit.Cost{Fixed: 64 << 10, PerByte: 100}
		testkit.CostsAtMost(t, "Text", cost, s+secret, func(s string) { redact.Text(s, limit, secret) })
		for _, text := range []string{s, s + secret, secret + s, s + "\n" + url.QueryEscape(secret) + "&" + s} {
			got := redact.Text(text, limit, secret)
			if len(got) > limit+len("...") || !utf8.ValidString(got) ||
				strings.ContainsFunc(got, func(c rune) bool { return !unicode.IsPrint(c) }) {
				t.Errorf("%q becomes %q", text, got)
			}
			// What was left out between two pieces, and the mark itself, may form a secret of punctuation.
			if len(secret) >= 8 && isWord(secret) && !strings.Contains("[redacted]", secret) && strings.Contains(got, secret) {
				t.Errorf("%q still contains %q: %q", text, secret, got)
			}
		}
	})
}

func isWord(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9')
	})
}
