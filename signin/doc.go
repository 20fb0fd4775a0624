// Package signin signs users in to a web app, keeps them signed in, and gets tokens with
// which the app calls APIs for them. It is plain net/http, on top of [authcode.Flow], and
// so for every router.
//
//	flow, err := authcode.New(client, authcode.Config{
//		RedirectURL: "https://app.example/callback",
//		Scopes:      []string{"api://orders/Orders.Read"},
//	})
//	...
//	site, err := signin.New(flow, signin.Config{Logger: logger})
//	...
//	mux := http.NewServeMux()
//	mux.HandleFunc("GET /{$}", home)                     // for everybody
//	mux.Handle("/orders", site.RequireSignIn(orders))    // for users
//	server := &http.Server{Handler: site.Handler(mux)}
//
// [Site.Handler] goes around the whole app. It answers /login, the callback, /logout and
// /logout/frontchannel; the rest is the app's:
//
//	<a href="/login?return_to=/orders">Sign in</a>
//	<form method="post" action="/logout"><button>Sign out</button></form>
//
// # Who is signed in
//
// In a handler, [AccountFromContext] says who is signed in, if anybody. The app keeps a
// user's data under the account's TenantID and ObjectID, never under a name.
// [Site.RequireSignIn] lets only users through; it sends a browser to sign in and answers a
// script with 401.
//
// # Calling APIs
//
// [Site.TokenSource] gives tokens for the user, which are cached and refreshed as those of
// every flow. Where only the user can help, [Site.Interact] asks the user, in one line:
//
//	func orders(w http.ResponseWriter, r *http.Request) {
//		token, err := site.TokenSource(r, "api://orders/Orders.Write").TokenContext(r.Context())
//		if site.Interact(w, r, err, "api://orders/Orders.Write") {
//			return // the browser is on its way to Entra, and comes back to this page
//		}
//		...
//
// That is consent which is asked for only when it is needed, a second factor that a policy
// demands, a session that was revoked, and tokens that were lost with a process. For the
// claims challenge of an API, make the error with [Challenge].
//
// # How it is kept
//
// A sign-in under way is kept in a cookie of its own, so that several tabs can sign in at
// once: sealed (AES-256-GCM), with a name that begins with "__Host-", HttpOnly, Secure,
// and with SameSite. It ends with the flow's LoginTimeout and is good once: whoever has
// another browser cannot finish the sign-in, and whoever has this one not twice.
//
// A session is data in a [Store] and a random ID, which is all that the browser has. Every
// sign-in makes a new ID. A session ends with IdleTimeout and with Lifetime, when the user
// signs out here, and when Entra says through the browser that the user has signed out
// elsewhere (front-channel logout). Tokens are not in it: they are in the memory of the
// process, and where they are missing, [Site.Interact] gets new ones.
//
// Signing out ends the session, forgets its tokens in this process, and goes to Entra, which
// ends its session, too, and comes back. Where the user is signed in with another browser,
// the session there goes on, with tokens of its own.
//
// Several processes need one Store and the same Keys. If the app calls APIs, they also need
// a load balancer that sends one browser to one process, where the tokens of its sign-in
// are. See docs/webapps.md in the repository, also on proxies and on the headers of the
// app's own pages.
//
// # What the app still does
//
// Change nothing on a GET: other requests are refused if they come from another site, and
// GETs are not; so a WebSocket's handler compares Origin itself. Pages for everybody that
// say who is signed in are not to be kept by shared caches: give them Cache-Control:
// no-store. Sessions of the app's own are to be emptied when another user signs in, and at
// a sign-out; docs/webapps.md shows how. Decide what a user may do: signing in says who it
// is; [Site.RequireRole] asks for the app roles that an administrator has assigned. Serve it over https (http is for localhost) and under one host name, that of
// the RedirectURL: a cookie of another does not come along to the callback.
//
// To try handlers with net/http/httptest, send Accept: text/html, as browsers do: what
// does not want a page gets 401 rather than a redirect.
//
// # Refusals
//
// What stands in the way of a sign-in becomes a [Problem]: a page for the person, by
// Config.Page or built in, and a line for the operator in Config.Logger, with nothing
// secret in either.
//
// Sources: OAuth 2.0 Security Best Current Practice (RFC 9700); RFC 6265bis; OpenID Connect
// RP-Initiated Logout and Front-Channel Logout; OWASP's cheat sheets on sessions and on
// cross-site request forgery.
package signin
