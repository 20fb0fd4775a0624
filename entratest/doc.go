// Package entratest is a fake Microsoft Entra ID for tests: a whole estate of
// tenants, apps and users behind one [http.Handler] that issues signed tokens
// and refuses what Entra refuses.
//
// # An estate
//
// A [Config] describes tenants, the apps registered in them and their users;
// [Sample] is one ready to use. [NewServer] runs it:
//
//	s := entratest.NewServer(entratest.Sample())
//
// Nothing listens and no goroutine runs until a test asks for it, so a Server
// needs no closing, is cheap enough for every test to have its own, and works
// inside a testing/synctest bubble, where hours pass at once.
//
// # Reaching it
//
// [Server.Client] is an [http.Client] that the server answers in process. It
// answers for login.microsoftonline.com and Microsoft's other sign-in hosts and
// no other, so code under test that takes an http.Client runs as in production,
// authority and all:
//
//	app, err := confidential.New("https://login.microsoftonline.com/"+tenantID, clientID, cred,
//		confidential.WithHTTPClient(s.Client()))
//
// [Server.StartTLS] listens on a loopback port for other processes, and for
// libraries that take no client. The address it returns is then the authority,
// which MSAL needs to be told not to look up (WithInstanceDiscovery(false)).
// The command in cmd/entratest does the same for tests in other languages.
//
// # Testing a daemon
//
// The app of a Config proves itself with a secret, a certificate or a federated
// token, and gets the roles that its Permissions grant. What it asked for is in
// [Server.Requests], without secrets, and [Server.Count] counts:
//
//	if n := s.Count(entratest.Match{GrantType: "client_credentials"}); n != 1 { ... }
//
// # Testing an API
//
// [Server.Mint] makes the token a test wants: from any client, for any user,
// with claims changed or missing, expired, or forged. Signed by the key that
// the server publishes, it is valid in all that the test leaves alone. The API
// finds the keys through [Server.Client], where it would find Entra's.
//
// # Testing a web app
//
// [Server.SignIn] plays the person and the browser: it takes the URL that the
// app would redirect to and returns the one that Entra would redirect back to,
// with code and state or with an error. Against [Server.StartTLS], a real
// browser sees pages to sign in, to pick an account and to consent.
//
// # Testing what goes wrong
//
// [Server.Inject] makes requests slow, throttled, broken or answered by a
// proxy: all, or the nth of one tenant, app or grant. [Server.RevokeSessions] and
// [Server.RevokeToken] end sessions, [Server.AnnounceKey], [Server.RotateKeys]
// and [Server.RetireKeys] roll keys over, [Server.UpdateCredentials] replaces an
// app's secrets and certificates, RequireMFA puts a resource behind a
// Conditional Access policy, and [Config] sets how long tokens live.
//
// FIDELITY.md, beside this file, says what is as in Entra, what is simpler, and
// what is missing.
package entratest
