package entratest

import (
	"encoding/json"
	"slices"
)

// A claimsRequest is the claims parameter
// (https://learn.microsoft.com/entra/identity-platform/claims-challenge,
// OpenID Connect Core section 5.5).
type claimsRequest struct {
	AccessToken map[string]*claimDemand `json:"access_token"`
	IDToken     map[string]*claimDemand `json:"id_token"`
}

type claimDemand struct {
	Essential bool  `json:"essential"`
	Value     any   `json:"value"`
	Values    []any `json:"values"`
}

// texts are the values demanded, as far as they are strings.
func (d *claimDemand) texts() []string {
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
func parseClaims(param string) (claimsRequest, *refusal) {
	var c claimsRequest
	if param == "" {
		return c, nil
	}
	if json.Unmarshal([]byte(param), &c) != nil {
		return c, refuse(90023, "The claims parameter is no JSON object of a claims request.")
	}
	return c, nil
}

// capable reports whether the client declares that it can handle claims
// challenges: the capability cp1, which the Azure SDKs write in capitals.
func (c claimsRequest) capable() bool {
	return containsFold(c.AccessToken["xms_cc"].texts(), "cp1")
}

// contexts are the authentication contexts demanded, of an API's token or of the
// client's own.
func (c claimsRequest) contexts() []string {
	return append(c.AccessToken["acrs"].texts(), c.IDToken["acrs"].texts()...)
}

// demandsMFA reports whether the claims can only be satisfied by multifactor
// authentication: an authentication context, or the policy that a challenge
// named.
func (c claimsRequest) demandsMFA(e *estate) bool {
	if len(c.contexts()) > 0 {
		return true
	}
	policies := c.AccessToken["polids"].texts()
	return slices.ContainsFunc(e.apps, func(a *App) bool {
		return a.RequireMFA && slices.Contains(policies, policyID(a))
	})
}

// policyID is the identity of the Conditional Access policy of an app.
func policyID(a *App) string { return derivedGUID("policy", a.ClientID) }

// conditionalAccess refuses a grant for a user whose sign-in does not satisfy
// the resource's policy or the contexts that the request demands
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow#error-response-example).
func conditionalAccess(resource *App, auth *authentication, c claimsRequest) *refusal {
	var claims any
	if resource.RequireMFA && !auth.MFA {
		claims = map[string]any{"polids": map[string]any{"essential": true, "values": []string{policyID(resource)}}}
	}
	for _, context := range c.contexts() {
		if !slices.Contains(auth.ACRs, context) {
			claims = map[string]any{"acrs": map[string]any{"essential": true, "value": context}}
		}
	}
	if claims == nil {
		return nil
	}
	f := refuse(50076, "A policy of the resource '%s' asks for a second factor, which this sign-in did not have.", resource.ClientID)
	f.suberror = "basic_action"
	data, err := json.Marshal(map[string]any{"access_token": claims})
	if err != nil {
		panic("entratest: " + err.Error())
	}
	f.claims = string(data)
	return f
}
