package authcode

import "errors"

// The errors that [Flow.Begin] and [Flow.Exchange] detect themselves. An error that Entra
// reports is an [*entra.Error], and an invalid ID token is a [*verify.Error].
//
// The texts of these errors and of a [*verify.Error] repeat nothing that the browser sent.
// An [*entra.Error] of Exchange may: its code, description and claims come from the
// authorization response, which an attacker can forge. They are one line of printable
// characters without the secrets of the login. A page that shows them must escape them, as
// html/template does.
var (
	// ErrReturnTo reports that Request.ReturnTo could lead away from the site.
	ErrReturnTo = errors.New("authcode: ReturnTo is not a path on this site")
	// ErrReturnToTooLong is the [ErrReturnTo] for a path on this site that is too long.
	ErrReturnToTooLong error = returnToTooLong{}
	// ErrNoLogin reports that there is no login to complete. The browser began none with
	// this flow, or it did not send the cookie of the login. Apps should delete a login
	// when they use it, so reloading the callback page also ends here, and the user may
	// be signed in already.
	ErrNoLogin = errors.New("authcode: no login in progress in this browser; begin a new login")
	// ErrExpired reports that the user took longer than Config.LoginTimeout.
	ErrExpired = errors.New("authcode: login expired; begin a new login")
	// ErrParameters reports that the parameters are not a valid authorization response.
	ErrParameters = errors.New("authcode: authorization response lacks a parameter, repeats one or " +
		"names another issuer; begin a new login")
	// ErrState reports that the authorization response belongs to another login.
	ErrState = errors.New("authcode: state of the authorization response belongs to another login; begin a new login")
	// ErrUsed reports that this process has already received the response to the login.
	// Often the user reloaded the callback page or went back to it, and is signed in.
	ErrUsed = errors.New("authcode: login was already used; begin a new login")
	// ErrMaxAge reports that the parameter max_age was sent, but the ID token does not say that the
	// user has authenticated since. The browser may have removed the parameter.
	ErrMaxAge = errors.New("authcode: user authenticated longer ago than max_age allows; begin a new login")
	// ErrAccount reports that the token response does not identify one account: the ID
	// token and client_info contradict each other, or one of them lacks the user's IDs.
	ErrAccount = errors.New("authcode: token response does not identify one account")
)

type returnToTooLong struct{}

func (returnToTooLong) Error() string {
	return "authcode: ReturnTo is too long; it may have about 2,000 bytes"
}

func (returnToTooLong) Is(target error) bool { return target == ErrReturnTo }
