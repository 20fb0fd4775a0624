package entratest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"strings"
)

// claimSet is the header or the payload of a token.
type claimSet map[string]any

// stringClaim returns the claim, or "" if it is not a string.
func (c claimSet) stringClaim(name string) string {
	s, _ := c[name].(string)
	return s
}

// intClaim returns the claim if it is a number in the range of int64.
func (c claimSet) intClaim(name string) (int64, bool) {
	switch n := c[name].(type) {
	case float64:
		if n < -1e15 || n > 1e15 {
			return 0, false
		}
		return int64(n), true
	case int64:
		return n, true
	}
	return 0, false
}

// b64 is the encoding of tokens. It is strict, so that each value has one
// encoding. decodeB64 also rejects line breaks.
var b64 = base64.RawURLEncoding.Strict()

func decodeB64(text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") {
		return nil, errMalformed
	}
	return b64.DecodeString(text)
}

// signJWT signs header and payload with RS256 (RFC 7518, section 3.3).
func signJWT(key *rsa.PrivateKey, header, payload claimSet) string {
	signed := signingInput(header, payload)
	sum := sha256.Sum256([]byte(signed))
	// SignPKCS1v15 fails only for keys too small for the digest; ours aren't.
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	if err != nil {
		panic("entratest: sign token: " + err.Error())
	}
	return signed + "." + b64.EncodeToString(sig)
}

// signAccessToken signs an access token for the resource. The header of a token for
// Microsoft Graph has a nonce, and the signature is that of a header with the hash of
// the nonce. So only Graph can verify it
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-on-behalf-of-flow,
// AzureAD/azure-activedirectory-identitymodel-extensions-for-dotnet#609).
func signAccessToken(key *signingKey, header, payload claimSet, resource *App) string {
	if resource.ClientID != graphID {
		return signJWT(key.private, header, payload)
	}
	sent := maps.Clone(header)
	sent["nonce"] = randomToken(32)
	parts := strings.Split(signJWT(key.private, hashNonce(sent), payload), ".")
	return signingInput(sent, payload) + "." + parts[2]
}

// hashNonce returns the header with the hash of its nonce.
func hashNonce(header claimSet) claimSet {
	hashed := maps.Clone(header)
	sum := sha256.Sum256([]byte(header.stringClaim("nonce")))
	hashed["nonce"] = b64.EncodeToString(sum[:])
	return hashed
}

// signedForGraph is like signedBy for a token for Microsoft Graph.
func (t *jwt) signedForGraph(key *signingKey) bool {
	if t.header["nonce"] == nil {
		return false
	}
	hashed := *t
	hashed.signed = signingInput(hashNonce(t.header), t.payload)
	return hashed.signedBy(&key.private.PublicKey, "RS256")
}

// signingInput returns the signed part of a token.
func signingInput(header, payload claimSet) string {
	h, herr := json.Marshal(header)
	p, perr := json.Marshal(payload)
	if err := errors.Join(herr, perr); err != nil {
		panic("entratest: encode claims: " + err.Error())
	}
	return b64.EncodeToString(h) + "." + b64.EncodeToString(p)
}

// A jwt is a parsed token whose signature has not been verified.
type jwt struct {
	header, payload claimSet
	signed          string
	signature       []byte
}

var errMalformed = errors.New("malformed token")

// parseJWT parses the compact serialization (RFC 7515, section 7.1).
func parseJWT(raw string) (*jwt, error) {
	head, rest, ok1 := strings.Cut(raw, ".")
	body, sig, ok2 := strings.Cut(rest, ".")
	if !ok1 || !ok2 || strings.Contains(sig, ".") {
		return nil, errMalformed
	}
	t := &jwt{signed: head + "." + body}
	var err error
	if t.header, err = parsePart(head); err != nil {
		return nil, err
	}
	if t.payload, err = parsePart(body); err != nil {
		return nil, err
	}
	if t.signature, err = decodeB64(sig); err != nil {
		return nil, errMalformed
	}
	return t, nil
}

func parsePart(part string) (claimSet, error) {
	data, err := decodeB64(part)
	if err != nil {
		return nil, errMalformed
	}
	var c claimSet
	if json.Unmarshal(data, &c) != nil || c == nil {
		return nil, errMalformed
	}
	return c, nil
}

// signedBy reports whether the signature is valid for key and its algorithm is
// one of algs.
func (t *jwt) signedBy(key crypto.PublicKey, algs ...string) bool {
	alg := t.header.stringClaim("alg")
	allowed := false
	for _, a := range algs {
		allowed = allowed || a == alg
	}
	if !allowed {
		return false
	}
	sum := sha256.Sum256([]byte(t.signed))
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch alg {
		case "RS256":
			return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], t.signature) == nil
		case "PS256":
			return rsa.VerifyPSS(key, crypto.SHA256, sum[:], t.signature, nil) == nil
		}
	case *ecdsa.PublicKey:
		if alg != "ES256" || len(t.signature) != 64 {
			return false
		}
		r := new(big.Int).SetBytes(t.signature[:32])
		s := new(big.Int).SetBytes(t.signature[32:])
		return ecdsa.Verify(key, sum[:], r, s)
	}
	return false
}

// audiences returns the values of aud, which may be a string or an array
// (RFC 7519, section 4.1.3).
func (t *jwt) audiences() []string {
	switch aud := t.payload["aud"].(type) {
	case string:
		return []string{aud}
	case []any:
		var list []string
		for _, a := range aud {
			if s, ok := a.(string); ok {
				list = append(list, s)
			}
		}
		return list
	}
	return nil
}

// randomToken returns n random bytes in base64url.
func randomToken(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return b64.EncodeToString(b)
}
