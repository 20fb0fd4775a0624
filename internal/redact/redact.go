// Package redact decides which part of a foreign text may appear in an error, log or page, and hides values that
// must not appear there at all.
package redact

import (
	"bytes"
	"encoding/json"
	"html"
	"net/url"
	"regexp"
	"strconv"
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

// fold returns s without separators, percent-encoding, escapes of JSON and references of HTML, also where one of these
// encodings was applied to another. The plus sign, which stands for a space in a form, and the backslash, which escapes
// in JSON, are left out too. The result is therefore the same for the usual encodings of a text. It may differ only
// behind a percent sign with one hexadecimal digit. The spans give the origin of each byte of the result.
func fold(s string) (string, []span) {
	f := folded{text: make([]byte, 0, len(s)), spans: make([]span, 0, len(s))}
	for i, c := range s {
		if c == '\\' || !dropped(c) {
			for j := i; j < i+utf8.RuneLen(c); j++ {
				f.add(s[j], span{j, j + 1})
			}
		}
	}
	n := 0
	for i, c := range f.text {
		if c != '\\' {
			f.text[n], f.spans[n] = c, f.spans[i]
			n++
		}
	}
	return string(f.text[:n]), f.spans[:n]
}

// dropped reports whether fold leaves c out.
func dropped(c rune) bool { return separates(c) || c == '+' || c == '\\' }

// folded is the result of fold so far. The backslashes are still in it.
type folded struct {
	text    []byte
	spans   []span    // for each byte of text
	decoded []decoded // a stack of texts to add
}

// decoded is the rest of a decoded escape, which is not empty, and the origin of the escape.
type decoded struct {
	text string
	from span
}

// add appends a byte, and decodes the escapes that end with it. The text of a decoded escape may complete another one,
// as often as the text is long. So add does not recurse.
func (f *folded) add(c byte, from span) {
	f.append(c, from)
	for n := len(f.decoded) - 1; n >= 0; n = len(f.decoded) - 1 {
		c, d := f.decoded[n].text[0], f.decoded[n]
		if d.text = d.text[1:]; d.text == "" {
			f.decoded = f.decoded[:n]
		} else {
			f.decoded[n] = d
		}
		if c >= utf8.RuneSelf || c == '\\' || !dropped(rune(c)) {
			f.append(c, d.from)
		}
	}
}

// append appends a byte, and replaces the escape that ends with it, if there is one.
func (f *folded) append(c byte, from span) {
	f.text, f.spans = append(f.text, c), append(f.spans, from)
	switch {
	case c == ';':
		f.dereference()
	case f.unescape("%", 3, url.PathUnescape):
	case f.unescape(`\u`, 6, unquote):
	default:
		f.unescape(`\x`, 4, unquote)
	}
}

// maxReference bounds the length of the HTML references that are decoded. The longest name has 33 bytes.
const maxReference = 40

// dereference decodes an HTML reference at the end of the text, if there is one.
func (f *folded) dereference() {
	m := max(0, len(f.text)-maxReference)
	n := bytes.LastIndexByte(f.text[m:], '&')
	if n < 0 {
		return
	}
	reference := string(f.text[m+n:])
	if text := html.UnescapeString(reference); text != reference {
		f.replace(m+n, text)
	}
}

// unescape decodes an escape of that prefix and length at the end of the text, and reports whether there is one.
func (f *folded) unescape(prefix string, length int, decode func(string) (string, error)) bool {
	n := len(f.text) - length
	if n < 0 || !bytes.HasPrefix(f.text[n:], []byte(prefix)) {
		return false
	}
	text, err := decode(string(f.text[n:]))
	if err == nil {
		f.replace(n, text)
	}
	return err == nil
}

// replace replaces the text from n by its decoded form, which may be a part of another escape.
func (f *folded) replace(n int, text string) {
	whole := span{f.spans[n].from, f.spans[len(f.spans)-1].to}
	f.text, f.spans = f.text[:n], f.spans[:n]
	if text != "" {
		f.decoded = append(f.decoded, decoded{text, whole})
	}
}

// unquote decodes an escape of JavaScript, whose escapes with u are those of JSON.
func unquote(s string) (string, error) { return strconv.Unquote(`"` + s + `"`) }

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
