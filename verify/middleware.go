package verify

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// Middleware returns a handler that calls next for requests with a valid access
// token. The context of such a request has the token; see [ClaimsFromContext] and
// [TokenFromContext]. Middleware responds to all other requests itself:
//
//   - 401 and a challenge without an error code if the bearer token is missing;
//   - 400 invalid_request if the Authorization header cannot be read, or if there
//     are several;
//   - 401 invalid_token and the reason if the token is rejected;
//   - 503 with Retry-After if the keys of the authority cannot be fetched, so that
//     clients keep their token.
//
// The token is read from the Authorization header only. In a query or a form it
// would end up in logs and browser histories.
//
// Middleware only establishes who is calling. It accepts app-only tokens without any
// role, which Entra issues by default to every app of a tenant. So wrap next in
// [RequireScope], [RequireRole] or another Require function, or check the claims in the
// handler.
//
// Middleware panics if v was not created with [New].
//
// Sources: RFC 6750, sections 2 and 3, and RFC 9110, section 11.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	if err := v.usable(); err != nil {
		panic(err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := bearer(r.Header["Authorization"])
		if err != nil {
			v.writeError(w, r, err)
			return
		}
		t, err := v.Verify(r.Context(), raw)
		if err != nil {
			v.writeError(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), t)))
	})
}

// bearer returns the token in the values of the Authorization header. There must
// be one value of the form "Bearer b64token" (RFC 6750, section 2.1). The scheme
// is case-insensitive (RFC 9110, section 11.1).
func bearer(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", reject(ReasonNoToken)
	case 1:
	default:
		return "", reject(ReasonBadAuthorization)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", reject(ReasonNoToken)
	}
	token = strings.TrimLeft(token, " ")
	if !isToken68(token) {
		return "", reject(ReasonBadAuthorization)
	}
	return token, nil
}

// isToken68 reports whether s is a b64token: letters, digits and -._~+/, followed
// by any number of =.
func isToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-', c == '.', c == '_', c == '~', c == '+', c == '/':
		default:
			return false
		}
	}
	return s != ""
}

// writeError responds to a request whose token was rejected.
func (v *Verifier) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) { // the context of the request is done, so the client has gone
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	v.logger.LogAttrs(r.Context(), slog.LevelDebug, "request rejected", slog.String("reason", string(e.Reason)))
	text := e.public()
	c := newChallenge(v.rules.host)
	switch e.Reason {
	case ReasonNoToken:
		c.write(w, http.StatusUnauthorized, text)
	case ReasonBadAuthorization:
		c.addError("invalid_request", text)
		c.write(w, http.StatusBadRequest, text)
	case ReasonKeysUnavailable:
		w.Header().Set("Retry-After", "1")
		writeText(w, http.StatusServiceUnavailable, text)
	default:
		c.addError("invalid_token", text)
		c.write(w, http.StatusUnauthorized, text)
	}
}

// challenge is the value of a WWW-Authenticate header for the Bearer scheme. It
// has the parameters of RFC 6750, section 3, and those that Microsoft's clients
// read ("Claims challenge header format" in Microsoft's claims-challenge page).
type challenge struct {
	text strings.Builder
}

// newChallenge returns a challenge for the cloud with that host. The realm is
// empty and the address is the one for all tenants, so that the challenge does not
// disclose which tenants the API serves.
func newChallenge(host string) *challenge {
	c := new(challenge)
	c.text.WriteString(`Bearer realm="", authorization_uri="https://` + host + `/common/oauth2/authorize"`)
	return c
}

// add adds a parameter. The value must not need quoting: it is a constant, base64,
// or a text that quotable accepts.
func (c *challenge) add(name, value string) {
	c.text.WriteString(`, ` + name + `="` + value + `"`)
}

func (c *challenge) addError(code, description string) {
	c.add("error", code)
	c.add("error_description", description)
}

// write responds with the challenge and a line of text.
func (c *challenge) write(w http.ResponseWriter, status int, text string) {
	w.Header().Set("WWW-Authenticate", c.text.String())
	writeText(w, status, text)
}

func writeText(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // an error means that the client has gone
}

// claimsRequest returns, in base64, the claims parameter that requests a token
// with an authentication context.
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

// quotable reports whether s can stand in a challenge as it is: printable ASCII
// without quotation marks, backslashes or spaces (RFC 6750, section 3, scope-token).
func quotable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '"' || c == '\\' {
			return false
		}
	}
	return s != ""
}
