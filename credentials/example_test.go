package credentials_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/managedidentity"
)

// A secret is rotated while the program runs. The example uses a fake Entra.
func ExampleSecretFile() {
	fake := entratest.NewServer(entratest.Sample()) // in production, leave HTTPClient nil
	path := filepath.Join(os.TempDir(), "entra-example-secret")
	defer os.Remove(path)
	os.WriteFile(path, []byte(fake.App("daemon").Secrets[0]), 0o600)

	secret, err := credentials.SecretFile(path, nil)
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

// The certificate "orders" stays in Key Vault, which signs the assertions. The program authenticates to the vault as its
// managed identity.
func ExampleKeyVaultCertificate() {
	identity, err := managedidentity.New(managedidentity.Config{})
	if err != nil {
		log.Fatal(err)
	}
	certificate, err := credentials.KeyVaultCertificate(
		identity.TokenSource("https://vault.azure.net/.default"), "https://contoso.vault.azure.net", "orders", nil)
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
	fmt.Println(client)
	// Output: entra.Client{https://login.microsoftonline.com/11111111-1111-1111-1111-111111111111 client=22222222-2222-2222-2222-222222222222}
}

func ExampleSecretFile_logger() {
	_, err := credentials.SecretFile("/run/secrets/none", &credentials.SecretFileOptions{Logger: slog.Default()})
	fmt.Println(err)
	// Output: entra: invalid_client: cannot read the client secret file "/run/secrets/none": no such file or directory
}

// A TLS secret of Kubernetes, as cert-manager renews it.
func ExampleCertificateFile() {
	certificate, err := credentials.CertificateFile("/var/run/orders/tls.crt",
		&credentials.CertificateFileOptions{KeyPath: "/var/run/orders/tls.key",
			Logger: slog.Default(),
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
	_, err := credentials.CertificateFile("/etc/orders/app.pfx",
		&credentials.CertificateFileOptions{Password: func(context.Context) (string, error) {
			return os.Getenv("ORDERS_PFX_PASSWORD"), nil
		},
		})
	fmt.Println(err)
	// Output: entra: invalid_client: cannot read the certificate file "/etc/orders/app.pfx": no such file or directory
}

// A secret in a vault. The callback is called at most every five minutes, and at once when
// Entra rejects the secret.
func ExampleSecretFunc() {
	fake := entratest.NewServer(entratest.Sample()) // in production, leave HTTPClient nil
	vault := func(context.Context) (string, error) {
		fmt.Println("reading the vault")
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
	// reading the vault
	// 2 tokens
}

// Your own token service, whose issuer the app registration trusts.
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
		return "", fmt.Errorf("the token service returned %s", resp.Status)
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

// In a pod with Azure Workload Identity.
func ExampleWorkloadIdentity() {
	identity, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{Logger: slog.Default()})
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
	job, err := credentials.GitHubActions(nil)
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

// On a virtual machine or in App Service, with a user-assigned identity that the app
// registration trusts.
func ExampleManagedIdentity() {
	identity, err := credentials.ManagedIdentity(&credentials.ManagedIdentityOptions{
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

// The operator chooses the credential. A program usually passes nil.
func ExampleFromEnvironment() {
	cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{Env: []string{
		"AZURE_TENANT_ID=11111111-1111-1111-1111-111111111111",
		"AZURE_CLIENT_ID=22222222-2222-2222-2222-222222222222",
		"AZURE_CLIENT_SECRET=the-secret-of-the-app",
	}})
	if err != nil {
		log.Fatal(err)
	}
	cfg.Capabilities = []string{"cp1"} // set other fields as needed
	client, err := entra.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	info := cfg.Credential.Info()
	fmt.Println(client.TenantID(), client.ClientID())
	fmt.Println(info.Kind, "in", info.Variable)
	// Output:
	// 11111111-1111-1111-1111-111111111111 22222222-2222-2222-2222-222222222222
	// client secret in AZURE_CLIENT_SECRET
}

func ExampleFromEnvironment_error() {
	_, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{
		Env:        []string{"AZURE_TENANT_ID=contoso.com", "AZURE_CLIENTID=...", "AZURE_CLIENT_SECRET=..."},
		Logger:     slog.Default(),
		HTTPClient: &http.Client{Timeout: 20 * time.Second},
	})
	var e *entra.Error
	if errors.As(err, &e) {
		fmt.Println(strings.ReplaceAll(e.Description, "; ", "\n"))
	}
	// Output:
	// the environment does not configure an app: AZURE_CLIENT_ID is not set
	// AZURE_CLIENTID is set (did you mean AZURE_CLIENT_ID?)
}

// A program in Go shares the settings of one in .NET. An environment variable overrides the secret.
func ExampleFromFile() {
	path := filepath.Join(os.TempDir(), "entra-example-appsettings.json")
	defer os.Remove(path)
	os.WriteFile(path, []byte(`{
	  "Logging": { "LogLevel": { "Default": "Information" } },
	  "AzureAd": {
	    "Instance": "https://login.microsoftonline.com/",
	    "TenantId": "11111111-1111-1111-1111-111111111111",
	    "ClientId": "22222222-2222-2222-2222-222222222222",
	    "ClientCredentials": [
	      { "SourceType": "ClientSecret", "ClientSecret": "set by AzureAd__ClientCredentials__0__ClientSecret" },
	    ],
	  },
	}`), 0o600)

	cfg, err := credentials.FromFile(path, "AzureAd", nil)
	if err != nil {
		log.Fatal(err)
	}
	client, err := entra.New(cfg)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(client.ClientID(), "in", client.TenantID())
	// Output: 22222222-2222-2222-2222-222222222222 in 11111111-1111-1111-1111-111111111111
}

// In a job of Azure Pipelines, the variables of the task are enough.
func ExampleAzurePipelines() {
	_, err := credentials.AzurePipelines(nil)
	fmt.Println(err) // outside of a job
	// Output: entra: invalid_client: SYSTEM_OIDCREQUESTURI is not set; Azure Pipelines sets it in jobs
}
