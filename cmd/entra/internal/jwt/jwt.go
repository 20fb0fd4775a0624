// Package jwt decodes tokens for display. It verifies nothing, so its results must not be
// used to make decisions.
package jwt

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"time"
)

// maxSize bounds the size of a token.
const maxSize = 64 << 10

// Decode returns the header and the claims of a signed JWT (RFC 7519). Numbers are
// [json.Number].
func Decode(raw string) (header, claims map[string]any, err error) {
	parts := strings.SplitN(raw, ".", 6)
	switch {
	case len(raw) > maxSize:
		return nil, nil, errors.New("too long for a token")
	case len(parts) == 5:
		return nil, nil, errors.New("encrypted (JWE), only its resource can read it")
	case len(parts) != 3:
		return nil, nil, errors.New("not a JWT")
	}
	if header, err = object(parts[0]); err == nil {
		claims, err = object(parts[1])
	}
	if err != nil {
		return nil, nil, errors.New("not a JWT: its parts are not JSON")
	}
	return header, claims, nil
}

func object(part string) (map[string]any, error) {
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var o map[string]any
	if err := d.Decode(&o); err != nil {
		return nil, err
	}
	if o == nil || d.More() {
		return nil, errors.New("not an object")
	}
	return o, nil
}

// Text returns a claim that is a string, or "".
func Text(claims map[string]any, name string) string {
	s, _ := claims[name].(string)
	return s
}

// Strings returns a claim that is a string or a list of strings.
func Strings(claims map[string]any, name string) (list []string) {
	switch v := claims[name].(type) {
	case string:
		return []string{v}
	case []any:
		for _, e := range v {
			if s, ok := e.(string); ok {
				list = append(list, s)
			}
		}
	}
	return list
}

// Time returns a claim that is a NumericDate (RFC 7519, section 2), or the zero time.
func Time(claims map[string]any, name string) time.Time {
	n, ok := claims[name].(json.Number)
	if !ok {
		return time.Time{}
	}
	seconds, err := n.Float64()
	if err != nil || seconds <= 0 || seconds > 1<<38 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
