// Package authcode signs users in to a web app and gets tokens with which the app calls
// APIs for them: the authorization code flow with PKCE and OpenID Connect. The tokens
// have scp, and no more rights than the user has.
//
// A sign-in takes two requests of the browser. The first sends it to Entra, and the app
// keeps the [Login] until the browser is back:
//
//	flow, err := authcode.New(client, authcode.Config{
//		RedirectURL: "https://app.example/callback",
//		Scopes:      []string{"api://orders/Orders.Read"},
//	})
//	...
//	login, err := flow.Begin(ctx, authcode.Request{ReturnTo: "/orders"})
//	// keep login for this browser, then
//	http.Redirect(w, r, login.URL(), http.StatusSeeOther)
//
// The second, to RedirectURL, brings the answer:
//
//	signIn, err := flow.Exchange(ctx, login, r.URL.Query()) // r.PostForm with form_post
//	// keep signIn.Account in the browser's session, then
//	http.Redirect(w, r, signIn.ReturnTo, http.StatusSeeOther)
//
// From then on [Flow.TokenSource] gives tokens for the account, of any API that the user
// consented to. They are refreshed with a refresh token, which never leaves the client's
// cache. When that is gone or no longer good, the error is an [entra.Error] whose
// InteractionRequired is true: begin a new sign-in, with its Claims if it has any.
//
// Package signin does for a net/http app all that follows; use this one alone where the app
// has sessions and handlers of its own.
//
// # What the app must do
//
// A Login belongs to one browser: keep it on the server under that browser's session, or
// in a cookie that is encrypted and authenticated, HttpOnly, and Secure. What comes from
// another browser must not find it, or a stranger could sign somebody in to his own
// account (RFC 6749, section 10.12). Delete it when the answer comes, before Exchange: it
// is good for one. Exchange remembers which were answered, but only in its own process;
// between several, Entra takes a code but once. With [FormPost] the answer comes as a POST from
// another site, on which browsers send only cookies that are SameSite=None and Secure.
//
// An [Account] holds nothing secret, but whoever can change it acts as somebody else, so
// it is kept as a Login is. Data is kept under the claims' tid and oid ([verify.User]),
// never under a name. Give the session a new ID at every sign-in.
//
// Sources: RFC 6749, section 4.1; RFC 7636; RFC 9700, section 2.1; OpenID Connect Core,
// section 3.1; "Microsoft identity platform and OAuth 2.0 authorization code flow" and
// "OpenID Connect on the Microsoft identity platform".
package authcode
