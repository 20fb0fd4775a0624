package integration_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
)

// azidentity and credentials.FromEnvironment read the same app and the same credential from an environment, also if
// several credentials are set. The variables that must not be used name missing files.
func TestEnvironmentIsReadLikeAzidentity(t *testing.T) {
	f := newFake(t)
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	federated, err := f.federatedToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := file("one.pem", f.pemOf(t, f.cert))
	pfx := filepath.Join(dir, "one.pfx")
	// azidentity reads only the legacy format.
	export := exec.Command("openssl", "pkcs12", "-export", "-legacy", "-in", one, "-passout", "pass:secret of the file",
		"-out", pfx)
	if out, err := export.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	type env map[string]string
	for _, test := range []struct {
		name, client string
		env          env
		workload     bool // azidentity has a separate type for it
	}{
		{"secret", daemonID, env{"AZURE_CLIENT_SECRET": daemonSecret}, false},
		{"secret before certificate", daemonID, env{"AZURE_CLIENT_SECRET": daemonSecret,
			"AZURE_CLIENT_CERTIFICATE_PATH": "/none", "AZURE_FEDERATED_TOKEN_FILE": "/none"}, false},
		{"certificate", certID, env{"AZURE_CLIENT_CERTIFICATE_PATH": one}, false},
		{"certificate before token", certID, env{"AZURE_CLIENT_CERTIFICATE_PATH": one, "AZURE_FEDERATED_TOKEN_FILE": "/none"},
			false},
		{"certificate with a password", certID, env{"AZURE_CLIENT_CERTIFICATE_PATH": pfx,
			"AZURE_CLIENT_CERTIFICATE_PASSWORD": "secret of the file"}, false},
		{"chain", certSNIID, env{"AZURE_CLIENT_CERTIFICATE_PATH": file("chain.pem", f.pemOf(t, f.certChain)),
			"AZURE_CLIENT_SEND_CERTIFICATE_CHAIN": "True"}, false},
		{"token", federatedID, env{"AZURE_FEDERATED_TOKEN_FILE": file("token", federated)}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("AZURE_TENANT_ID", tenant)
			t.Setenv("AZURE_CLIENT_ID", test.client)
			t.Setenv("AZURE_AUTHORITY_HOST", f.url+"/")
			for name, value := range test.env {
				t.Setenv(name, value)
			}
			options := azcore.ClientOptions{Transport: f.client}
			var theirs azcore.TokenCredential
			var err error
			if test.workload {
				theirs, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
					ClientOptions: options, DisableInstanceDiscovery: true})
			} else {
				theirs, err = azidentity.NewEnvironmentCredential(&azidentity.EnvironmentCredentialOptions{ClientOptions: options,
					DisableInstanceDiscovery: true})
			}
			if err != nil {
				t.Fatal(err)
			}
			token, err := theirs.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{appScope}})
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, token.Token, test.client)

			cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{HTTPClient: f.client})
			if err != nil {
				t.Fatal(err)
			}
			client, err := entra.New(cfg)
			if err != nil {
				t.Fatal(err)
			}
			ours, err := clientcreds.TokenSource(client, appScope).Token()
			if err != nil {
				t.Fatal(err)
			}
			f.wantApp(t, ours.AccessToken, test.client)
		})
	}
}

// pemOf returns a PEM file with certificates and their key.
func (f *fake) pemOf(t *testing.T, certs []*x509.Certificate) string {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(f.key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, c := range certs {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	b.Write(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
	return b.String()
}
