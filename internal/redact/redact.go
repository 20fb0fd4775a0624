// Package redact decides which part of a foreign text may appear in an error, log or page, and hides values that
// must not appear there at all.
package redact

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	mark = "[redacted]"
	// minSecret is the length of the shortest secret that is searched for, in bytes. A shorter one may be an
	// ordinary word of the text.
	minSecret = 8
)

// tokenLike matches the start of every JWT and JWE, which is base64url of `{"`, and runs as long as an
// authorization code or a refresh token.
var tokenLike = regexp.MustCompile(`eyJ[\w\-.=]*|[\w\-.=]{64,}`)

// Text returns s in one line of at most limit bytes, followed by "..." if it is cut short. The line does not contain
// control characters, characters that change the direction of writing, or invalid UTF-8. The given secrets and
// everything that looks like a token are replaced by "[redacted]". A host name may be as long as a token and is kept.
//
// A secret is also found if it is escaped for a URL, JSON or HTML, or split by white space or control characters.
// Secrets of fewer than eight bytes are ignored.
func Text(s string, limit int, secrets ...string) string {
	s = strings.Join(strings.FieldsFunc(cut(s, secrets), separates), " ")
	s = tokenLike.ReplaceAllStringFunc(s, func(run string) string {
		if isHostName(run) {
			return run
		}
		return mark
	})
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:max(0, limit)], "") + "..."
	}
	return s
}

// isHostName reports whether s is the name of a host in lower case with a domain (RFC 1123, section 2.1). Tokens have
// upper-case letters, or no dots.
func isHostName(s string) bool {
	labels := strings.Split(strings.TrimSuffix(s, "."), ".")
	for _, l := range labels {
		if len(l) == 0 || len(l) > 63 || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return len(s) <= 254 && len(labels) > 1 && strings.Trim(labels[len(labels)-1], "abcdefghijklmnopqrstuvwxyz") == ""
}

// JSON returns s without insignificant white space, or "" if that is not JSON of at most limit bytes. It also returns
// "" if s contains a secret, a JWT or a character that is not printed, since JSON without them would mean something
// else. Other long words are kept, such as the nonce in a claims challenge.
func JSON(s string, limit int, secrets ...string) string {
	var b bytes.Buffer
	if json.Compact(&b, []byte(s)) != nil || b.Len() > limit || strings.Contains(s, "eyJ") || cut(s, secrets) != s {
		return ""
	}
	if strings.ContainsFunc(b.String(), func(c rune) bool { return c != ' ' && separates(c) }) {
		return ""
	}
	return b.String()
}

// separates reports whether c ends a word: white space, or a character that is not printed.
func separates(c rune) bool {
	return unicode.IsSpace(c) || !unicode.IsPrint(c) || c == utf8.RuneError
}

// cut replaces the secrets in s.
func cut(s string, secrets []string) string {
	secret := make([]bool, len(s)) // reports for each byte whether it belongs to a secret
	found := false
	add := func(from, to int) {
		found = true
		for i := from; i < to; i++ {
			secret[i] = true
		}
	}
	var folded []span
	var text string
	for _, v := range secrets {
		if len(v) < minSecret {
			continue
		}
		for i := range matches(s, v) {
			add(i, i+len(v))
		}
		if folded == nil {
			text, folded = fold(s)
		}
		if v, _ = fold(v); len(v) >= minSecret {
			for i := range matches(text, v) {
				add(folded[i].from, folded[i+len(v)-1].to)
			}
		}
	}
	if !found {
		return s
	}
	var b strings.Builder
	for i := range len(s) {
		switch {
		case !secret[i]:
			b.WriteByte(s[i])
		case i == 0 || !secret[i-1]:
			b.WriteString(mark)
		}
	}
	return b.String()
}

// matches yields the offsets of v in s, without overlaps.
func matches(s, v string) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for from := 0; ; {
			i := strings.Index(s[from:], v)
			if i < 0 || !yield(from+i) {
				return
			}
			from += i + len(v)
		}
	}
}

// A span is a range of bytes of the original text.
type span struct{ from, to int }

// fold returns s without separators and with percent-encoding, escapes of JSON and references of HTML removed.
// Percent-encoding is removed as often as it was applied. The plus sign, which stands for a space in a form, and the
// backslash, which escapes in JSON, are left out too. The result is therefore the same for all encodings of a text.
// The spans give the origin of each byte of the result.
func fold(s string) (string, []span) {
	f := folded{make([]byte, 0, len(s)), make([]span, 0, len(s))}
	for i, c := range s {
		if dropped(c) {
			continue
		}
		for j := i; j < i+utf8.RuneLen(c); j++ {
			f.text, f.spans = append(f.text, s[j]), append(f.spans, span{j, j + 1})
		}
		if m := max(0, len(f.text)-maxReference); c == ';' {
			if n := bytes.LastIndexByte(f.text[m:], '&'); n >= 0 {
				f.decode(m+n, html.UnescapeString)
			}
		} else if n := len(f.text) - 5; n >= 0 && f.text[n] == 'u' && i >= 5 && s[i-5] == '\\' {
			f.decode(n, unescapeJSON)
		}
		for n := len(f.text) - 3; n >= 0 && f.text[n] == '%' && f.decode(n, unescapePercent); n = len(f.text) - 3 {
		}
	}
	return string(f.text), f.spans
}

// maxReference bounds the length of the HTML references that are decoded, such as "&quot;" or "&#x000026;".
const maxReference = 12

// dropped reports whether fold leaves c out.
func dropped(c rune) bool { return separates(c) || c == '+' || c == '\\' }

type folded struct {
	text  []byte
	spans []span // for each byte of text
}

// decode replaces the text from n by its decoded form, and reports whether there is a different one.
func (f *folded) decode(n int, form func(string) string) bool {
	whole := span{f.spans[n].from, f.spans[len(f.spans)-1].to}
	old := string(f.text[n:])
	decoded := form(old)
	if decoded == old {
		return false
	}
	f.text, f.spans = f.text[:n], f.spans[:n]
	for i := range len(decoded) {
		if c := decoded[i]; c >= utf8.RuneSelf || !dropped(rune(c)) {
			f.text, f.spans = append(f.text, c), append(f.spans, whole)
		}
	}
	return true
}

// unescapeJSON decodes "u0026", from which fold has left out the backslash. Half of a surrogate pair is not decoded.
func unescapeJSON(s string) string {
	var decoded string
	if json.Unmarshal([]byte(`"\`+s+`"`), &decoded) != nil || decoded == string(utf8.RuneError) {
		return s
	}
	return decoded
}

// unescapePercent decodes "%26". It returns any other text unchanged.
func unescapePercent(s string) string {
	decoded, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return decoded
}

// secretParameters are the parameters of a token request that must not be repeated (RFC 6749, RFC 7521, RFC 7636,
// and Entra's on-behalf-of flow).
var secretParameters = []string{
	"client_secret", "client_assertion", "assertion", "code", "code_verifier", "refresh_token", "password",
	"user_federated_identity_credential",
}

// A Redactor replaces the secrets of one token request in texts. The zero Redactor only replaces what looks like a
// token.
type Redactor struct{ form Secret[url.Values] }

// Form returns a Redactor for the body of a token request. Form does not copy it.
func Form(form url.Values) Redactor { return Redactor{NewSecret(form)} }

// Text is like the function [Text], for the secrets of the request.
func (r Redactor) Text(s string, limit int) string { return Text(s, limit, r.secrets()...) }

// JSON is like the function [JSON], for the secrets of the request.
func (r Redactor) JSON(s string, limit int) string { return JSON(s, limit, r.secrets()...) }

func (r Redactor) secrets() (secrets []string) {
	for _, p := range secretParameters {
		secrets = append(secrets, r.form.Value()[p]...)
	}
	return secrets
}
