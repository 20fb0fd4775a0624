// Package authcode signs users in to a web app and acquires the access tokens with which
// the app calls APIs on their behalf. It implements the OAuth 2.0 authorization code flow
// with PKCE and OpenID Connect. The tokens are delegated: they carry scp, and the app can do
// no more with them than the user can.
//
// A sign-in takes two requests of the browser. In the first, the app begins a [Login],
// stores it for this browser and redirects the browser to Entra:
//
//	flow, err := authcode.New(client, authcode.Config{
//		RedirectURL: "https://app.example/callback",
//		Scopes:      []string{"api://orders/Orders.Read"},
//	})
//	...
//	login, err := flow.Begin(ctx, authcode.Request{ReturnTo: "/orders"})
//	// store login for this browser, then
//	http.Redirect(w, r, login.URL(), http.StatusSeeOther)
//
// Entra then redirects the browser to RedirectURL with the authorization response:
//
//	signIn, err := flow.Exchange(ctx, login, r.URL.Query()) // or r.PostForm, after r.ParseForm
//	// store signIn.Account in the browser's session, then
//	http.Redirect(w, r, signIn.ReturnTo, http.StatusSeeOther)
//
// From then on, [Flow.TokenSource] returns tokens for the account, for any API that the
// user has consented to. They are refreshed with a refresh token, which never leaves the
// client's cache. If the refresh token is missing, expired or revoked, the error is an
// [entra.Error] whose InteractionRequired method reports true. Begin a new login then, with
// the error's Claims if it has any. The same holds if Entra granted fewer scopes than
// requested: the sign-in succeeds, and a source for scopes that are not all granted fails with
// the code "consent_required". A cache in memory is lost with its process, so users
// also sign in again after a restart. Entra often completes that without a prompt.
//
// Package signin adds handlers, cookies and sessions for net/http apps. Use authcode
// directly in apps that have handlers and sessions of their own.
//
// # Responsibilities of the app
//
// A Login belongs to one browser. Store it on the server under that browser's session, or
// in an encrypted and authenticated cookie that is HttpOnly and Secure. Other browsers must
// not be able to use it. Otherwise an attacker could sign a user in to the attacker's account
// (RFC 6749, section 10.12). Delete the Login before the call of Exchange, because it is
// valid once. Exchange also rejects a Login that its own process has seen before. Across
// processes, Entra accepts each code only once.
//
// By default the response is a GET that another site started. Browsers do not send a cookie
// with SameSite=Strict with it, so use Lax. With [ResponseModeFormPost] the response is a
// cross-site POST. Browsers then send only cookies with SameSite=None and Secure.
//
// An [Account] is not secret, but it decides whose tokens the app uses. Protect it from
// changes as you protect a Login. Store a user's data under the claims tid and oid
// ([verify.User]), never under a name. Give the session a new ID at every sign-in.
//
// The protocol is that of RFC 6749, section 4.1, RFC 7636, RFC 9700, section 2.1, and OpenID
// Connect Core, section 3.1. Microsoft documents it in "Microsoft identity platform and OAuth
// 2.0 authorization code flow" and "OpenID Connect on the Microsoft identity platform".
package authcode
