package entratest_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

// verified reports whether the first published key of the server signed the token.
func verified(t *testing.T, s *entratest.Server, raw string) bool {
	t.Helper()
	var set struct{ Keys []struct{ X5c []string } }
	get(t, s.Client(), authHost+"common/discovery/v2.0/keys", &set)
	der, err := base64.StdEncoding.DecodeString(set.Keys[0].X5c[0])
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	i := strings.LastIndexByte(raw, '.')
	sig, err := base64.RawURLEncoding.DecodeString(raw[i+1:])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(raw[:i]))
	return rsa.VerifyPKCS1v15(cert.PublicKey.(*rsa.PublicKey), crypto.SHA256, sum[:], sig) == nil
}

func TestMintOptions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		raw := s.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice, Lifetime: 10 * time.Minute})
		c := decode(t, raw)
		if !verified(t, s, raw) || c.stringClaim("aud") != apiA || c.stringClaim("azp") != webapp ||
			c.stringClaim("scp") != "access_as_user" || c.stringClaim("oid") != s.User(alice).ObjectID ||
			c["exp"] != float64(time.Now().Add(10*time.Minute).Unix()) {
			t.Errorf("a user's token: got %v", c)
		}
		c = decode(t, s.Mint(entratest.MintOptions{Resource: "api://api-b", Client: "daemon",
			Tenant: "fabrikam.onmicrosoft.com", Host: "https://127.0.0.1:1"}))
		if c.stringClaim("aud") != apiB || c.joined("roles") != "Orders.Read.All" ||
			c.stringClaim("iss") != "https://127.0.0.1:1/"+fabrikam+"/v2.0" || c.stringClaim("idtyp") != "app" {
			t.Errorf("an app's token: got %v", c)
		}
		c = decode(t, s.Mint(entratest.MintOptions{Resource: "api-b", Version: 1, User: alice, Scopes: []string{"a", "b"},
			Roles: []string{"r"}}))
		if c.stringClaim("iss") != "https://sts.windows.net/"+tenant+"/" || c.stringClaim("scp") != "a b" ||
			c.joined("roles") != "r" || c.stringClaim("aud") != "api://api-b" {
			t.Errorf("version 1: got %v", c)
		}
		c = decode(t, s.Mint(entratest.MintOptions{Resource: "api-b", Version: 1, Host: "login.partner.microsoftonline.cn"}))
		if want := "https://sts.chinacloudapi.cn/" + tenant + "/"; c.stringClaim("iss") != want ||
			c.stringClaim("idp") != want {
			t.Errorf("version 1 in China: got %v", c)
		}
		raw = s.Mint(entratest.MintOptions{Resource: "webapp", User: alice, IDToken: true, Nonce: "n"})
		if c = decode(t, raw); !verified(t, s, raw) || c.stringClaim("aud") != webapp || c.stringClaim("nonce") != "n" ||
			c["scp"] != nil {
			t.Errorf("an ID token: got %v", c)
		}
		c = decode(t, s.Mint(entratest.MintOptions{Resource: "api-b", Lifetime: -time.Hour}))
		if exp, nbf := c["exp"].(float64), c["nbf"].(float64); exp != float64(time.Now().Add(-time.Hour).Unix()) ||
			nbf >= exp {
			t.Errorf("an expired token: got nbf %v, exp %v", nbf, exp)
		}
		raw = s.Mint(entratest.MintOptions{
			Resource: "api-b", Claims: map[string]any{"aud": nil, "extra": []int{1}, "iss": "x"},
			Header: map[string]any{"typ": nil, "x": "y"},
		})
		h := decodePart(t, raw, 0)
		if c = decode(t, raw); !verified(t, s, raw) || c["aud"] != nil || c["extra"] == nil ||
			c.stringClaim("iss") != "x" || h["typ"] != nil || h.stringClaim("x") != "y" {
			t.Errorf("overridden: got %v %v", h, c)
		}
	})
}

func TestMintForgeries(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	kid := decodePart(t, s.Mint(entratest.MintOptions{Resource: "api-b"}), 0).stringClaim("kid")
	foreign := s.Mint(entratest.MintOptions{Resource: "api-b", UnpublishedKey: true})
	if verified(t, s, foreign) || decodePart(t, foreign, 0).stringClaim("kid") != kid {
		t.Error("token signed with an unpublished key is valid")
	}
	none := s.Mint(entratest.MintOptions{Resource: "api-b", Header: map[string]any{"alg": "none"}})
	if !strings.HasSuffix(none, ".") || decodePart(t, none, 0).stringClaim("alg") != "none" {
		t.Errorf("unsigned: got %s", none)
	}
	confused := s.Mint(entratest.MintOptions{Resource: "api-b", Header: map[string]any{"alg": "HS256"}})
	if sig := confused[strings.LastIndexByte(confused, '.')+1:]; len(sig) != 43 {
		t.Errorf("got a signature of %d characters", len(sig))
	}
}

func TestMintPanics(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for name, o := range map[string]entratest.MintOptions{
		"no resource":        {},
		"unknown client":     {Resource: "api-a", Client: "x"},
		"unknown tenant":     {Resource: "api-a", Tenant: "x"},
		"unknown user":       {Resource: "api-a", User: "x"},
		"user of another":    {Resource: "api-a", User: carol},
		"ID token of an app": {Resource: "api-a", IDToken: true},
		"version":            {Resource: "api-a", Version: 3},
	} {
		func() {
			defer func() {
				if msg, _ := recover().(string); !strings.HasPrefix(msg, "entratest: ") {
					t.Errorf("%s: got panic %q", name, msg)
				}
			}()
			s.Mint(o)
		}()
	}
}
