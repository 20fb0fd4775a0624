package entratest

import (
	"strings"
	"time"
)

// RevokeSessions ends the user's sessions: refresh tokens, codes and signed-in browsers
// stop working, with AADSTS50173 at the token endpoint. Access tokens stay
// valid, as they do in Entra; only [Server.IsRevoked] tells a resource that
// evaluates access continuously. It panics if there is no such user.
func (s *Server) RevokeSessions(username string) {
	u := s.mustUser(username)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionEpochs[strings.ToLower(u.Username)]++
}

// RevokeToken ends one token, a refresh token or an access token of this
// server, and reports whether it was one. Other tokens of the user go on.
func (s *Server) RevokeToken(raw string) bool {
	id := ""
	var t refreshToken
	if s.unseal("refresh", raw, &t) {
		id = t.ID
	} else if j, err := parseJWT(raw); err == nil {
		if key := s.publishedKey(j.header.stringClaim("kid")); key != nil && j.signedBy(&key.private.PublicKey, "RS256") {
			id = j.payload.stringClaim("uti")
		}
	}
	if id == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	deleteExpired(s.revoked, now)
	s.revoked[id] = now.Add(refreshTokenLifetime)
	return true
}

func (s *Server) isRevoked(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, revoked := s.revoked[id]
	return revoked && id != ""
}

// IsRevoked reports whether the access token or its user's session was revoked
// after it was issued: what continuous access evaluation tells a resource,
// which then answers 401 with the claims of [ClaimsChallenge]. It is false for what
// is no access token of this server.
func (s *Server) IsRevoked(raw string) bool {
	t, err := parseJWT(raw)
	if err != nil {
		return false
	}
	if s.isRevoked(t.payload.stringClaim("uti")) {
		return true
	}
	var auth authentication
	if !s.unseal("aio", t.payload.stringClaim("aio"), &auth) {
		return false
	}
	_, aerr := s.activeUser(&auth)
	return aerr != nil
}

// ClaimsChallenge is the claims value of a challenge by which a resource rejects
// tokens issued before now
// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
// In a WWW-Authenticate header it is sent in base64.
func ClaimsChallenge(now time.Time) string {
	return `{"access_token":{"nbf":{"essential":true,"value":"` + decimal(now.Unix()) + `"}}}`
}
