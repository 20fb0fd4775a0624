package site

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/signin"
)

// trouble is the data of problem.html.
type trouble struct {
	Text    string
	Links   []signin.Link // next steps, the most helpful first
	Details []string      // for support
}

// problem shows a failed sign-in.
func (s *Site) problem(w http.ResponseWriter, r *http.Request, p signin.Problem) {
	t := trouble{Text: p.Text, Links: p.Links}
	if _, ok := signin.AccountFromContext(r.Context()); ok {
		t.Links = append(t.Links, signin.Link{Text: "Home", URL: "/"})
	}
	if p.Kind != signin.KindConsentDeclined && p.Kind != signin.KindExtraConsentDeclined { // nothing to investigate
		for _, n := range p.AADSTS {
			t.Details = append(t.Details, fmt.Sprintf("AADSTS%d", n))
		}
		if p.CorrelationID != "" {
			t.Details = append(t.Details, "correlation ID "+p.CorrelationID)
		}
	}
	s.show(w, r, p.Status, "problem.html", p.Title, t)
}

// notFound shows that the page does not exist.
func (s *Site) notFound(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "problem.html", "Page not found", trouble{
		Text: "The address may be mistyped, or the page was removed.", Links: []signin.Link{{Text: "Home", URL: "/"}},
	})
}

// failed shows that the call of an API failed. The text of err is not for users.
func (s *Site) failed(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusBadGateway, "A service did not respond correctly. Please try again in a moment."
	var e *entra.Error
	var statusErr *hops.StatusError
	switch {
	case errors.As(err, &statusErr) && statusErr.Status == http.StatusForbidden:
		status = http.StatusForbidden
		text = "You are signed in but do not have access to this. If you think you should, contact your administrator."
	case errors.As(err, &e) && e.Temporary():
		status, text = http.StatusServiceUnavailable, "Microsoft could not be reached. Please try again in a moment."
	}
	again := signin.Link{Text: "Try again", URL: r.URL.Path}
	s.show(w, r, status, "problem.html", "That did not work", trouble{Text: text, Links: []signin.Link{again}})
}

// loggable returns the value to log for err. Errors of Entra are logged without their description, which may contain
// the name of the user.
func loggable(err error) any {
	var e *entra.Error
	if errors.As(err, &e) {
		return e
	}
	return err
}
