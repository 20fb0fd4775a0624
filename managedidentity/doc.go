// Package managedidentity acquires tokens for a program's own identity in Azure. The platform issues them, so that the
// program needs neither an app registration nor a credential.
//
//	identity, err := managedidentity.New(managedidentity.Config{})
//	vault := identity.TokenSource("https://vault.azure.net/.default").HTTPClient()
//	vault.Timeout = 30 * time.Second // a client of net/http has none by itself
//	resp, err := vault.Get("https://contoso.vault.azure.net/secrets/orders?api-version=7.4")
//
// Create the [Identity] once, when the program starts. Neither New nor TokenSource sends a request. The first call of
// Token does, and all callers share it. Later calls return the cached token, which is refreshed in the background.
//
// # Identities
//
// A zero [Config] selects the system-assigned identity. ClientID, ObjectID or ResourceID selects a user-assigned one.
// The identity needs a role in the service that it calls, or an app role of the API ("Assign a managed identity access
// to an application role" in Microsoft's documentation).
//
// # Platforms
//
// MSAL detects the platform from the environment. [Identity.Source] returns it.
//
//   - IMDS: virtual machines, scale sets, and nodes of AKS. It is also used if no other platform is detected.
//   - AppService: App Service, Functions and Container Apps.
//   - ServiceFabric: the cluster's configuration selects the identity, so all IDs must be empty. The certificate of the
//     service must have the thumbprint in the environment.
//   - AzureArc: servers outside of Azure. The program must be able to read the key files of the agent. A token is not
//     used if the agent ignores the selection of a user-assigned identity.
//   - AzureML: of the IDs, only ClientID is supported.
//   - CloudShell: the identity is the user of the shell, so all IDs must be empty.
//
// In Kubernetes, use Azure Workload Identity with package clientcreds instead (credentials.WorkloadIdentity). To act as
// an app registration that trusts the identity, for example in another tenant, use credentials.ManagedIdentity.
//
// # Failures
//
// While callers wait, a request is repeated up to four times if there was no response, or the status was 408, 429 or
// 5xx. The delays double from one second, with jitter. The instance metadata service returns 404 and 410 during
// updates, which take up to 70 seconds, so these are repeated, too. Each error names the identity. Package cache
// describes how failures are cached.
//
// Requests go to the platform directly, never through a proxy, and follow no redirects. Without TLS, they only go to
// addresses of this machine and of private networks.
//
// Tokens stay in the process, even if Config.Cache has a store: the identities of two machines may have the same name
// there. The platform itself caches tokens, so a restart costs little.
//
// MSAL Go does not forward claims challenges to the platform. TokenSource.WithClaims causes one new request, which may
// return a token from the platform's cache.
//
// Sources: "How to use managed identities for Azure resources on an Azure VM to acquire an access token", with its
// retry guidance, and "How to use managed identities for App Service and Azure Functions" in Microsoft's documentation.
package managedidentity
