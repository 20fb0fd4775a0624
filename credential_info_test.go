package entra_test

import (
	"context"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/testkit"
)

// Info describes each kind of credential without its secret.
func TestCredentialInfo(t *testing.T) {
	key := testkit.RSAKey(t)
	expires := time.Date(2033, 5, 6, 7, 8, 9, 0, time.UTC)
	cert := testkit.Certificate(t, key, testkit.Valid(time.Time{}, expires), func(c *x509.Certificate) {
		c.Subject = pkix.Name{CommonName: "orders", Organization: []string{"Contoso"}}
	})
	certificate := entra.Certificate([]*x509.Certificate{nil, cert}, key, nil)
	certificateInfo := entra.CredentialInfo{
		Kind: "certificate", Thumbprint: fmt.Sprintf("%X", sha1.Sum(cert.Raw)),
		Subject: "CN=orders,O=Contoso", Issuer: "CN=orders,O=Contoso", NotAfter: expires,
	}
	assertion := entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) { return "", nil })
	load := entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
		t.Error("Info must not load the credential")
		return entra.Credential{}, nil
	})
	custom := entra.CredentialInfo{Kind: "secret of a vault", Variable: "VAULT"}
	for name, test := range map[string]struct {
		credential entra.Credential
		want       entra.CredentialInfo
	}{
		"zero":                {entra.Credential{}, entra.CredentialInfo{}},
		"secret":              {entra.Secret("s3cr3t"), entra.CredentialInfo{Kind: "client secret"}},
		"certificate":         {certificate, certificateInfo},
		"invalid certificate": {entra.Certificate(nil, nil, nil), entra.CredentialInfo{Kind: "certificate"}},
		"assertion":           {assertion, entra.CredentialInfo{Kind: "client assertion"}},
		"function":            {load, entra.CredentialInfo{}},
		"function, described": {load.WithInfo(func() entra.CredentialInfo { return custom }), custom},
	} {
		if got := test.credential.Info(); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, test.want)
		}
	}
	if described := load.WithInfo(func() entra.CredentialInfo { return custom }); !described.Equal(load) {
		t.Error("WithInfo made another credential")
	}
}
