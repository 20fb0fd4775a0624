package entratest

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// pageLife is how long a person may look at a page of the sign-in.
const pageLife = time.Hour

// authorize answers the authorization endpoint.
func (s *Server) authorize(r *request) *answer {
	if r.http.Method != http.MethodGet && r.http.Method != http.MethodPost || r.malformed {
		return errorPage(r, refuse(900561, "This endpoint takes GET and POST requests, not %s.", quote(r.http.Method)))
	}
	q, redirect, f := s.parseSignIn(r)
	if f != nil {
		if !redirect {
			return errorPage(r, f)
		}
		return s.respondError(r, q, f)
	}
	return s.enter(r, q)
}

// enter starts a sign-in that was checked.
func (s *Server) enter(r *request, q *signInRequest) *answer {
	q.Until = r.now.Add(pageLife)
	if r.as != nil {
		auth := s.signedIn(r.as, r.now)
		q.Auth, q.Granted = &auth, false
		return s.proceed(r, q)
	}
	return s.begin(r, q)
}

// begin decides how a browser's sign-in starts: with a session it has, or with
// a page.
func (s *Server) begin(r *request, q *signInRequest) *answer {
	sessions := s.sessions(r)
	var fit []authentication
	for _, a := range sessions {
		if q.LoginHint != "" && !strings.EqualFold(a.User, s.hinted(q.LoginHint)) {
			continue
		}
		if r.tenant != nil && s.estate.user[a.User].objectIDIn(r.tenant) == "" {
			continue
		}
		fit = append(fit, a)
	}
	tooOld := func(a authentication) bool { return q.MaxAge >= 0 && r.now.Sub(a.At) > q.MaxAge }
	if q.Prompt == "none" {
		if len(fit) != 1 || tooOld(fit[0]) {
			return s.respondError(r, q, refuse(50058, "The app asked to sign in silently, but there is no session of exactly one user to do so with."))
		}
		q.Auth = &fit[0]
		return s.proceed(r, q)
	}
	switch {
	case q.Prompt == "select_account" && len(sessions) > 0, q.Prompt != "login" && len(fit) > 1:
		return s.pickPage(r, q, sessions)
	case q.Prompt != "login" && q.Prompt != "create" && len(fit) == 1 && !tooOld(fit[0]):
		q.Auth = &fit[0]
		return s.proceed(r, q)
	}
	return s.passwordPage(r, q, s.hinted(q.LoginHint), nil)
}

// hinted is the username in a login_hint: itself, or the value of the optional
// claim.
func (s *Server) hinted(hint string) string {
	if raw, err := b64.DecodeString(hint); err == nil && s.estate.user[strings.ToLower(string(raw))] != nil {
		return string(raw)
	}
	return hint
}

// proceed goes on once it is known who signs in: it asks for a second factor
// and for consent if they are needed, then answers the app.
func (s *Server) proceed(r *request, q *signInRequest) *answer {
	u, f := s.fresh(q.Auth)
	if f != nil {
		if f.aadsts == 50173 && r.as == nil && q.Prompt != "none" {
			return s.passwordPage(r, q, q.Auth.User, nil)
		}
		return s.stop(r, q, f)
	}
	client := s.estate.app[q.Client]
	t := r.tenant
	if t == nil {
		t = s.estate.tenant[u.TenantID]
	}
	if u.objectIDIn(t) == "" {
		return s.stop(r, q, refuse(50020, "The account '%s' is no member or guest of the tenant '%s', and cannot use the app '%s' (%s) there. Sign in with another account.", quote(u.Username), t.Name, client.ClientID, client.Name))
	}
	scopes, f := s.estate.parseScopes(q.Scope, t)
	if f != nil {
		return s.respondError(r, q, f)
	}
	claims, f := parseClaims(q.Claims)
	if f != nil {
		return s.respondError(r, q, f)
	}
	if q.Admin {
		return s.proceedAdmin(r, q, u, t, client, scopes)
	}
	if client.RequireAssignment && len(s.estate.rolesIn(u, client)) == 0 {
		return s.stop(r, q, refuse(50105, "The user '%s' has no role in the app '%s' (%s), which asks for one.", quote(u.Username), client.ClientID, client.Name))
	}
	if f := s.needsMFA(client, scopes, claims, q.Auth); f != nil {
		switch {
		case q.Prompt == "none":
			return s.respondError(r, q, f)
		case !u.MFA:
			return s.stop(r, q, refuse(50079, "A policy asks for a second factor to use '%s', and this account has none.", client.ClientID))
		case r.as == nil:
			return s.mfaPage(r, q, u)
		}
		passMFA(q.Auth, claims)
	}
	items := s.toConsent(scopes, u, t, client, q.Prompt == "consent" && !q.Granted)
	if len(items) > 0 {
		switch {
		case q.Prompt == "none":
			f := refuse(65001, "Neither the user nor an administrator has consented to what the app '%s' named '%s' asks for. Ask for consent interactively.", client.ClientID, client.Name)
			f.code, f.suberror = "interaction_required", "consent_required"
			return s.respondError(r, q, f)
		case !u.administers(t) && needsAdmin(items):
			return s.stop(r, q, refuse(90094, "In %s only an administrator can grant what %s asks for.", t.Name, client.Name))
		case r.as == nil:
			return s.consentPage(r, q, u, t, items)
		}
		s.accept(u, t, items)
	}
	return s.finish(r, q, u, t, scopes)
}

// needsMFA says why the sign-in needs a second factor that the session lacks,
// or is nil.
func (s *Server) needsMFA(client *App, scopes *scopeRequest, claims claimsRequest, auth *authentication) *refusal {
	if f := conditionalAccess(client, auth, claims); f != nil {
		return f
	}
	for _, res := range scopes.resources {
		if f := conditionalAccess(res.app, auth, claims); f != nil {
			return f
		}
	}
	if claims.demandsMFA(s.estate) && !auth.MFA {
		return refuse(50076, "A second factor is needed to use '%s'.", client.ClientID)
	}
	return nil
}

// passMFA notes that the second factor was given, and the contexts it satisfies.
func passMFA(auth *authentication, claims claimsRequest) {
	auth.MFA = true
	for _, context := range claims.contexts() {
		if !slices.Contains(auth.ACRs, context) && len(auth.ACRs) < 25 {
			auth.ACRs = append(auth.ACRs, context)
		}
	}
}

// accept records the consent of a user.
func (s *Server) accept(u *User, t *Tenant, items []consentItem) {
	for _, item := range items {
		s.consent(u.Username, t, item.client, item.resource, item.scopes)
	}
}

// finish answers the app with a code, an ID token or both.
func (s *Server) finish(r *request, q *signInRequest, u *User, t *Tenant, scopes *scopeRequest) *answer {
	params := url.Values{}
	raw := ""
	if strings.HasPrefix(q.ResponseType, "code") {
		raw = s.sealed("code", code{
			Number: s.number(), Auth: *q.Auth, Tenant: t.ID, Client: q.Client, Scope: q.Scope, Redirect: q.Redirect,
			Challenge: q.Challenge, Method: q.Method, Nonce: q.Nonce, Issued: r.now,
		})
		params.Set("code", raw)
	}
	if strings.HasSuffix(q.ResponseType, "id_token") {
		payload := s.idClaims(&accessToken{request: r, tenant: t, client: s.estate.app[q.Client], user: u, auth: q.Auth}, scopes, q.Nonce)
		if raw != "" {
			payload["c_hash"] = halfHash(raw)
		}
		params.Set("id_token", s.signID(payload))
	}
	params.Set("session_state", q.Auth.SID)
	a := s.respond(r, q, params)
	if r.as == nil {
		s.remember(r, a, *q.Auth, q.Client)
	}
	return a
}
