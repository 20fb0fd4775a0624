package signin

import (
	"errors"
	"log/slog"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/verify"
)

// Kind says what stands in the way of a sign-in. Programs may branch on it.
type Kind string

// The kinds of [Problem].
const (
	KindCookies      Kind = "cookies"       // the browser sends no cookies
	KindNoLogin      Kind = "no_login"      // the browser has no login to finish
	KindOtherLogin   Kind = "other_login"   // the answer belongs to another login
	KindExpired      Kind = "expired"       // the user took too long
	KindUsed         Kind = "used"          // the login was answered before
	KindReturnTo     Kind = "return_to"     // the link leads off the site
	KindDenied       Kind = "denied"        // the user did not consent
	KindDeclined     Kind = "declined"      // the user, who was signed in before, did not consent to more
	KindAdminConsent Kind = "admin_consent" // only an administrator can consent
	KindTenant       Kind = "tenant"        // users of the tenant may not sign in
	KindNonce        Kind = "nonce"         // the ID token belongs to another login
	KindClock        Kind = "clock"         // a clock is wrong, here or at Entra
	KindIDToken      Kind = "id_token"      // something else is wrong with the ID token or the account
	KindRepeated     Kind = "repeated"      // the user signed in as asked, and it did not help
	KindSessionLost  Kind = "session_lost"  // the user signed in, and the session, or its tokens, are not found
	KindNotAllowed   Kind = "not_allowed"   // the user lacks a role
	KindSignedOut    Kind = "signed_out"    // the session ended before the form was sent
	KindCrossOrigin  Kind = "cross_origin"  // another site had the browser send the request
	KindUnavailable  Kind = "unavailable"   // Entra or the session store does not answer now
	KindRejected     Kind = "rejected"      // Entra refuses the sign-in for another reason
	KindApp          Kind = "app"           // the app is not configured as Entra has it
)

// Problem is a refusal as a person sees it. Nothing in it is secret, but Code, AADSTS and
// the IDs came through the browser, so anybody may have written them: show them escaped,
// as html/template does, and believe nothing of them.
type Problem struct {
	Kind        Kind
	Status      int    // of the answer, for Page to send
	Title, Text string // in English; Kind is for other languages

	// What can be done about it, the most helpful first, in English, too. The last leads to a
	// sign-in or, of Declined, back to the page that asks; that of AdminConsent has the page
	// for administrators before it, and CrossOrigin has none.
	Links []Link

	// For whoever supports the user; "" and none if Entra said nothing.
	Code                   string
	AADSTS                 []int
	CorrelationID, TraceID string
}

// Link is a way on.
type Link struct{ Text, URL string }

// text is what a person is told about a kind.
type text struct {
	status      int
	title, text string
	signIn      string     // what the link to a sign-in says; "": there is none
	level       slog.Level // of the line in the log
}

var texts = map[Kind]text{
	KindCookies: {400, "Your browser sent no cookies", "Signing in needs cookies of this site. Allow them, then sign in again. " +
		"If you began to sign in with another browser or in another window, go on there.", "Sign in again", slog.LevelInfo},
	KindNoLogin: {400, "There is no sign-in to finish", "The sign-in was begun too long ago, or with another browser. Nothing is wrong with your account.",
		"Sign in again", slog.LevelInfo},
	KindOtherLogin: {400, "This answer belongs to another sign-in", "To keep you safe, a sign-in can only be finished where it was begun.",
		"Sign in again", slog.LevelWarn},
	KindExpired:  {400, "The sign-in took too long", "Nothing is wrong with your account.", "Sign in again", slog.LevelInfo},
	KindUsed:     {400, "This sign-in was used before", "The page was loaded a second time before the first had finished.", "Sign in again", slog.LevelInfo},
	KindReturnTo: {400, "This link is not one of ours", "It would lead to another site, or to an address that could be read as one.", "Sign in without it", slog.LevelWarn},
	KindDenied:   {403, "You did not let the app sign you in", "Nothing was changed.", "Sign in again", slog.LevelInfo},
	KindDeclined: {403, "You did not agree", "You are still signed in, and nothing was changed.", "Ask again", slog.LevelInfo},
	KindAdminConsent: {403, "An administrator has to approve this app", "Your organization does not let you approve what the app asks for. " +
		"Send the link below to an administrator of your organization, then sign in again.", "Sign in again", slog.LevelWarn},
	KindTenant: {403, "Your organization does not use this app", "Sign in with an account of an organization that does.",
		"Sign in with another account", slog.LevelWarn},
	KindNonce: {400, "This answer belongs to another sign-in", "To keep you safe, it was not accepted.", "Sign in again", slog.LevelWarn},
	KindClock: {500, "The clocks do not agree", "This site cannot check the sign-in because its clock or Microsoft's is wrong. Please tell whoever runs it.",
		"Sign in again", slog.LevelError},
	KindIDToken: {502, "The sign-in could not be checked", "What Microsoft sent does not add up, so it was not accepted.", "Sign in again", slog.LevelError},
	KindRepeated: {403, "Signing in was not enough", "You signed in as asked, but still may not do this. If you think that you should, ask your administrator.",
		"Try once more", slog.LevelWarn},
	KindSessionLost: {500, "Your sign-in was lost", "You signed in, but this site does not remember it. Allow its cookies. If they are allowed, nothing is wrong with your account: please tell whoever runs the site.",
		"Try once more", slog.LevelError},
	KindNotAllowed: {403, "You may not open this page", "Your account lacks the role that it is for. If you think that you should have it, ask your administrator.",
		"Sign in with another account", slog.LevelInfo},
	KindSignedOut: {401, "You are signed out", "What you sent was not done. Sign in and do it once more.", "Sign in", slog.LevelInfo},
	KindCrossOrigin: {403, "This came from another site", "To keep you safe, a page of another site cannot do things here. Open this site and do it there.",
		"", slog.LevelWarn},
	KindUnavailable: {503, "Something we need does not answer", "Please try again in a moment.", "Sign in again", slog.LevelError},
	KindRejected:    {403, "Microsoft did not sign you in", "If it happens again, send the details below to your administrator.", "Sign in again", slog.LevelWarn},
	KindApp: {500, "This app is not set up correctly", "Nothing is wrong with your account. Please tell whoever runs the app.",
		"Sign in again", slog.LevelError},
}

// kindOf says what kind of refusal err is.
func kindOf(err error) Kind {
	var e *entra.Error
	var token *verify.Error
	var again *inVain
	for _, known := range []struct {
		err  error
		kind Kind
	}{
		{errCookies, KindCookies}, {authcode.ErrNoLogin, KindNoLogin}, {authcode.ErrState, KindOtherLogin}, {authcode.ErrParameters, KindOtherLogin},
		{authcode.ErrExpired, KindExpired}, {authcode.ErrUsed, KindUsed}, {authcode.ErrReturnTo, KindReturnTo}, {authcode.ErrAccount, KindIDToken},
		{errInVain, KindSessionLost}, {errSignedOut, KindSignedOut}, {errNotAllowed, KindNotAllowed}, {errCrossOrigin, KindCrossOrigin}, {errTooLarge, KindApp},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	var more *declined
	switch {
	case errors.As(err, &more):
		return KindDeclined
	case errors.As(err, &again) && needsAdmin(again.err):
		return KindAdminConsent
	case errors.As(err, &again) && again.err.StatusCode == 0 && again.err.Code == "login_required": // Entra was not asked
		return KindSessionLost
	case errors.As(err, &again):
		return KindRepeated
	case errors.As(err, &token):
		return kindOfToken(token)
	case errors.As(err, &e):
		return kindOfEntra(e)
	}
	return KindUnavailable // of a page that was not thought of, such as an ended context
}

func kindOfToken(e *verify.Error) Kind {
	switch e.Reason {
	case verify.ReasonTenantNotAllowed:
		return KindTenant
	case verify.ReasonBadNonce:
		return KindNonce
	case verify.ReasonExpired, verify.ReasonNotYetValid, verify.ReasonIssuedInFuture:
		return KindClock
	case verify.ReasonKeysUnavailable:
		return KindUnavailable
	}
	return KindIDToken
}

// kindOfEntra sorts what Entra refuses. Sources: OpenID Connect Core, section 3.1.2.6; RFC
// 6749, sections 4.1.2.1 and 5.2; "Microsoft Entra authentication and authorization error
// codes".
func kindOfEntra(e *entra.Error) Kind {
	switch {
	case e.Has(700024): // the client assertion's times
		return KindClock
	case needsAdmin(e):
		return KindAdminConsent
	case e.Has(54005): // the code was redeemed before
		return KindUsed
	case e.Has(70008): // the code has expired
		return KindExpired
	case e.Temporary():
		return KindUnavailable
	}
	switch e.Code {
	case "access_denied": // also of a user who may not use the app (50105), which is nobody's choice here
		if len(e.AADSTS) == 0 || e.Has(65004) {
			return KindDenied
		}
	case "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_resource", "unsupported_response_type":
		return KindApp
	}
	return KindRejected
}

// needsAdmin reports whether the app lacks a consent that the user cannot give:
// AADSTS90094 and 90095 say so, and 65001, where the user has just been asked.
func needsAdmin(e *entra.Error) bool {
	return e.Has(90094) || e.Has(90095) || e.Has(65001) || e.Code == "consent_required"
}

// declined is access_denied of a user who was signed in before.
type declined struct{ error }

func (e *declined) Unwrap() error { return e.error }
