package entratest

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// A SignInError is why a sign-in ended on a page rather than at the app.
type SignInError struct {
	Code        string // the OAuth error
	AADSTS      int    // the number in Entra's list
	Description string // what the page says
}

func (e *SignInError) Error() string {
	return fmt.Sprintf("entratest: sign-in refused: %s: AADSTS%d: %s", e.Code, e.AADSTS, e.Description)
}

// SignIn plays a person and a browser without sessions: it opens the
// authorization URL, signs the user in (with the second factor, if one is
// demanded and the user has one), consents to what is asked, and returns the
// redirect to the app. A response_mode of form_post is returned as if it were
// query. It does the same for the URL of the admin consent endpoint, with an
// administrator.
//
// An error that Entra reports to the app is in the callback's parameters, as
// error and error_description. One that Entra shows the person instead, such as
// an unknown app or redirect URI, is a [*SignInError]. With prompt=none nobody
// is signed in, so the callback says login_required. Faults on "authorize"
// apply. A URL that is no authorization endpoint, an unknown user, and the end
// of ctx during a fault's delay are errors, too.
func (s *Server) SignIn(ctx context.Context, authorizeURL, username string) (callback *url.URL, err error) {
	hr, err := http.NewRequestWithContext(ctx, http.MethodGet, authorizeURL, nil)
	if err != nil {
		return nil, fmt.Errorf("entratest: the authorization URL cannot be parsed")
	}
	if _, endpoint := splitPath(hr.URL.Path); endpoint != "authorize" && endpoint != "adminconsent" {
		return nil, fmt.Errorf("entratest: %s://%s%s is no authorization endpoint", hr.URL.Scheme, hr.URL.Host, hr.URL.Path)
	}
	u := s.registry.userByName[strings.ToLower(username)]
	if u == nil {
		return nil, fmt.Errorf("entratest: there is no user %q", username)
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
	return nil, fmt.Errorf("entratest: the sign-in was answered with status %d", resp.status)
}
