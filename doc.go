// Package entra acquires access tokens from Microsoft Entra ID and provides them as
// [oauth2.TokenSource] values.
//
// A [Client] is one app registration in one tenant:
//
//	client, err := entra.New(entra.Config{
//		TenantID:   "11111111-1111-1111-1111-111111111111",
//		ClientID:   "22222222-2222-2222-2222-222222222222",
//		Credential: entra.Secret(os.Getenv("AZURE_CLIENT_SECRET")),
//	})
//
// A flow package turns it into a [TokenSource]:
//
//   - clientcreds is for a daemon that calls an API as itself.
//   - managedidentity is for a program in Azure that calls an API as its own identity, without a Client.
//   - obo is for an API that calls the next API for its caller.
//   - authcode is for a web app that signs users in and calls APIs for them. Package signin
//     adds handlers and sessions.
//
// For example:
//
//	graph := clientcreds.TokenSource(client, "https://graph.microsoft.com/.default").HTTPClient()
//	graph.Timeout = 30 * time.Second // a client of net/http has none by itself
//	resp, err := graph.Get("https://graph.microsoft.com/v1.0/users")
//
// Package verify validates the tokens that an API receives. Package entratest is a fake
// Entra that runs in the process of a test.
//
// # Sources and the cache
//
// A TokenSource is cheap to create and shares its token with all sources of the same
// grant. Keep one, or create one for each request. All tokens are stored in one cache. It
// is bounded, sends one request however many callers wait, and refreshes tokens in the
// background well before they expire. While a token is in regular use, no caller waits for the
// next one, and an outage of Entra of several minutes goes unnoticed. Package cache
// describes the details.
//
// Use [TokenSource.HTTPClient], [Transport], or an [oauth2.Transport] that contains the
// source. Do not use [oauth2.NewClient] or [oauth2.ReuseTokenSource]: they keep a token
// until ten seconds before its expiry and so prevent the early refresh.
//
// # Errors
//
// Failures are [*Error] values with Entra's own codes:
//
//	var e *entra.Error
//	switch {
//	case errors.As(err, &e) && e.InteractionRequired():
//		// The user must sign in again, consent, or satisfy a policy (e.Claims).
//	case errors.As(err, &e) && e.Temporary():
//		// Retry later, after e.RetryAfter.
//	}
//
// A brief failure is retried up to twice before a waiting caller gets it.
//
// If a caller's own context ends first, the error wraps the context's error. No error, log
// record or printed value contains a secret or a token.
//
// Entra's descriptions may contain names of users, and the text of an error repeats them.
// So does the text of the [*url.Error] that an [http.Client] returns. To keep them out of
// logs, pass the *Error that errors.As finds to log/slog, not err:
//
//	if errors.As(err, &e) {
//		slog.Error("the call of the API failed", "error", e) // e.LogValue omits the description
//	}
//
// # Credential rotation
//
// Secrets expire, certificates are renewed, and keys are lost. A [CredentialFunc] calls the
// program for the current credential before each request to Entra, and again if Entra
// rejects it. A [CredentialChain] tries several credentials. The request is then sent again
// at once. No caller notices the change, and neither tokens nor signed-in users are lost:
//
//	Credential: entra.CredentialChain(
//		entra.CredentialFunc(func(ctx context.Context, rejected entra.Credential) (entra.Credential, error) {
//			reload := !rejected.Equal(entra.Credential{}) // Entra has just rejected the cached secret
//			secret, err := vault.Secret(ctx, reload)
//			return entra.Secret(secret), err
//		}),
//		entra.Certificate(certs, key, nil), // if the secret is rejected or the vault fails
//	)
//
// Package credentials loads credentials from certificate and secret files, which it reads
// again when they change, from workload identities, and from the variables of Azure's
// tools. A key that cannot leave its hardware module is a [crypto.Signer] in [Certificate].
//
// # Several tenants
//
// [Client.WithTenant] returns a client for the same app in another tenant. It shares the
// cache and the connections. A token is only ever served for the tenant that issued it.
//
// # Clouds
//
// [Config.Cloud] selects the authority: the public cloud by default, a constant for another
// of Microsoft's clouds, or the host of a private cloud or an external tenant (External
// ID). [Config.Region] selects a region of Azure for the app's own tokens.
//
// # Claims challenges
//
// With [CapabilityCAE] tokens live for up to 28 hours, and a resource may reject one at any
// time with a claims challenge. [Transport] handles challenges where it can. Otherwise
// [ClaimsChallenge] parses one and [TokenSource.WithClaims] acquires a token that satisfies
// it.
//
// # Other libraries
//
// Module github.com/entratoken/entra/adapters/azcore makes a client an azcore.TokenCredential for the
// clients of the Azure SDK. [TokenSource.AccessToken] fits callbacks for a password or a
// token, [TokenSource.PerRPC] gRPC, and [TokenSource.Next] connections that must
// authenticate again before their token expires.
//
// # Other flows
//
// A flow is a [Grant]: a name, a subject, scopes, and a function that sends the token
// request with the methods of [TokenRequest]. [Client.TokenSource] adds the cache.
// [Client.Exchange] is for single-use grants such as authorization codes. The flow packages
// use nothing else.
package entra
