package entratest

import (
	"encoding/json"
	"slices"
)

// A claimsRequest is the claims parameter
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge,
// OpenID Connect Core section 5.5).
type claimsRequest struct {
	AccessToken map[string]*claimRequest `json:"access_token"`
	IDToken     map[string]*claimRequest `json:"id_token"`
}

type claimRequest struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// texts are the values demanded, as far as they are strings.
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

// parseClaims reads a claims parameter, which may be empty.
func parseClaims(param string) (claimsRequest, *aadstsError) {
	var c claimsRequest
	if param == "" {
		return c, nil
	}
	if json.Unmarshal([]byte(param), &c) != nil {
		return c, newError(90023, "The claims parameter is no JSON object of a claims request.")
	}
	return c, nil
}

// capable reports whether the client declares that it can handle claims
// challenges: the capability cp1, which the Azure SDKs write in capitals.
func (c claimsRequest) supportsCAE() bool {
	return containsFold(c.AccessToken["xms_cc"].stringValues(), "cp1")
}

// contexts are the authentication contexts demanded, of an API's token or of the
// client's own.
func (c claimsRequest) authContexts() []string {
	return append(c.AccessToken["acrs"].stringValues(), c.IDToken["acrs"].stringValues()...)
}

// demandsMFA reports whether the claims can only be satisfied by multifactor
// authentication: an authentication context, or the policy that a challenge
// named.
func (c claimsRequest) requiresMFA(reg *registry) bool {
	if len(c.authContexts()) > 0 {
		return true
	}
	policies := c.AccessToken["polids"].stringValues()
	return slices.ContainsFunc(reg.apps, func(a *App) bool {
		return a.RequireMFA && slices.Contains(policies, policyID(a))
	})
}

// policyID is the identity of the Conditional Access policy of an app.
func policyID(a *App) string { return derivedGUID("policy", a.ClientID) }

// conditionalAccess refuses a grant for a user whose sign-in does not satisfy
// the resource's policy or the contexts that the request demands
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
	aerr := newError(50076, "A policy of the resource '%s' asks for a second factor, which this sign-in did not have.", resource.ClientID)
	aerr.suberror = "basic_action"
	data, err := json.Marshal(map[string]any{"access_token": claims})
	if err != nil {
		panic("entratest: " + err.Error())
	}
	aerr.claims = string(data)
	return aerr
}
