// Package credentials provides credentials of apps that come from outside the program and
// may change while it runs: certificates and secrets in files or vaults, and tokens
// of other issuers. Changes take effect without a restart. Cached tokens and
// signed-in users are not affected.
//
//	certificate, err := credentials.CertificateFile("/etc/orders/app.pem", nil)
//	client, err := entra.New(entra.Config{TenantID: "...", ClientID: "...", Credential: certificate})
//
// # Which credential to use
//
// The best credential is one that you need not store:
//
//   - in Kubernetes: [WorkloadIdentity],
//   - elsewhere in Azure: [ManagedIdentity],
//   - in GitHub Actions: [GitHubActions],
//   - in Azure Pipelines: [AzurePipelines],
//   - with any other token issuer (another cloud, SPIFFE, your own): [AssertionFunc].
//
// All of these are federated credentials. The app registration lists the issuer and the
// subject that it trusts under "Certificates & secrets". Without such an issuer, prefer a
// certificate to a secret, because the private key is never sent:
//
//   - a certificate in files: [CertificateFile],
//   - a certificate in Azure Key Vault: [KeyVaultCertificate],
//   - a key that cannot be exported, in a hardware module: [entra.Certificate],
//   - a client secret in a file: [SecretFile],
//   - a client secret from anywhere else: [SecretFunc].
//
// On a developer's machine, use a secret or certificate of an app registration for
// development. The account of "az login" is a user, not an app; package devlogin acquires its
// tokens.
//
// [FromEnvironment] leaves the choice to the operator. It reads the environment variables of
// Azure's own tools. [FromFile] reads the JSON settings of a program that uses
// Microsoft.Identity.Web. [entra.CredentialChain] tries several credentials in order.
//
// # Rotation
//
// To replace a credential without a failed request:
//
//  1. Add the new certificate, secret or issuer to the app registration.
//  2. Replace the file, or the value that the callback returns.
//  3. Remove the old one from the app registration. You need not wait. If Entra
//     rejects a request that was in flight with the old credential, the credential is
//     reloaded and the request is retried with the new one.
//
// Files are checked whenever a token is requested from Entra, and read if they have
// changed. A file may be changed in place, replaced by a rename, or reached through a
// symbolic link that changes, as in Kubernetes volumes. There is nothing to start or close.
// If a file is missing or half written, or if the certificate does not match the key, the
// previous credential stays in use and the files are read again for the next request. Set
// a Logger to see such errors. In Kubernetes, mount the volume and not a single file of it
// (subPath), because Kubernetes does not update the latter.
//
// Only Entra decides whether a credential is still valid. A certificate that expires while
// it is in use is therefore still sent, and Logger gets a warning. At start, an expired
// certificate is an error.
//
// [entra.Credential.Info] returns the kind, the file, the thumbprint and the expiry of the
// credential in use, for health checks and metrics:
//
//	days := time.Until(certificate.Info().NotAfter).Hours() / 24
//
// # Kubernetes
//
// With Azure Workload Identity in the cluster, the pod's environment contains the IDs of
// the app and the tenant, and the path of a token file. This is all that a program needs:
//
//	cfg, err := credentials.FromEnvironment(nil)
//	client, err := entra.New(cfg)
//
// If the cluster uses identity bindings, set EnableAzureProxy in [EnvironmentOptions]. Token
// requests then go through the cluster's proxy.
//
// A certificate of cert-manager is a TLS secret that is mounted as a volume:
//
//	credentials.CertificateFile("/var/run/orders/tls.crt", &credentials.CertificateFileOptions{
//		KeyPath: "/var/run/orders/tls.key",
//		Logger:  logger,
//	})
//
// # GitHub Actions
//
// A job needs the permission "id-token: write" and the variables AZURE_TENANT_ID and
// AZURE_CLIENT_ID. [FromEnvironment] detects GitHub's token service:
//
//	permissions:
//	  id-token: write
//	env:
//	  AZURE_TENANT_ID: ${{ vars.AZURE_TENANT_ID }}
//	  AZURE_CLIENT_ID: ${{ vars.AZURE_CLIENT_ID }}
//
// # Azure Pipelines
//
// The task AzureCLI@2 sets the IDs of its service connection, which must use workload identity
// federation. The task must map the token of the job. [FromEnvironment] then detects Azure
// Pipelines:
//
//	env:
//	  SYSTEM_ACCESSTOKEN: $(System.AccessToken)
//
// # Errors
//
// An invalid file or environment variable is reported as an [*entra.Error] with the code
// "invalid_client". Its text names the file or variable and, where possible, a fix. Errors,
// log records and printed values never contain a key, secret, token or password.
//
// Credentials are safe for concurrent use by multiple goroutines, and may be shared by
// several clients.
package credentials
