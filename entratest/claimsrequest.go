package entratest

import (
	"encoding/json"
	"slices"
)

// A claimsRequest is the claims parameter
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge,
// OpenID Connect Core, section 5.5).
type claimsRequest struct {
	AccessToken map[string]*claimRequest `json:"access_token"`
	IDToken     map[string]*claimRequest `json:"id_token"`
}

type claimRequest struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// stringValues returns the requested values that are strings.
func (d *claimRequest) stringValues() []string {
	if d == nil {
		return nil
	}
	var list []string
	for _, v := range append(slices.Clone(d.Values), d.Value) {
		if s, ok := v.(string); ok {
			list = append(list, s)
		}
	}
	return list
}

// parseClaims parses a claims parameter, which may be empty.
func parseClaims(param string) (claimsRequest, *aadstsError) {
	var c claimsRequest
	if param == "" {
		return c, nil
	}
	if json.Unmarshal([]byte(param), &c) != nil {
		return c, newError(90023, "The claims parameter is not a valid claims request in JSON.")
	}
	return c, nil
}

// supportsCAE reports whether the client declares the capability cp1, that is,
// handles claims challenges. The Azure SDKs write it in upper case.
func (c claimsRequest) supportsCAE() bool {
	return containsFold(c.AccessToken["xms_cc"].stringValues(), "cp1")
}

// authContexts returns the required authentication contexts of the access token and
// of the ID token.
func (c claimsRequest) authContexts() []string {
	return append(c.AccessToken["acrs"].stringValues(), c.IDToken["acrs"].stringValues()...)
}

// requiresMFA reports whether the claims require multifactor authentication. They do
// if they name an authentication context or the policy of an app.
func (c claimsRequest) requiresMFA(reg *registry) bool {
	if len(c.authContexts()) > 0 {
		return true
	}
	policies := c.AccessToken["polids"].stringValues()
	return slices.ContainsFunc(reg.apps, func(a *App) bool {
		return a.RequireMFA && slices.Contains(policies, policyID(a))
	})
}

// policyID returns the ID of the Conditional Access policy of an app.
func policyID(a *App) string { return derivedGUID("policy", a.ClientID) }

// conditionalAccess returns an error if the user's authentication does not satisfy
// the policy of the resource or the authentication contexts in the request
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow#error-response-example).
func conditionalAccess(resource *App, auth *authentication, c claimsRequest) *aadstsError {
	var claims any
	if resource.RequireMFA && !auth.MFA {
		claims = map[string]any{"polids": map[string]any{"essential": true, "values": []string{policyID(resource)}}}
	}
	for _, context := range c.authContexts() {
		if !slices.Contains(auth.ACRs, context) {
			claims = map[string]any{"acrs": map[string]any{"essential": true, "value": context}}
		}
	}
	if claims == nil {
		return nil
	}
	aerr := newError(50076, "A policy of the resource '%s' requires multifactor authentication.", resource.ClientID)
	aerr.suberror = "basic_action"
	data, err := json.Marshal(map[string]any{"access_token": claims})
	if err != nil {
		panic("entratest: " + err.Error())
	}
	aerr.claims = string(data)
	return aerr
}

// forUser returns the error of [conditionalAccess] for a user. Without a second factor,
// the user must enroll.
func (aerr *aadstsError) forUser(u *User) *aadstsError {
	if !u.MFA {
		aerr.number = 50079
		aerr.message = "The user must enroll in multifactor authentication. " + aerr.message
	}
	return aerr
}
