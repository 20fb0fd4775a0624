// Package signin signs users in to a web app, keeps them signed in, and acquires the tokens with which the app
// calls APIs for them. It is net/http middleware on top of [authcode.Flow] and works with every router.
//
//	flow, err := authcode.New(client, authcode.Config{
//		RedirectURL: "https://app.example/callback",
//		Scopes:      []string{"api://orders/Orders.Read"},
//	})
//	...
//	site, err := signin.New(flow, signin.Config{Logger: logger})
//	...
//	mux := http.NewServeMux()
//	mux.HandleFunc("GET /{$}", home)                                    // public
//	mux.Handle("/orders", site.RequireSignIn(http.HandlerFunc(orders))) // for signed-in users
//	server := &http.Server{Handler: site.Handler(mux)}
//
// [Site.Handler] wraps the whole app. It serves /login, the callback, /logout and /logout/frontchannel, and
// passes all other requests to the app. Pages link to the first and post to the third:
//
//	<a href="/login?return_to=/orders">Sign in</a>
//	<form method="post" action="/logout"><button>Sign out</button></form>
//
// # The current user
//
// In a handler, [AccountFromContext] returns the [authcode.Account] of the signed-in user. Store a user's data under
// the account's TenantID and ObjectID, never under a name or an address. [ClaimsFromContext] returns the claims of the
// ID token, if Config.KeepClaims is set.
//
// [Site.RequireSignIn] admits only signed-in users. It redirects page loads to the sign-in and returns 401 to scripts.
//
// [Site.RequireRole] admits users with an app role, and [Site.RequireAuthContext] demands a step-up, such as a
// second factor. Everything else a user may do is for the app to decide.
//
// Config.OnSignIn is called after each sign-in. It can store a new user or reject one. [Site.EndSessions] ends all
// sessions of a user, for example of one whose account was closed.
//
// # Calling APIs
//
// [Site.TokenSource] returns a source of tokens for the user. Tokens are cached and refreshed. If the user must do
// something first, such as consent, [Site.Interact] redirects the browser to Entra and back to the same page:
//
//	func orders(w http.ResponseWriter, r *http.Request) {
//		token, err := site.TokenSource(r, "api://orders/Orders.Write").TokenContext(r.Context())
//		if site.Interact(w, r, err, "api://orders/Orders.Write") {
//			return // the browser goes to Entra and comes back to this page
//		}
//		...
//
// This one call covers consent, a second factor that a policy demands, a revoked session, and tokens that were lost
// when a process restarted. For the claims challenge of an API, create the error with [Challenge].
//
// A redirect would lose a posted form. In response to one, Interact shows a page that says that nothing was saved, with
// a link through the sign-in back to the form. Call Interact before the request has changed anything.
//
// # Logins and sessions
//
// A login in progress travels in the state parameter, encrypted (AES-256-GCM). A small cookie, whose name starts with
// "__Host-", binds it to the browser. A login expires after the flow's LoginTimeout. It can be finished once, and only
// by the browser that started it. Many tabs can sign in at the same time: their cookies stay below 4 KB together,
// however many start at once.
//
// A session is a record in a [Store]. The browser has only its random ID, and every sign-in creates a new one. A
// session expires after IdleTimeout without a request and after Lifetime in any case. It also ends when the user
// signs out here, or when Entra reports that the user signed out elsewhere (front-channel logout).
//
// Tokens are not part of the session. They are in the client's cache ([entra.Config].Cache): in the memory of this
// process, and in the store of the cache if it has one. If they are missing, [Site.Interact] acquires new ones.
// Signing out ends the session, removes its tokens, and redirects to Entra, which ends its own session and redirects
// back. Sessions of the same user in other browsers continue.
//
// Several processes need one Store and the same Keys. If the app calls APIs, they also need caches with one store
// (cache.Options.Store). Then any process can serve any request, and a restart costs no redirect. Without a store, the
// load balancer must route each browser to the process that has its tokens. The page docs/webapps.md in the repository
// covers this, proxies, and the headers of the app's own pages.
//
// # Duties of the app
//
//   - Never change anything in response to a GET. Other requests are rejected if they come from another site, but
//     GETs are not. A WebSocket handshake is a GET, so its handler must check Origin.
//   - Public pages that show who is signed in must not be stored by shared caches. Set Cache-Control: no-store.
//   - If the app has sessions of its own, clear them when another user signs in and when the user signs out. See
//     docs/webapps.md.
//   - Serve the site over https and under one host name, the one in RedirectURL. Cookies of another host name do not
//     reach the callback. Plain http works only on localhost.
//
// In tests with net/http/httptest, send Accept: text/html, as browsers do. Without it a request counts as a
// program's, which gets 401 instead of a redirect.
//
// # Failures
//
// A failed sign-in becomes a [Problem]. The user sees a page, built in or written by Config.Page. The operator gets
// one log record in Config.Logger. Neither contains a secret.
//
// Sources: OAuth 2.0 Security Best Current Practice (RFC 9700), RFC 6265bis, OpenID Connect RP-Initiated Logout and
// Front-Channel Logout, and the OWASP cheat sheets on session management and on cross-site request forgery.
package signin
