package site

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/signin"
)

// trouble is what problem.html shows.
type trouble struct {
	Text    string
	Links   []signin.Link // where to go from here, the most helpful first
	Details []string      // for whoever supports the user
}

// problem shows what stood in the way of a sign-in.
func (s *Site) problem(w http.ResponseWriter, r *http.Request, p signin.Problem) {
	t := trouble{Text: p.Text, Links: p.Links}
	if _, ok := signin.AccountFromContext(r.Context()); ok {
		t.Links = append(t.Links, signin.Link{Text: "Home", URL: "/"})
	}
	if p.Kind != signin.KindConsentDeclined && p.Kind != signin.KindExtraConsentDeclined { // which nobody has to look into
		for _, n := range p.AADSTS {
			t.Details = append(t.Details, fmt.Sprintf("AADSTS%d", n))
		}
		if p.CorrelationID != "" {
			t.Details = append(t.Details, "correlation ID "+p.CorrelationID)
		}
	}
	s.show(w, r, p.Status, "problem.html", p.Title, t)
}

// missing shows that there is no such page.
func (s *Site) missing(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "problem.html", "There is no such page", trouble{
		Text: "The address may be mistyped, or the page is gone.", Links: []signin.Link{{Text: "Home", URL: "/"}},
	})
}

// failed shows that an API could not be called. Nothing of err is for a person to read.
func (s *Site) failed(w http.ResponseWriter, r *http.Request, err error) {
	status, text := http.StatusBadGateway, "Something we need did not answer as it should. Please try again in a moment."
	var e *entra.Error
	var refused *hops.StatusError
	switch {
	case errors.As(err, &refused) && refused.Status == http.StatusForbidden:
		status, text = http.StatusForbidden, "You are signed in, but may not see this. If you think that you should, ask your administrator."
	case errors.As(err, &e) && e.Temporary():
		status, text = http.StatusServiceUnavailable, "Microsoft could not be reached. Please try again in a moment."
	}
	s.show(w, r, status, "problem.html", "That did not work", trouble{Text: text, Links: []signin.Link{{Text: "Try again", URL: r.URL.Path}}})
}

// loggable is what of err goes into a log: of Entra's errors the codes, without the
// description, which may name the user.
func loggable(err error) any {
	var e *entra.Error
	if errors.As(err, &e) {
		return e
	}
	return err
}
