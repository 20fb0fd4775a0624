package entratest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A SignInError is an error that Entra shows to the user instead of sending it to
// the app.
type SignInError struct {
	Code        string // OAuth error code
	AADSTS      int    // error number
	Description string // text of the page
}

func (e *SignInError) Error() string {
	return fmt.Sprintf("entratest: sign-in failed: %s: AADSTS%d: %s", e.Code, e.AADSTS, e.Description)
}

// SignIn simulates a user with a browser without a session. It opens the
// authorization URL, signs the user in, consents to the requested permissions,
// and returns the URL to which Entra redirects the browser. It passes
// multifactor authentication if that is required and the user has MFA set. With
// the response mode form_post, callback has the form's parameters in its query.
// SignIn also accepts the URL of the admin consent endpoint. username must then
// be an administrator.
//
// If Entra would report an error to the app, callback has the parameters error
// and error_description. If Entra would show the error to the user, for example
// for an unknown app or redirect URI, SignIn returns a [*SignInError]. With
// prompt=none, no user is signed in and callback has the error login_required.
// Faults on [EndpointAuthorize] apply. SignIn also returns an error if
// authorizeURL is not an authorization endpoint, if the user is unknown, or if
// ctx ends during the delay of a fault.
func (s *Server) SignIn(ctx context.Context, authorizeURL, username string) (callback *url.URL, err error) {
	if s.registry == nil {
		return nil, errZeroServer
	}
	hr, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizeURL, nil)
	if err != nil {
		return nil, errors.New("entratest: invalid authorization URL")
	}
	if _, endpoint := splitPath(hr.URL.Path); endpoint != EndpointAuthorize && endpoint != EndpointAdminConsent {
		return nil, fmt.Errorf("entratest: %s://%s%s is not an authorization endpoint",
			hr.URL.Scheme, hr.URL.Host, hr.URL.Path)
	}
	u := s.registry.userByName[strings.ToLower(username)]
	if u == nil {
		return nil, fmt.Errorf("entratest: unknown user %q", username)
	}
	if hr.URL.Query().Get("prompt") == "none" {
		u = nil
	}
	resp, err := s.serve(hr, u)
	switch {
	case err != nil:
		return nil, err
	case resp.drop:
		return nil, errDropped
	case resp.location != "":
		return url.Parse(resp.location)
	case resp.err != nil:
		return nil, &SignInError{Code: resp.err.code, AADSTS: resp.err.number, Description: resp.err.message}
	}
	return nil, fmt.Errorf("entratest: sign-in failed with status %d", resp.status)
}
