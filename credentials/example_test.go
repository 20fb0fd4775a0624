package credentials_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
)

// A secret is rotated while the program runs. Entra is a fake one here.
func ExampleSecretFile() {
	fake := entratest.NewServer(entratest.Sample()) // in production: leave HTTPClient out
	path := filepath.Join(os.TempDir(), "entra-example-secret")
	defer os.Remove(path)
	os.WriteFile(path, []byte(fake.App("daemon").Secrets[0]), 0o600)

	secret, err := credentials.SecretFile(path)
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: secret,
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, scope := range []string{"api://api-b/.default", "https://graph.microsoft.com/.default"} {
		if _, err := clientcreds.TokenSource(client, scope).Token(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("a token for", scope)
		// An administrator replaces the secret.
		fake.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets = []string{"the-new-secret"} })
		os.WriteFile(path, []byte("the-new-secret\n"), 0o600)
	}
	// Output:
	// a token for api://api-b/.default
	// a token for https://graph.microsoft.com/.default
}

func ExampleSecretFileWith() {
	_, err := credentials.SecretFileWith(credentials.SecretFileConfig{Path: "/run/secrets/none", Logger: slog.Default()})
	fmt.Println(err)
	// Output: entra: invalid_client: the client secret file "/run/secrets/none" cannot be read: no such file or directory
}

// A TLS secret of Kubernetes, as cert-manager renews it.
func ExampleCertificateFile() {
	certificate, err := credentials.CertificateFile(credentials.CertificateFileConfig{
		Path:    "/var/run/orders/tls.crt",
		KeyPath: "/var/run/orders/tls.key",
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-1111-1111-111111111111",
		ClientID:   "22222222-2222-2222-2222-222222222222",
		Credential: certificate,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// A PKCS#12 file with a password.
func ExampleCertificateFile_pfx() {
	_, err := credentials.CertificateFile(credentials.CertificateFileConfig{
		Path: "/etc/orders/app.pfx",
		Password: func(context.Context) (string, error) {
			return os.Getenv("ORDERS_PFX_PASSWORD"), nil
		},
	})
	fmt.Println(err)
	// Output: entra: invalid_client: the certificate file "/etc/orders/app.pfx" cannot be read: no such file or directory
}

// A secret in a vault, which is asked every five minutes at most, and at once when Entra
// refuses the secret that it gave.
func ExampleSecretFunc() {
	fake := entratest.NewServer(entratest.Sample()) // in production: leave HTTPClient out
	vault := func(context.Context) (string, error) {
		fmt.Println("asking the vault")
		return fake.App("daemon").Secrets[0], nil
	}
	client, err := entra.New(entra.Config{
		TenantID:   entratest.SampleTenant,
		ClientID:   fake.App("daemon").ClientID,
		Credential: credentials.SecretFunc(vault),
		HTTPClient: fake.Client(),
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, scope := range []string{"api://api-b/.default", "https://graph.microsoft.com/.default"} {
		if _, err := clientcreds.TokenSource(client, scope).Token(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(fake.TokenRequests(), "tokens")
	// Output:
	// asking the vault
	// 2 tokens
}

// A token service of your own, whose issuer the app registration trusts.
func ExampleAssertionFunc() {
	assertion := credentials.AssertionFunc(func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://tokens.internal.example/for/entra", nil)
		if err != nil {
			return "", err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		// ... read the token from the body
		return "", fmt.Errorf("the token service answered %s", resp.Status)
	})
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-1111-1111-111111111111",
		ClientID:   "22222222-2222-2222-2222-222222222222",
		Credential: assertion,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// In a pod that Azure Workload Identity has prepared.
func ExampleWorkloadIdentity() {
	identity, err := credentials.WorkloadIdentity(credentials.WorkloadIdentityConfig{Logger: slog.Default()})
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   os.Getenv("AZURE_TENANT_ID"),
		ClientID:   os.Getenv("AZURE_CLIENT_ID"),
		Credential: identity,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// In a job of GitHub Actions with the permission "id-token: write".
func ExampleGitHubActions() {
	job, err := credentials.GitHubActions(credentials.GitHubActionsConfig{})
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   os.Getenv("AZURE_TENANT_ID"),
		ClientID:   os.Getenv("AZURE_CLIENT_ID"),
		Credential: job,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// On a virtual machine, in App Service or the like, with a user-assigned identity that the
// app registration trusts.
func ExampleManagedIdentity() {
	identity, err := credentials.ManagedIdentity(credentials.ManagedIdentityConfig{
		ClientID: "33333333-3333-3333-3333-333333333333", // of the identity
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(entra.Config{
		TenantID:   "11111111-1111-1111-1111-111111111111",
		ClientID:   "22222222-2222-2222-2222-222222222222", // of the app
		Credential: identity,
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = client
}

// Those who run the program choose the credential.
func ExampleFromEnvironment() {
	for name, value := range map[string]string{
		"AZURE_TENANT_ID":     "11111111-1111-1111-1111-111111111111",
		"AZURE_CLIENT_ID":     "22222222-2222-2222-2222-222222222222",
		"AZURE_CLIENT_SECRET": "a-secret-of-the-app",
	} {
		os.Setenv(name, value)
		defer os.Unsetenv(name)
	}
	cfg, err := credentials.FromEnvironment()
	if err != nil {
		log.Fatal(err)
	}
	cfg.Capabilities = []string{"cp1"} // and whatever else the program wants
	client, err := entra.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client)
	// Output: entra.Client{https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111 client=22222222-2222-2222-2222-222222222222}
}

func ExampleFromEnvironmentWith() {
	_, err := credentials.FromEnvironmentWith(credentials.EnvironmentConfig{
		Logger:     slog.Default(),
		HTTPClient: &http.Client{Timeout: 20 * time.Second},
	})
	fmt.Println(err)
	// Output: entra: invalid_client: the environment does not configure an app: AZURE_TENANT_ID is not set; AZURE_CLIENT_ID is not set; no credential is set: looked at AZURE_CLIENT_SECRET, AZURE_CLIENT_CERTIFICATE_PATH, AZURE_FEDERATED_TOKEN_FILE, ACTIONS_ID_TOKEN_REQUEST_URL
}
