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
// [TokenFromContext]. Middleware responds to all other requests itself, or with
// Config.ErrorHandler:
//
//   - 401 and a challenge without an error code if the bearer token is missing;
//   - 400 invalid_request if the Authorization header cannot be read, or if there
//     are several;
//   - 401 invalid_token and the reason if the token is rejected;
//   - 403 insufficient_scope if the token has neither scopes nor roles;
//   - 503 with Retry-After if the keys of the authority cannot be fetched, so that
//     clients keep their token.
//
// The token is read from the Authorization header only. In a query or a form it
// would end up in logs and browser histories. A CORS preflight request has no token, so
// a CORS handler must be outside of Middleware.
//
// Middleware only establishes who is calling. It accepts every user's token with any
// scope and every app-only token with any role. So wrap next in [RequireScope],
// [RequireRole] or another Require function, or check the claims in the handler.
//
// Middleware panics if v was not created with [New].
//
// Sources: RFC 6750, sections 2 and 3, and RFC 9110, section 11.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	if err := v.usable(); err != nil {
		panic(err.Error())
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := BearerToken(r.Header["Authorization"])
		if err != nil {
			e, _ := errors.AsType[*Error](err)
			v.notify(Event{Kind: EventRejected, Reason: e.Reason})
			v.reject(w, r, err)
			return
		}
		t, m, err := v.verify(r.Context(), raw)
		if err != nil {
			m.reject(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(NewContext(r.Context(), t)))
	})
}

// BearerToken returns the token in the values of an Authorization header, or of the
// authorization metadata of a gRPC call. There must be one value of the form "Bearer
// TOKEN". The error is an [*Error] with [ReasonNoToken] or [ReasonBadAuthorization].
//
// Sources: RFC 6750, section 2.1. The scheme is case-insensitive (RFC 9110, section
// 11.1).
func BearerToken(authorization []string) (string, error) {
	switch len(authorization) {
	case 0:
		return "", reject(ReasonNoToken)
	case 1:
	default:
		return "", reject(ReasonBadAuthorization)
	}
	scheme, token, _ := strings.Cut(authorization[0], " ")
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

// reject responds to a request that an error of Verify or of a rule rejects.
func (v *Verifier) reject(w http.ResponseWriter, r *http.Request, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok || e == nil { // the context of the request is done, so the client has gone
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	v.logger.LogAttrs(r.Context(), slog.LevelDebug, "verify: request rejected", e.LogValue().Group()...)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if e.HTTPStatus() == http.StatusServiceUnavailable {
		h.Set("Retry-After", "1")
	}
	if c := newChallenge(v.rules.host, e); c != "" {
		h.Set("WWW-Authenticate", c)
	}
	v.errorHandler(w, r, e)
}

// writeError is the default of Config.ErrorHandler.
func writeError(w http.ResponseWriter, _ *http.Request, e *Error) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(e.HTTPStatus())
	_, _ = io.WriteString(w, e.Message()+"\n") // an error means that the client has gone
}

// newChallenge returns the WWW-Authenticate header for e, or "" if a challenge does not
// help the caller. host is the host of the cloud. The parameters are those of RFC 6750,
// section 3, and those that Microsoft's clients read ("Claims challenge header format" in
// Microsoft's claims-challenge page).
//
// The realm is empty and the address is the one for all tenants, so that the challenge
// does not disclose which tenants the API serves. No value needs quoting: it is a
// constant, base64, or a text that quotable accepts.
func newChallenge(host string, e *Error) string {
	code := "invalid_token"
	switch e.Reason {
	case ReasonNoToken:
		code = ""
	case ReasonBadAuthorization:
		code = "invalid_request"
	case ReasonMissingScope, ReasonMissingRole, ReasonMissingUserRole, ReasonNoPermissions:
		code = "insufficient_scope"
	case ReasonMissingAuthContext:
		code = "insufficient_claims"
	case ReasonKeysUnavailable, ReasonGroupsUnavailable, ReasonMissingGroup, ReasonGroupsOverage, ReasonOtherTenant,
		ReasonOtherClient, ReasonDenied, ReasonNotVerified:
		return ""
	}
	c := `Bearer realm="", authorization_uri="https://` + host + `/common/oauth2/authorize"`
	if code != "" {
		c += `, error="` + code + `", error_description="` + e.Message() + `"`
	}
	switch e.Reason {
	case ReasonMissingScope:
		c += `, scope="` + e.required() + `"`
	case ReasonMissingAuthContext:
		c += `, claims="` + claimsRequest(e.Required) + `"`
	}
	return c
}

// claimsRequest returns, in base64, the claims parameter that requests a token
// with an authentication context, which is the only value of contexts.
func claimsRequest(contexts []string) string {
	type value struct {
		Essential bool   `json:"essential"`
		Value     string `json:"value"`
	}
	text, err := json.Marshal(map[string]map[string]value{
		"access_token": {"acrs": {true, strings.Join(contexts, "")}},
	})
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
