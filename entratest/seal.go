package entratest

import (
	"encoding/json"
	"time"
)

// Codes, refresh tokens, cookies and forms are sealed rather than stored: what
// they stand for travels in them, encrypted, so a server's memory does not grow
// with the tokens it has issued.

// sealed is v as text that only this server can read, under that purpose.
func (s *Server) seal(purpose string, v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic("entratest: sealing: " + err.Error())
	}
	return b64.EncodeToString(s.aead.Seal(nil, nil, data, []byte(purpose)))
}

// unseal reads what sealed wrote for the same purpose into v.
func (s *Server) unseal(purpose, text string, v any) bool {
	raw, err := decodeB64(text)
	if err != nil || len(raw) < s.aead.Overhead() {
		return false
	}
	data, err := s.aead.Open(nil, nil, raw, []byte(purpose))
	return err == nil && json.Unmarshal(data, v) == nil
}

// An authentication is how and when a user signed in.
type authentication struct {
	User  string    `json:"u"` // lower-case username
	Epoch int       `json:"e"` // Server.epochs at the time
	At    time.Time `json:"t"`
	MFA   bool      `json:"m,omitempty"` // passed multifactor authentication
	ACRs  []string  `json:"c,omitempty"` // authentication contexts satisfied
	SID   string    `json:"s"`           // the session
}

// methods is the amr claim.
func (a *authentication) methods() []string {
	if a.MFA {
		return []string{"pwd", "mfa"}
	}
	return []string{"pwd"}
}

// A code is what an authorization code stands for.
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
	Issued    time.Time      `json:"t"`
}

// A refreshToken is what a refresh token stands for.
type refreshToken struct {
	ID     string         `json:"i"`
	Auth   authentication `json:"a"`
	Tenant string         `json:"n"`
	Client string         `json:"c"`
	Scope  string         `json:"s"` // of the grant, for a request that names none
	Issued time.Time      `json:"t"`
}

const (
	// codeLife is "about 10 minutes"
	// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow#successful-response).
	codeLifetime = 10 * time.Minute
	// refreshLife is how long an unused refresh token works
	// (https://learn.microsoft.com/entra/identity-platform/refresh-tokens#token-lifetime).
	refreshTokenLifetime = 90 * 24 * time.Hour
)

// forget drops what need not be remembered, now and then.
func deleteExpired(m map[string]time.Time, now time.Time) {
	if len(m)&(len(m)-1) != 0 { // at powers of two only
		return
	}
	for id, until := range m {
		if now.After(until) {
			delete(m, id)
		}
	}
}

// fresh refuses an authentication that was revoked since, or of a user who is
// gone or disabled.
func (s *Server) activeUser(a *authentication) (*User, *aadstsError) {
	u := s.registry.userByName[a.User]
	if u == nil {
		return nil, newError(50034, "There is no such user in the directory.")
	}
	if u.Disabled {
		return nil, newError(50057, "The user's account is disabled.")
	}
	s.mu.Lock()
	epoch := s.sessionEpochs[a.User]
	s.mu.Unlock()
	if a.Epoch != epoch {
		return nil, newError(50173, "The user's sessions were revoked after this grant was issued on '%s'.", a.At.UTC().Format(time.RFC3339Nano))
	}
	return u, nil
}
