package authcode

import "encoding/json"

// mergeClaims returns the claims parameter: a challenge together with the capabilities
// of the client, or "" without either. As with MSAL, a challenge that speaks of the
// capabilities itself conflicts with them.
//
// Source: "Claims challenges, claims requests, and client capabilities" in Microsoft's
// identity platform documentation; OpenID Connect Core, section 5.5.
func mergeClaims(challenge string, capabilities []string) (string, error) {
	var claims, access map[string]json.RawMessage
	if challenge != "" {
		if json.Unmarshal([]byte(challenge), &claims) != nil || claims == nil {
			return "", invalid("Request.Claims is not a JSON object")
		}
	}
	if len(capabilities) == 0 {
		return challenge, nil
	}
	if claims == nil {
		claims = map[string]json.RawMessage{}
	}
	if raw, ok := claims["access_token"]; ok && json.Unmarshal(raw, &access) != nil {
		return "", invalid("the access_token of Request.Claims is not a JSON object")
	}
	if access == nil {
		access = map[string]json.RawMessage{}
	}
	if _, ok := access["xms_cc"]; ok {
		return "", invalid("Request.Claims asks for xms_cc, which is for the client's Capabilities to say")
	}
	access["xms_cc"] = marshal(map[string][]string{"values": capabilities})
	claims["access_token"] = marshal(access)
	return string(marshal(claims)), nil
}

func marshal(v any) json.RawMessage {
	b, _ := json.Marshal(v) // strings and JSON that was read before marshal
	return b
}
