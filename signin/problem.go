package signin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/verify"
)

// Kind classifies a [Problem]. Programs may branch on it.
type Kind string

// Kinds of a [Problem].
const (
	KindNoCookies            Kind = "no_cookies"             // the browser does not send the cookies of the site
	KindNoLogin              Kind = "no_login"               // the login cookie is missing
	KindStateMismatch        Kind = "state_mismatch"         // the callback belongs to another login
	KindExpired              Kind = "expired"                // the login or its code has expired
	KindUsed                 Kind = "used"                   // the login was already finished
	KindInvalidReturnTo      Kind = "invalid_return_to"      // the page to return to may not be on the site
	KindReturnToTooLong      Kind = "return_to_too_long"     // the address of the page to return to is too long
	KindConsentDeclined      Kind = "consent_declined"       // the user did not consent
	KindExtraConsentDeclined Kind = "extra_consent_declined" // the user, already signed in, did not consent to more
	KindAdminConsent         Kind = "admin_consent"          // only an administrator can consent
	KindTenantNotAllowed     Kind = "tenant_not_allowed"     // users of the tenant may not sign in
	KindNonceMismatch        Kind = "nonce_mismatch"         // the ID token belongs to another login
	KindClockSkew            Kind = "clock_skew"             // the clock of this machine or of Entra is wrong
	KindInvalidIDToken       Kind = "invalid_id_token"       // the ID token or the account failed another check
	KindStillRequired        Kind = "still_required"         // the user signed in as requested, without effect
	KindSessionLost          Kind = "session_lost"           // the session of a sign-in is not in the store
	KindTokensLost           Kind = "tokens_lost"            // the tokens of a sign-in are not in the cache
	KindPageLost             Kind = "page_lost"              // the user signed in, but the page to return to is not known
	KindMissingRole          Kind = "missing_role"           // the user lacks the required role
	KindSignedOut            Kind = "signed_out"             // the session ended before the request was sent
	KindNotSaved             Kind = "not_saved"              // a form requires a sign-in or consent first; see Interact
	KindEmbedded             Kind = "embedded"               // a page in a frame requires a sign-in
	KindSignInCanceled       Kind = "sign_in_canceled"       // the user signed out while the sign-in was in progress
	KindCrossOrigin          Kind = "cross_origin"           // another site sent the request
	KindUnavailable          Kind = "unavailable"            // Entra or the session store is not available
	KindNotAdmitted          Kind = "not_admitted"           // Config.OnSignIn rejected the user
	KindRejected             Kind = "rejected"               // Entra rejected the sign-in for another reason
	KindMisconfigured        Kind = "misconfigured"          // the app, or its registration in Entra, is wrong
)

// Problem describes a failure to the user. It contains no secrets. Code, AADSTS and the IDs may come from the
// browser, so an attacker can choose them. Escape them, as html/template does, and do not base decisions on them.
type Problem struct {
	Kind        Kind
	Status      int    // the HTTP status of the response
	Title, Text string // in English; use Kind to translate them

	// Links are possible next steps, in English. The last one starts a sign-in. For KindExtraConsentDeclined it
	// leads back to the page, and for KindPageLost to Config.Home. For KindAdminConsent, a link for administrators
	// precedes it. For KindNotSaved it leads to Entra. It is empty for KindCrossOrigin. For KindEmbedded,
	// KindSignedOut and KindNotSaved it must leave the frame (target="_top").
	Links []Link

	// Details for support; empty if Entra sent none.
	Code                   string
	AADSTS                 []int
	CorrelationID, TraceID string
}

// Link is a link of a [Problem].
type Link struct{ Text, URL string }

// framed reports whether a frame of this site may show the page.
func (k Kind) framed() bool { return k == KindEmbedded || k == KindSignedOut || k == KindNotSaved }

// description is how a Kind is presented.
type description struct {
	status      int
	title, text string
	signIn      string     // text of the link to a sign-in; if empty, the link is omitted
	level       slog.Level // of the log record
}

var descriptions = map[Kind]description{
	KindNoCookies: {400, "Your browser did not send a cookie",
		"Sign-in needs cookies from this site. Allow them and sign in again. " +
			"If you started in another browser or window, continue there.",
		"Sign in again", slog.LevelInfo},
	KindNoLogin: {400, "There is no sign-in to finish",
		"The sign-in was started too long ago, in another browser, or together with too many others. " +
			"Nothing is wrong with your account.",
		"Sign in again", slog.LevelInfo},
	KindStateMismatch: {400, "This response belongs to another sign-in",
		"For your security, a sign-in must be finished in the browser that started it.",
		"Sign in again", slog.LevelWarn},
	KindExpired: {400, "The sign-in took too long",
		"Nothing is wrong with your account.",
		"Sign in again", slog.LevelInfo},
	KindUsed: {400, "This sign-in was already used",
		"The page was loaded a second time before the first load finished.",
		"Sign in again", slog.LevelInfo},
	KindInvalidReturnTo: {400, "This link is not valid",
		"It leads to another site, or to an address that could be mistaken for one. " +
			"If it is a page of this site, sign in first and open it again.",
		"Sign in without it", slog.LevelWarn},
	KindReturnToTooLong: {400, "This link is too long to return to",
		"A sign-in cannot remember the address of the page, because it is too long. " +
			"Sign in first and open the link again.",
		"Sign in", slog.LevelInfo},
	KindPageLost: {400, "Open the link again",
		"You are signed in. The address of the page was too long to remember while other sign-ins were in progress.",
		"Continue", slog.LevelInfo},
	KindConsentDeclined: {403, "You did not allow the app to sign you in",
		"Nothing was changed.",
		"Sign in again", slog.LevelInfo},
	KindExtraConsentDeclined: {403, "You did not give permission",
		"You are still signed in, and nothing was changed.",
		"Try again", slog.LevelInfo},
	KindAdminConsent: {403, "An administrator must approve this app",
		"Your organization does not let you grant the permissions that this app needs. " +
			"Send the link below to an administrator of your organization, then sign in again.",
		"Sign in again", slog.LevelWarn},
	KindTenantNotAllowed: {403, "Your organization does not use this app",
		"Sign in with an account of an organization that does.",
		"Sign in with another account", slog.LevelWarn},
	KindNonceMismatch: {400, "This response belongs to another sign-in",
		"For your security, it was rejected.",
		"Sign in again", slog.LevelWarn},
	KindClockSkew: {500, "The clocks do not agree",
		"This site cannot check the sign-in because its clock or Microsoft's is wrong. " +
			"Please tell the operator of this site.",
		"Sign in again", slog.LevelError},
	KindInvalidIDToken: {502, "The sign-in could not be verified",
		"Microsoft's response failed a check, so it was rejected.",
		"Sign in again", slog.LevelError},
	KindStillRequired: {403, "Signing in was not enough",
		"You signed in as requested but still do not have access. If you think you should, contact your administrator.",
		"Try again", slog.LevelWarn},
	KindSessionLost: {500, "Your sign-in was lost",
		"You signed in, but this site does not remember it. Nothing is wrong with your account or your browser. " +
			"Please tell the operator of this site.",
		"Try again", slog.LevelError},
	KindTokensLost: {500, "Your data cannot be loaded",
		"You are signed in, but this site lost the permission to load your data. " +
			"Nothing is wrong with your account or your browser. Please tell the operator of this site.",
		"Try again", slog.LevelError},
	KindMissingRole: {403, "You do not have access to this page",
		"Your account lacks a role that this page requires. If you think you should have it, contact your administrator.",
		"Sign in with another account", slog.LevelInfo},
	KindSignedOut: {401, "You are signed out",
		"What you sent was not saved. Sign in and send it again.",
		"Sign in", slog.LevelInfo},
	KindNotSaved: {401, "What you sent was not saved",
		"Microsoft must confirm your sign-in or a permission first. Afterwards you can send it again.",
		"Continue", slog.LevelInfo},
	KindSignInCanceled: {401, "You are signed out",
		"You signed out while this sign-in was in progress, so it was canceled.",
		"Sign in", slog.LevelInfo},
	KindEmbedded: {401, "You are signed out",
		"This part of the page is for signed-in users.",
		"Sign in", slog.LevelInfo},
	KindCrossOrigin: {403, "This request came from another site",
		"For your security, other sites cannot make changes here. Open this site and try again.",
		"", slog.LevelWarn},
	KindUnavailable: {503, "A service is not responding",
		"Please try again in a moment.",
		"Sign in again", slog.LevelError},
	KindNotAdmitted: {403, "You cannot use this app",
		"Your account is not admitted.",
		"Sign in with another account", slog.LevelInfo},
	KindRejected: {403, "Microsoft did not sign you in",
		"If it happens again, send the details below to your administrator.",
		"Sign in again", slog.LevelWarn},
	KindMisconfigured: {500, "This app is not set up correctly",
		"Nothing is wrong with your account. Please tell the operator of this app.",
		"Sign in again", slog.LevelError},
}

// kindOf classifies err.
func kindOf(err error) Kind {
	for _, known := range []struct {
		err  error
		kind Kind
	}{
		{errNoCookies, KindNoCookies},
		{authcode.ErrNoLogin, KindNoLogin},
		{authcode.ErrState, KindStateMismatch},
		{authcode.ErrParameters, KindStateMismatch},
		{authcode.ErrExpired, KindExpired},
		{authcode.ErrUsed, KindUsed},
		{authcode.ErrMaxAge, KindStillRequired},
		{authcode.ErrReturnToTooLong, KindReturnToTooLong},
		{authcode.ErrReturnTo, KindInvalidReturnTo},
		{authcode.ErrAccount, KindInvalidIDToken},
		{errNoSessionCookie, KindNoCookies},
		{errSessionLost, KindSessionLost},
		{errSignedOut, KindSignedOut},
		{errSignInCanceled, KindSignInCanceled},
		{errPageLost, KindPageLost},
		{errMissingRole, KindMissingRole},
		{errEmbedded, KindEmbedded},
		{errCrossOrigin, KindCrossOrigin},
		{errLoginTooLarge, KindMisconfigured},
		{errNoHandler, KindMisconfigured},
	} {
		if errors.Is(err, known.err) {
			return known.kind
		}
	}
	var rejection *RejectionError
	var declined *extraConsentDeclined
	var unsaved *notSaved
	var still *stillRequired
	var token *verify.Error
	var e *entra.Error
	switch {
	case errors.As(err, &rejection):
		return KindNotAdmitted
	case errors.As(err, &declined):
		return KindExtraConsentDeclined
	case errors.As(err, &unsaved):
		return KindNotSaved
	case errors.As(err, &still) && needsAdmin(still.err):
		return KindAdminConsent
	case errors.As(err, &still) && still.err.StatusCode == 0 && still.err.Code == "login_required": // no tokens
		return KindTokensLost
	case errors.As(err, &still):
		return KindStillRequired
	case errors.As(err, &token):
		return kindOfToken(token)
	case errors.As(err, &e):
		return kindOfEntra(e)
	}
	return KindUnavailable // for example a canceled context
}

func kindOfToken(e *verify.Error) Kind {
	switch e.Reason {
	case verify.ReasonTenantNotAllowed:
		return KindTenantNotAllowed
	case verify.ReasonBadNonce:
		return KindNonceMismatch
	case verify.ReasonExpired, verify.ReasonNotYetValid, verify.ReasonIssuedInFuture:
		return KindClockSkew
	case verify.ReasonKeysUnavailable:
		return KindUnavailable
	}
	return KindInvalidIDToken
}

// kindOfEntra classifies an error response of Entra. Sources: OpenID Connect Core, section 3.1.2.6; RFC 6749, sections
// 4.1.2.1 and 5.2; "Microsoft Entra authentication and authorization error codes".
func kindOfEntra(e *entra.Error) Kind {
	switch {
	case e.Has(700024): // times of the client assertion
		return KindClockSkew
	case needsAdmin(e):
		return KindAdminConsent
	case e.Has(54005): // the code was already redeemed
		return KindUsed
	case e.Has(70008): // the code has expired
		return KindExpired
	case e.Temporary():
		return KindUnavailable
	}
	switch e.Code {
	case "access_denied": // also (50105) for users who may not use the app
		if len(e.AADSTS) == 0 || e.Has(65004) {
			return KindConsentDeclined
		}
	case "invalid_client", "unauthorized_client", "invalid_request", "invalid_scope", "invalid_resource",
		"unsupported_response_type":
		return KindMisconfigured
	}
	return KindRejected
}

// needsAdmin reports whether the app lacks a consent that the user cannot give. AADSTS90094 and 90095 say so. 65001
// does, too, because the user has just been prompted. So does the code consent_required.
func needsAdmin(e *entra.Error) bool {
	return e.Has(90094) || e.Has(90095) || e.Has(65001) || e.Code == "consent_required"
}

// extraConsentDeclined is access_denied for a user who was already signed in.
type extraConsentDeclined struct{ error }

func (e *extraConsentDeclined) Unwrap() error { return e.error }

// problem describes err to the user. returnTo is the page that the user wanted.
func (s *Site) problem(r *http.Request, returnTo string, err error) Problem {
	kind := kindOf(err)
	d := descriptions[kind]
	p := Problem{Kind: kind, Status: d.status, Title: d.title, Text: d.text}
	var e *entra.Error
	if errors.As(err, &e) {
		p.Code, p.AADSTS, p.CorrelationID, p.TraceID = e.Code, e.AADSTS, e.CorrelationID, e.TraceID
	}
	var rejection *RejectionError
	if errors.As(err, &rejection) && rejection.Reason != "" {
		p.Text = rejection.Reason
	}
	if kind == KindAdminConsent {
		var scopes []string
		var scoped *scopedError
		if errors.As(err, &scoped) {
			scopes = scoped.scopes
		}
		tenant := ""
		if v, _ := s.requestState(r).session(); v != nil {
			tenant = v.Account.TenantID
		}
		p.Links = append(p.Links, Link{"Approval page for administrators", s.flow.AdminConsentURL(tenant, scopes...)})
	}
	var unsaved *notSaved
	switch {
	case errors.As(err, &unsaved):
		p.Links = append(p.Links, Link{d.signIn, unsaved.signInURL})
	case d.signIn != "":
		p.Links = append(p.Links, Link{d.signIn, s.retryURL(kind, returnTo)})
	}
	return p
}

// retryURL returns the address with which the user can retry after a failure.
func (s *Site) retryURL(kind Kind, returnTo string) string {
	q := url.Values{}
	if returnTo != "" {
		q.Set("return_to", returnTo)
	}
	switch kind {
	case KindPageLost:
		return s.config.Home
	case KindExtraConsentDeclined:
		if returnTo != "" {
			return returnTo // the page itself requests consent
		}
	case KindTenantNotAllowed, KindRejected, KindMissingRole, KindNotAdmitted:
		q.Set("prompt", "select_account") // otherwise Entra uses the same account again
	}
	if len(q) == 0 {
		return s.config.LoginPath
	}
	return s.config.LoginPath + "?" + q.Encode()
}

// reject shows err to the user and logs it for the operator. Neither the page nor the record contains a secret.
func (s *Site) reject(w http.ResponseWriter, r *http.Request, returnTo string, err error) {
	p := s.problem(r, returnTo, err)
	attrs := []slog.Attr{slog.String("kind", string(p.Kind)), slog.Int("status", p.Status)}
	if advice := p.advice(); advice != "" {
		attrs = append(attrs, slog.String("advice", advice))
	}
	s.logError(r.Context(), descriptions[p.Kind].level, "signin: request rejected", err, attrs...)
	s.notifyFailed(r, p.Kind)
	setPrivate(w)
	var e *entra.Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", authScheme)
	}
	if !isPageLoad(r) && r.URL.Path != s.callbackPath {
		writeJSON(w, p.Status, string(p.Kind), p.Text)
		return
	}
	s.config.Page(w, r, p)
}

// advice returns a hint for the operator, or "".
func (p Problem) advice() string {
	switch {
	case p.Kind == KindSessionLost:
		return "give all processes the same Config.Store and Config.Keys"
	case p.Kind == KindTokensLost:
		return "give the caches of all processes the same cache.Options.Store and Keys, or route each browser to one " +
			"process"
	case p.Kind == KindMisconfigured && len(p.AADSTS) > 0:
		return "compare the app registration with this program; see https://login.microsoftonline.com/error?code=" +
			strconv.Itoa(p.AADSTS[0])
	}
	return ""
}

// maxLoggedBytes bounds the text of an error in a log record. Errors of stores and callbacks can be long.
const maxLoggedBytes = 1000

// logError logs err and its cause.
func (s *Site) logError(ctx context.Context, level slog.Level, message string, err error, attrs ...slog.Attr) {
	if ctx.Err() != nil {
		level = slog.LevelDebug // the client is gone, and its calls failed with it
	}
	var e *entra.Error
	var token *verify.Error
	switch {
	case errors.As(err, &e):
		attrs = append(attrs, slog.Any("error", e))
		if e.Err != nil {
			attrs = append(attrs, slog.String("cause", redact.Text(e.Err.Error(), maxLoggedBytes)))
		}
	case errors.As(err, &token):
		attrs = append(attrs, slog.Any("error", token))
	default:
		attrs = append(attrs, slog.String("error", redact.Text(err.Error(), maxLoggedBytes)))
	}
	s.logger.LogAttrs(ctx, level, message, attrs...)
}

// pageStyle is the style sheet of the built-in page.
const pageStyle = `:root{color-scheme:light dark}
body{background:Canvas;color:CanvasText;font:1.1rem/1.5 system-ui,sans-serif}
body{max-width:34rem;margin:12vh auto 0;padding:0 1.25rem;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.2}
a{display:inline-block;padding:.35rem 0;margin-right:1.5rem}
dl{font-size:.85rem;opacity:.75;margin-top:2rem}
dt{float:left;margin-right:.5rem}dd{margin:0}`

var pageFuncs = template.FuncMap{"framed": Kind.framed}

var pageTemplate = template.Must(template.New("page").Funcs(pageFuncs).Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + pageStyle + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Links}}<p>{{range .}}<a href="{{.URL}}"{{if framed $.Kind}} target="_top"{{end}}>{{.Text}}</a> {{end -}}
</p>
{{end}}{{if .Code}}<dl>
<dt>Code</dt><dd>{{.Code}}{{range .AADSTS}} AADSTS{{.}}{{end}}</dd>
{{with .CorrelationID}}<dt>Correlation ID</dt><dd>{{.}}</dd>
{{end}}{{with .TraceID}}<dt>Trace ID</dt><dd>{{.}}</dd>
{{end}}</dl>
{{end}}</main>
</body>
</html>
`))

// pagePolicy is the Content-Security-Policy of the built-in page, without the sites that may frame it. It allows only
// the page's own style.
var pagePolicy = func() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors "
}()

// writePage is the built-in Config.Page.
func writePage(w http.ResponseWriter, _ *http.Request, p Problem) {
	var b bytes.Buffer
	if err := pageTemplate.Execute(&b, p); err != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	ancestors := "'none'"
	if p.Kind.framed() {
		ancestors = "'self'"
	}
	h.Set("Content-Security-Policy", pagePolicy+ancestors)
	w.WriteHeader(p.Status)
	_, _ = b.WriteTo(w) // fails only if the client is gone
}
