package verify

import (
	"bytes"
	"encoding/json"
)

// MarshalBinary returns the claims as JSON, in the token's order and without the
// nonce: for keeping them in a session, where nobody but the program can change
// them. It fails for claims that come from no token.
func (c *Claims) MarshalBinary() ([]byte, error) {
	if c == nil || c.all == nil {
		return nil, reject(ReasonNoToken)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range c.all.members {
		if m.name == "nonce" {
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, reject(ReasonBadJSON)
		}
		b.Write(name)
		b.WriteString(":" + m.value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalBinary reads what MarshalBinary returned. It verifies nothing: the claims
// are as true as the place they were kept in. Its error is an *Error.
func (c *Claims) UnmarshalBinary(kept []byte) error {
	if len(kept) > MaxTokenSize {
		return reject(ReasonTooLarge)
	}
	o, err := parseObject(string(kept))
	if err != nil {
		return err
	}
	read, err := readClaims(o)
	if err != nil {
		return err
	}
	if err := read.readSets(); err != nil {
		return err
	}
	client, clientAuth := "azp", "azpacr"
	if read.Version == "1.0" {
		client, clientAuth = "appid", "appidacr"
	}
	read.ClientID, read.ClientAuth = read.text(client), read.text(clientAuth)
	*c = *read
	return nil
}

// text returns a claim that is a string, or "".
func (c *Claims) text(name string) string {
	var s string
	if c.Decode(name, &s) != nil {
		return ""
	}
	return s
}
