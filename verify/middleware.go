package verify

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
)

// Middleware lets a request through to next if it carries a valid access token,
// and answers it otherwise:
//
//   - 401 and a challenge without an error code if it has no bearer token;
//   - 400 invalid_request if it has an Authorization header that cannot be read,
//     or several;
//   - 401 invalid_token and the reason if the token is refused;
//   - 503 if the authority's keys cannot be had, so that clients keep their token.
//
// The token is taken from the Authorization header alone, never from the query
// or a form, where logs and browsers' histories would keep it. Behind Middleware,
// FromContext gives the claims. Who may do what is for the handlers, or for
// RequireScope, RequireRole and their like, to decide: Middleware only says who
// is calling.
//
// Sources: RFC 6750 sections 2 and 3; RFC 9110 section 11.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := bearer(r.Header["Authorization"])
		if err != nil {
			v.deny(w, r, err)
			return
		}
		claims, hash, err := v.accessToken(r.Context(), raw)
		if err != nil {
			v.deny(w, r, err)
			return
		}
		token := &Token{raw: &raw, hash: hash, claims: claims}
		next.ServeHTTP(w, r.WithContext(newContext(r.Context(), &verified{token, v})))
	})
}

// bearer returns the token in the values of the Authorization header: exactly
// one, of the form "Bearer b64token" (RFC 6750 section 2.1). The scheme has no
// case (RFC 9110 section 11.1).
func bearer(values []string) (string, error) {
	switch len(values) {
	case 0:
		return "", refuse(ReasonNoToken)
	case 1:
	default:
		return "", refuse(ReasonBadAuthorization)
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", refuse(ReasonNoToken)
	}
	token = strings.TrimLeft(token, " ")
	if !isToken68(token) {
		return "", refuse(ReasonBadAuthorization)
	}
	return token, nil
}

// isToken68 tells whether s is a b64token: letters, digits and -._~+/ and then
// any number of =.
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

// deny answers a request whose token was refused.
func (v *Verifier) deny(w http.ResponseWriter, r *http.Request, err error) {
	var e *Error
	if !errors.As(err, &e) { // the request's context has ended: nobody is listening
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	v.logger.LogAttrs(r.Context(), slog.LevelDebug, "a request was refused", slog.String("reason", string(e.Reason)))
	c := v.challenge()
	switch e.Reason {
	case ReasonNoToken:
		c.answer(w, http.StatusUnauthorized, e.description())
	case ReasonBadAuthorization:
		c.failure("invalid_request", e.description())
		c.answer(w, http.StatusBadRequest, e.description())
	case ReasonKeysUnavailable:
		w.Header().Set("Retry-After", "1")
		answerText(w, http.StatusServiceUnavailable, e.description())
	default:
		c.failure("invalid_token", e.description())
		c.answer(w, http.StatusUnauthorized, e.description())
	}
}
