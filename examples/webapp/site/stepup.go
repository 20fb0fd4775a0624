package site

import (
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/signin"
)

// stepUp returns the error that sends a user to satisfy an authentication context, such as
// "c1", unless this session has satisfied it. It is for what the app itself demands: an API
// demands it of the token, with a challenge.
//
// Source: "Developer guide to Conditional Access authentication context".
func stepUp(r *http.Request, context string) error {
	if claims, ok := signin.ClaimsFromContext(r.Context()); context == "" || ok && claims.AuthContexts.Has(context) {
		return nil
	}
	const demand = `{"acrs":{"essential":true,"value":"`
	return &entra.Error{
		Code:        "interaction_required",
		Claims:      `{"id_token":` + demand + context + `"}},"access_token":` + demand + context + `"}}}`,
		Description: "the session has not satisfied the authentication context " + context,
	}
}
