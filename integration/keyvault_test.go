package integration_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azcertificates"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azsecrets"

	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/keyvault"
)

type staticCredential string

func (s staticCredential) GetToken(_ context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if !slices.Equal(o.Scopes, []string{vaultScope}) || o.TenantID != tenant {
		return azcore.AccessToken{}, errors.New("got another scope or tenant from the challenge")
	}
	return azcore.AccessToken{Token: string(s), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// Microsoft's clients of Key Vault accept the fake vault with which package credentials is tested: its challenge, the
// certificate, the secret, both signatures, and its errors.
func TestKeyVaultFakeWithMicrosoftsClients(t *testing.T) {
	const vaultURL = "https://contoso.vault.azure.net"
	key := testkit.RSAKey(t)
	cert := testkit.Certificate(t, key)
	vault := keyvault.New("contoso.vault.azure.net", tenant, "a-token")
	vault.Add("orders", keyvault.Version{ID: "v1", Certificate: cert, Key: key})
	vault.Add("pem", keyvault.Version{ID: "v1", Certificate: cert, Key: key, PEM: true})
	options := azcore.ClientOptions{
		Transport: &http.Client{Transport: vault}, Retry: policy.RetryOptions{MaxRetries: -1},
	}
	certificates, err := azcertificates.NewClient(vaultURL, staticCredential("a-token"),
		&azcertificates.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := azkeys.NewClient(vaultURL, staticCredential("a-token"), &azkeys.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}
	secrets, err := azsecrets.NewClient(vaultURL, staticCredential("a-token"),
		&azsecrets.ClientOptions{ClientOptions: options})
	if err != nil {
		t.Fatal(err)
	}

	got, err := certificates.GetCertificate(t.Context(), "orders", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.CER) != string(cert.Raw) || got.KID.Name() != "orders" || got.KID.Version() != "v1" ||
		got.ID.Version() != "v1" || !*got.Attributes.Enabled || !got.Attributes.Expires.Equal(cert.NotAfter) {
		t.Errorf("got another certificate: %+v", got.Attributes)
	}

	digest := sha256.Sum256([]byte("an assertion"))
	for _, algorithm := range []azkeys.SignatureAlgorithm{azkeys.SignatureAlgorithmPS256, azkeys.SignatureAlgorithmRS256} {
		signed, err := keys.Sign(t.Context(), got.KID.Name(), got.KID.Version(),
			azkeys.SignParameters{Algorithm: &algorithm, Value: digest[:]}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if algorithm == azkeys.SignatureAlgorithmPS256 {
			err = rsa.VerifyPSS(&key.PublicKey, crypto.SHA256, digest[:], signed.Result,
				&rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		} else {
			err = rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signed.Result)
		}
		if err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}

	for name, contentType := range map[string]string{
		"orders": "application/x-pkcs12", "pem": "application/x-pem-file",
	} {
		secret, err := secrets.GetSecret(t.Context(), name, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		data := []byte(*secret.Value)
		if name == "orders" {
			if data, err = base64.StdEncoding.DecodeString(*secret.Value); err != nil {
				t.Fatal(err)
			}
		}
		certs, private, err := credentials.ParseCertificate(data, "")
		if err != nil || !certs[0].Equal(cert) || !private.Equal(key) || *secret.ContentType != contentType {
			t.Errorf("%s: got another key or certificate of the type %s, %v", name, *secret.ContentType, err)
		}
	}

	vault.Fail("sign", keyvault.Failure{Status: 403, Code: "Forbidden", Inner: "ForbiddenByRbac", Message: "m"})
	_, err = keys.Sign(t.Context(), "orders", "v1",
		azkeys.SignParameters{Algorithm: new(azkeys.SignatureAlgorithmPS256), Value: digest[:]}, nil)
	failed, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok || failed.StatusCode != 403 || failed.ErrorCode != "Forbidden" {
		t.Errorf("got %v", err)
	}
	_, err = certificates.GetCertificate(t.Context(), "missing", "", nil)
	if failed, ok = errors.AsType[*azcore.ResponseError](err); !ok || failed.ErrorCode != "CertificateNotFound" {
		t.Errorf("got %v", err)
	}
}
