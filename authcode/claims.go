package authcode

import "encoding/json"

// mergeClaims returns the claims parameter, which combines a claims challenge with the
// client's capabilities. It returns "" if there are neither. As in MSAL, a challenge must not
// contain the capabilities claim (xms_cc) itself.
//
// Sources: "Claims challenges, claims requests, and client capabilities" in Microsoft's
// identity platform documentation, and OpenID Connect Core, section 5.5.
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
		return "", invalid("access_token in Request.Claims is not a JSON object")
	}
	if access == nil {
		access = map[string]json.RawMessage{}
	}
	if _, ok := access["xms_cc"]; ok {
		return "", invalid("Request.Claims contains xms_cc; set Capabilities in the client's Config instead")
	}
	access["xms_cc"] = marshal(map[string][]string{"values": capabilities})
	claims["access_token"] = marshal(access)
	return string(marshal(claims)), nil
}

func marshal(v any) json.RawMessage {
	b, _ := json.Marshal(v) // cannot fail, since v holds only strings and valid JSON
	return b
}
