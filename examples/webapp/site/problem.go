package site

import (
	"errors"
	"net/http"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/signin"
)

// trouble is what problem.html shows.
type trouble struct {
	Text        string
	Link, Label string // where to go from here
}

// problem shows what stood in the way of a sign-in.
func (s *Site) problem(w http.ResponseWriter, r *http.Request, p signin.Problem) {
	s.show(w, r, p.Status, "problem.html", p.Title, trouble{p.Text, "/login", "Sign in"})
}

// failed shows that an API could not be called. Nothing of err is for a person to read.
func (s *Site) failed(w http.ResponseWriter, r *http.Request, err error) {
	t := trouble{"Something we need did not answer as it should. Please try again in a moment.", r.URL.Path, "Try again"}
	status := http.StatusBadGateway
	var e *entra.Error
	switch {
	case errors.As(err, &e) && e.InteractionRequired():
		status, t = http.StatusForbidden, trouble{"You are signed in, but may not do this. Ask your administrator for access.", "/", "Home"}
	case e != nil && e.Temporary():
		status, t.Text = http.StatusServiceUnavailable, "Microsoft could not be reached. Please try again in a moment."
	}
	s.show(w, r, status, "problem.html", "That did not work", t)
}
