// Package entra acquires access tokens from Microsoft Entra ID and hands them out as
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
// A flow makes a [TokenSource] of it. There is one package for each:
//
//   - clientcreds: a daemon that calls an API as itself,
//   - obo: an API that calls the next API for its caller,
//   - authcode: a web app that signs users in and calls APIs for them; package signin
//     adds its handlers and sessions.
//
// For instance:
//
//	source := clientcreds.TokenSource(client, "https://graph.microsoft.com/.default")
//	resp, err := source.HTTPClient().Get("https://graph.microsoft.com/v1.0/users")
//
// Package verify is the other side: it validates the tokens that an API receives.
// Package entratest is a fake Entra to test all of this against, in-process.
//
// # Sources and the cache
//
// A source is cheap to make and shares its token with every other source of the same
// grant. Keep one, or make one for each request, as is convenient. All tokens are held
// in one cache, which is bounded, makes one request however many callers wait, and
// refreshes a token in the background well before it ends: once a token is held, no
// caller waits for the next, and an outage of Entra of some minutes is not seen at all.
// Package cache says how.
//
// Use [TokenSource.HTTPClient], [Transport], or an [oauth2.Transport] with the source in
// it. Do not use [oauth2.NewClient] or [oauth2.ReuseTokenSource]: they keep a token
// until ten seconds before its end, so that it is never refreshed early.
//
// # Errors
//
// What goes wrong is an [*Error], with Entra's own codes in it:
//
//	var e *entra.Error
//	switch {
//	case errors.As(err, &e) && e.InteractionRequired():
//		// only the user can help: sign in, consent, a second factor (e.Claims)
//	case errors.As(err, &e) && e.Temporary():
//		// try again later, after e.RetryAfter
//	}
//
// A caller whose own context ends gets an error that wraps that context's. No error, log line or
// printed value contains a secret or a token.
//
// # Credentials that change
//
// Secrets end, certificates are renewed, and keys are lost. A [CredentialFunc] credential asks
// the program for what is current before each request to Entra, and once more when Entra
// refuses that; [CredentialChain] goes on to the next of several. The request is then made again
// at once, so that no caller sees the change, and neither tokens nor signed-in users are
// lost by it:
//
//	Credential: entra.FirstOf(
//		entra.Reloading(func(ctx context.Context, refused entra.Credential) (entra.Credential, error) {
//			anew := !refused.Equal(entra.Credential{}) // Entra has just refused the one that is held
//			secret, err := vault.Secret(ctx, anew)
//			return entra.Secret(secret), err
//		}),
//		entra.Certificate(certs, key, nil), // where that is refused or not to be had
//	)
//
// Package credentials has them ready-made: certificate and secret files that are read
// again when they change, workload identities, the variables of Azure's tools. A key that
// cannot leave its hardware module is a [crypto.Signer] in [Certificate].
//
// # Several tenants
//
// [Client.WithTenant] gives the same app in another tenant, on the same cache and
// connections. A token is only ever served for the tenant it was acquired in.
//
// # Clouds
//
// [Config.Cloud] is the authority: nothing for the public cloud, a constant for another of
// Microsoft's, or a host, of a private cloud or of an external tenant (External ID).
// [Config.Region] gets the app's own tokens in a region of Azure.
//
// # Claims challenges
//
// With the capability "cp1" (see [Config]) tokens live for up to 28 hours and a
// resource may refuse one at any moment with a claims challenge. [Transport] answers it
// by itself where it can; otherwise [ClaimsChallenge] reads it and
// [TokenSource.WithClaims] gets the token that satisfies it.
//
// # With the Azure SDK
//
// A source becomes an azcore.TokenCredential in a few lines, for the Azure SDK's own
// clients:
//
//	type credential struct{ client *entra.Client }
//
//	func (c credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
//		source := clientcreds.TokenSource(c.client, o.Scopes[0]).WithClaims(o.Claims)
//		t, err := source.TokenContext(ctx)
//		if err != nil {
//			return azcore.AccessToken{}, err
//		}
//		return azcore.AccessToken{Token: t.AccessToken, ExpiresOn: t.Expiry}, nil
//	}
//
// # Other flows
//
// A flow is a [Grant]: a name, a subject and a function that asks for a token through
// an MSAL client. [Client.TokenSource] puts the same cache under it; [Client.Redeem] is
// for grants that are good once. The flow packages use nothing else.
package entra
