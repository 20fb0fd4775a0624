package verify

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
)

// challenge is the value of a WWW-Authenticate header for the Bearer scheme: the
// parameters of RFC 6750 section 3, and those that Microsoft's clients look for
// ("Claims challenge header format" in its claims-challenge page).
type challenge struct {
	text strings.Builder
}

// challenge begins one. The realm is empty and the address is the one for all
// tenants, so that it does not tell strangers which tenants are served here.
func (v *Verifier) challenge() *challenge {
	c := new(challenge)
	c.text.WriteString(`Bearer realm="", authorization_uri="https://` + v.rules.host + `/common/oauth2/authorize"`)
	return c
}

// add adds a parameter. Every value is made of characters that quoted strings
// take as they are: constants, base64, or what quotable has let through.
func (c *challenge) add(name, value string) {
	c.text.WriteString(`, ` + name + `="` + value + `"`)
}

func (c *challenge) failure(code, description string) {
	c.add("error", code)
	c.add("error_description", description)
}

// answer ends a response with the challenge and a line of text.
func (c *challenge) answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("WWW-Authenticate", c.text.String())
	answerText(w, status, text)
}

func answerText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the client may be gone
}

// claimsRequest is the claims parameter that asks for a token with an
// authentication context, in base64.
func claimsRequest(context string) string {
	type value struct {
		Essential bool   `json:"essential"`
		Value     string `json:"value"`
	}
	text, err := json.Marshal(map[string]map[string]value{"access_token": {"acrs": {true, context}}})
	if err != nil {
		panic(err) // strings and booleans always marshal
	}
	return base64.StdEncoding.EncodeToString(text)
}

// quotable tells whether s can stand in a challenge: printable ASCII without
// quotes, backslashes or spaces (RFC 6750 section 3, scope-token).
func quotable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
