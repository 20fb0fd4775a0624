// Package entratest is a fake Microsoft Entra ID for tests. One [http.Handler]
// serves any number of tenants, apps and users, issues signed tokens, and rejects
// invalid requests with the error codes of Entra.
//
// # Creating a server
//
// A [Config] describes tenants, app registrations and users. [Sample] returns a
// Config that is ready to use. [NewServer] creates the server:
//
//	s := entratest.NewServer(entratest.Sample())
//
// A Server does not listen or start a goroutine before [Server.StartTLS] is
// called. It does not need to be closed, and each test can have its own. It works
// inside a testing/synctest bubble, where hours pass in an instant.
//
// # Sending requests to it
//
// [Server.Client] returns an [http.Client] whose requests the server handles in
// process. It accepts requests to login.microsoftonline.com and Microsoft's other
// sign-in hosts. Code that accepts an http.Client therefore needs no other
// change for a test. With package entra:
//
//	client, err := entra.New(entra.Config{
//		TenantID:   entratest.SampleTenant,
//		ClientID:   s.App("daemon").ClientID,
//		Credential: entra.Secret("daemon-secret"),
//		HTTPClient: s.Client(),
//	})
//
// With MSAL:
//
//	app, err := confidential.New("https://login.microsoftonline.com/"+tenantID, clientID, cred,
//		confidential.WithHTTPClient(s.Client()))
//
// [Server.StartTLS] listens on a loopback port, for libraries that do not accept an
// http.Client. The URL that it returns is the authority. Disable MSAL's instance
// discovery for it, with WithInstanceDiscovery(false). For another process, serve
// [Server.Console] with a certificate of [LocalCertificate], whose CA can be written to a
// file. The command in cmd/entratest does so for tests in other languages.
//
// # Testing a daemon
//
// An app authenticates with a secret, a certificate or a federated token. It gets
// the roles that its Permissions grant. [Server.Requests] returns its requests,
// without secrets, and [Server.Count] counts them:
//
//	if n := s.Count(entratest.Match{GrantType: "client_credentials"}); n != 1 {
//		t.Errorf("got %d token requests, want 1", n)
//	}
//
// # Testing an API
//
// [Server.Mint] returns a token from any client for any user. [MintOptions] can
// change and remove claims, let the token expire, or forge it. A minted token is
// valid except for the changes in MintOptions. The API fetches the signing keys
// through [Server.Client].
//
// # Testing a web app
//
// [Server.SignIn] simulates the user and the browser. It takes the URL to which
// the app redirects the user, and returns the URL to which Entra redirects the
// browser, with a code and state or with an error. With [Server.StartTLS], a real
// browser shows pages to sign in, choose an account and consent.
//
// [Server.SignInDevice] does the same for the device code flow.
//
// A single-page app has SPARedirectURIs. Its scripts send requests to a listener, which
// also serves the UserInfo endpoint and a part of Microsoft Graph.
//
// # Helpers for tests
//
// [NewTest] creates a server that belongs to a test. If the test fails, its output lists the requests to the
// server. The methods of a [Test] fail the test instead of returning an error:
//
//	s := entratest.NewTest(t, entratest.Sample())
//	browser := s.Browser("alice@contoso.onmicrosoft.com", entratest.Hosts{"webapp.contoso.example": app})
//	page := browser.Get("https://webapp.contoso.example/")
//
// A [Browser] stores cookies, follows redirects and fills in the sign-in pages as a user. [Hosts] connects to
// apps and APIs in the process. [Test.Certificate] and [Test.ServiceAccountToken] create
// credentials of an app.
//
// # Testing failures
//
//   - [Server.Inject] delays, throttles, drops or replaces responses: all of them,
//     or the nth of a tenant, client or grant type.
//   - [Server.RevokeSessions] and [Server.RevokeToken] revoke tokens.
//   - [Server.AnnounceKey], [Server.RotateKeys] and [Server.RetireKeys] rotate
//     signing keys.
//   - [Server.UpdateCredentials] replaces the secrets and certificates of an app.
//   - RequireMFA of an [App] protects a resource with a Conditional Access policy.
//   - Lifetime and RefreshIn of the Config set the lifetime of tokens.
//
// # Looking at requests
//
// [Server.Console] serves a page that shows each sign-in as a sequence diagram, with the
// parameters, the claims of tokens, and the fix for each error. Open the URL that
// [Server.StartTLS] returned in a browser.
//
// # Fidelity
//
// FIDELITY.md in this directory compares the server with Entra. Each row
// names a behavior, how faithful it is, its source and a test.
package entratest
