package entratest

import (
	"encoding/json"
	"time"
)

// A server does not store codes, refresh tokens, cookies and forms. Each contains its own
// data, encrypted, so that the memory of the server does not grow with the tokens
// that it has issued.

// seal returns v as encrypted text for the given purpose.
func (s *Server) seal(purpose string, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic("entratest: seal: " + err.Error())
	}
	return b64.EncodeToString(s.aead.Seal(nil, nil, data, []byte(purpose)))
}

// unseal decrypts text into v. It reports false if seal did not write text for
// the same purpose.
func (s *Server) unseal(purpose, text string, v any) bool {
	raw, err := decodeB64(text)
	if err != nil || len(raw) < s.aead.Overhead() {
		return false
	}
	data, err := s.aead.Open(nil, nil, raw, []byte(purpose))
	return err == nil && json.Unmarshal(data, v) == nil
}

// An authentication says how and when a user signed in.
type authentication struct {
	User  string    `json:"u"` // lower-case username
	Epoch int       `json:"e"` // Server.sessionEpochs at the time
	At    time.Time `json:"t"`
	MFA   bool      `json:"m,omitempty"` // passed multifactor authentication
	ACRs  []string  `json:"c,omitempty"` // satisfied authentication contexts
	SID   string    `json:"s"`           // session ID
}

// methods returns the amr claim.
func (a *authentication) methods() []string {
	if a.MFA {
		return []string{"pwd", "mfa"}
	}
	return []string{"pwd"}
}

// A code is the data of an authorization code.
type code struct {
	Number    uint64         `json:"i"`
	Auth      authentication `json:"a"`
	Tenant    string         `json:"n"`
	Client    string         `json:"c"`
	Scope     string         `json:"s"`
	Redirect  string         `json:"r"`
	Challenge string         `json:"h,omitempty"`
	Method    string         `json:"m,omitempty"`
	Nonce     string         `json:"o,omitempty"`
	AuthTime  bool           `json:"u,omitempty"` // the ID token must have auth_time
	Platform  platform       `json:"p,omitempty"` // of Redirect
	Issued    time.Time      `json:"t"`
}

// A refreshToken is the data of a refresh token.
type refreshToken struct {
	ID     string         `json:"i"`
	Auth   authentication `json:"a"`
	Tenant string         `json:"n"`
	Client string         `json:"c"`
	Scope  string         `json:"s"` // of the grant; used if a request omits scope
	Signed string         `json:"o"` // scope of the sign-in
	Issued time.Time      `json:"t"`

	AuthTime bool      `json:"u,omitempty"` // ID tokens must have auth_time
	Platform platform  `json:"p,omitempty"` // of the first grant
	Until    time.Time `json:"x,omitzero"`  // expiry, for a single-page app
}

const (
	// codeLifetime is documented as "about 10 minutes"
	// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#successful-response).
	codeLifetime = 10 * time.Minute
	// refreshTokenLifetime is the maximum time that a refresh token may stay unused
	// (https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime).
	refreshTokenLifetime = 90 * 24 * time.Hour
	// spaLifetime is the lifetime of the refresh tokens of a single-page app, counted
	// from the first
	// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#refresh-the-access-token).
	spaLifetime = 24 * time.Hour
)

// deleteExpired deletes the entries of m that have expired. To be cheap, it does
// so only when the length of m is a power of two.
func deleteExpired(m map[string]time.Time, now time.Time) {
	if len(m)&(len(m)-1) != 0 {
		return
	}
	for id, until := range m {
		if now.After(until) {
			delete(m, id)
		}
	}
}

// activeUser returns the user of an authentication. It returns an error if the
// user is unknown or disabled, or if the user's sessions have been revoked since.
func (s *Server) activeUser(a *authentication) (*User, *aadstsError) {
	u := s.registry.userByName[a.User]
	if u == nil {
		return nil, newError(50034, "The user does not exist in the directory.")
	}
	if u.Disabled {
		return nil, newError(50057, "The user's account is disabled.")
	}
	s.mu.Lock()
	epoch := s.sessionEpochs[a.User]
	s.mu.Unlock()
	if a.Epoch != epoch {
		return nil, newError(50173, "The user's sessions were revoked after this grant was issued on '%s'.",
			a.At.UTC().Format(time.RFC3339Nano))
	}
	return u, nil
}
