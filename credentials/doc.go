// Package credentials has credentials for apps that come from outside the program and
// change while it runs: certificates and secrets in files, tokens of other issuers, secrets
// in vaults. What changes takes effect without a restart, and without any effect on the
// tokens and users that a client holds.
//
//	certificate, err := credentials.CertificateFile(credentials.CertificateFileConfig{Path: "/etc/orders/app.pem"})
//	client, err := entra.New(entra.Config{TenantID: "...", ClientID: "...", Credential: certificate})
//
// # Which to choose
//
// The best credential is one that nobody has to keep:
//
//   - in Kubernetes: [WorkloadIdentity],
//   - elsewhere in Azure: [ManagedIdentity],
//   - in GitHub Actions: [GitHubActions],
//   - with any other issuer of tokens (another cloud, SPIFFE, your own): [AssertionFunc].
//
// All of these are federated credentials: the app registration says which issuer and
// which subject it trusts, under "Certificates & secrets". Where there is no such issuer,
// a certificate is better than a secret, since its key is never sent:
//
//   - a certificate in files: [CertificateFile],
//   - a key that cannot be exported, in a hardware module or a vault: [entra.CertificateWith],
//   - a client secret in a file: [SecretFile],
//   - a client secret from anywhere else: [SecretFunc].
//
// [FromEnvironment] leaves the choice to those who run the program: it reads the variables
// that Azure's own tools read. [entra.CredentialChain] tries several credentials in order.
//
// # Rotation
//
// Replace a credential in this order, and no request fails:
//
//  1. Register the new certificate, secret or issuer with the app beside the old one.
//  2. Replace the file, or what the callback returns.
//  3. Take the old one off the app registration: at once, if need be. A request that was
//     on its way with the old one is refused by Entra. Then the credential is looked at anew and
//     the request is made once more, with the new one.
//
// Files are looked at whenever a token is requested from Entra, and read if they have
// changed: contents replaced in place, renamed over, or behind a symbolic link that now
// points elsewhere, as in the volumes of Kubernetes. There is nothing to watch and nothing to
// close. A file that is half written, that is gone, or whose certificate does not belong
// to the key leaves the old credential in use, and is read again for the next request;
// give a Logger to hear of it. In Kubernetes mount the volume, not a file of it (subPath),
// which is never updated.
//
// Whether a credential still works is for Entra alone to say. So a certificate that
// expires while it is in use goes on being tried, with a warning in the log; at start,
// however, an expired certificate is an error like any other that is wrong with a file.
//
// # Kubernetes
//
// With Azure Workload Identity in the cluster the pod gets the app's ID, the tenant and a
// token file in its environment, and this is all that a program needs:
//
//	cfg, err := credentials.FromEnvironment()
//	client, err := entra.New(cfg)
//
// A certificate of cert-manager is a TLS secret mounted as a volume:
//
//	credentials.CertificateFile(credentials.CertificateFileConfig{
//		Path:    "/var/run/orders/tls.crt",
//		KeyPath: "/var/run/orders/tls.key",
//		Logger:  logger,
//	})
//
// # GitHub Actions
//
// A job with the permission "id-token: write" and the variables AZURE_TENANT_ID and
// AZURE_CLIENT_ID needs nothing else, [FromEnvironment] finds GitHub's token service:
//
//	permissions:
//	  id-token: write
//	env:
//	  AZURE_TENANT_ID: ${{ vars.AZURE_TENANT_ID }}
//	  AZURE_CLIENT_ID: ${{ vars.AZURE_CLIENT_ID }}
//
// # Errors
//
// What is wrong with a file or a variable is an [*entra.Error] with the code
// "invalid_client" that names it and says what to do. No error, log line or printed value
// holds anything of a key, secret, token or password.
package credentials
