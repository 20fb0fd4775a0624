package authcode

import "errors"

// What [Flow.Begin] and [Flow.Exchange] refuse by themselves. What Entra refuses is an
// [*entra.Error], what is wrong with an ID token a [*verify.Error].
//
// These and a [*verify.Error] say nothing that the browser sent. An [*entra.Error] of
// Exchange does: code, description and claims of an error answer came through the
// browser, and anybody may have written them. They are one line of printable characters,
// without what is secret of the login; a page that shows them must still escape them, as
// html/template does.
var (
	// ErrReturnTo says that Request.ReturnTo could lead away from the site.
	ErrReturnTo = errors.New("authcode: the address to return to is not a plain path on this site")
	// ErrNoLogin says that there is no login to finish: the browser began none with
	// this flow, or did not send the cookie under which it is kept. Where the app
	// takes its logins out when it uses them, as it should, a callback that is loaded
	// again ends here too, and the user may well be signed in.
	ErrNoLogin = errors.New("authcode: there is no login for this browser to finish; begin a new one")
	// ErrExpired says that the user took longer than Config.LoginTimeout.
	ErrExpired = errors.New("authcode: the login took too long; begin a new one")
	// ErrParameters says that the answer is none that Entra gives.
	ErrParameters = errors.New("authcode: the answer lacks a parameter, repeats one or names another issuer; begin a new login")
	// ErrState says that the answer belongs to another login.
	ErrState = errors.New("authcode: the answer belongs to another login (state); begin a new one")
	// ErrUsed says that the login was answered before, in this process: often the
	// user went back to the callback, or loaded it again, and is signed in.
	ErrUsed = errors.New("authcode: the login was answered before; begin a new one")
	// ErrAccount says that Entra's answer contradicts itself about who signed in.
	ErrAccount = errors.New("authcode: the answer does not say clearly which account signed in")
)
