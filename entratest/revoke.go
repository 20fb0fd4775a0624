package entratest

import (
	"strings"
	"time"
)

// RevokeSessions revokes the user's refresh tokens, authorization codes and
// browser sessions. The token endpoint rejects them with AADSTS50173. Access
// tokens stay valid, as in Entra. A resource that supports continuous access
// evaluation calls [Server.IsRevoked]. RevokeSessions panics if the user is
// unknown.
func (s *Server) RevokeSessions(username string) {
	u := s.mustUser(username)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionEpochs[strings.ToLower(u.Username)]++
}

// RevokeToken revokes one refresh token or access token of this server. It
// reports whether raw is such a token. Other tokens of the user stay valid.
func (s *Server) RevokeToken(raw string) bool {
	id := ""
	var t refreshToken
	if s.unseal("refresh", raw, &t) {
		id = t.ID
	} else if j, err := parseJWT(raw); err == nil {
		if key := s.publishedKey(j.header.stringClaim("kid")); key != nil &&
			(j.signedBy(&key.private.PublicKey, "RS256") || j.signedForGraph(key)) {
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

// IsRevoked reports whether an access token, or the session of its user, was
// revoked after the token was issued. A resource that supports continuous access
// evaluation then responds with status 401 and a [ClaimsChallenge]. IsRevoked
// returns false if raw is not an access token of this server.
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

// ClaimsChallenge returns the claims with which a resource rejects tokens issued
// before now
// (https://learn.microsoft.com/entra/identity-platform/app-resilience-continuous-access-evaluation).
// The claims parameter of a WWW-Authenticate header has this value in base64.
func ClaimsChallenge(now time.Time) string {
	return `{"access_token":{"nbf":{"essential":true,"value":"` + decimal(now.Unix()) + `"}}}`
}
