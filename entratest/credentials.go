package entratest

import (
	"fmt"
	"reflect"
	"slices"
)

// UpdateCredentials changes what the app of that name can prove itself with while
// the server runs, as an administrator does who adds a secret or takes an old
// certificate away. change gets the app as it is now; what it makes of Secrets,
// ExpiredSecrets, Certificates, TrustedSubjects and Federated holds for requests
// that arrive after UpdateCredentials has returned. It should replace these
// rather than write into them. Tokens and sessions stay as they are. change must
// not call the server.
//
// It panics if there is no such app, if the app cannot be, or if change touches
// anything else, which cannot change while the server runs.
func (s *Server) UpdateCredentials(app string, change func(*App)) {
	a := s.appNamed(app)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := *a
	if p := s.proofs[a]; p != nil {
		now = *p
	}
	now.Secrets, now.ExpiredSecrets = slices.Clone(now.Secrets), slices.Clone(now.ExpiredSecrets)
	now.Certificates, now.TrustedSubjects, now.Federated = slices.Clone(now.Certificates), slices.Clone(now.TrustedSubjects), slices.Clone(now.Federated)
	change(&now)
	rest := now
	rest.Secrets, rest.ExpiredSecrets, rest.Certificates, rest.TrustedSubjects, rest.Federated = a.Secrets, a.ExpiredSecrets, a.Certificates, a.TrustedSubjects, a.Federated
	if !reflect.DeepEqual(&rest, a) {
		panic(fmt.Sprintf("entratest: UpdateCredentials changes more of the app %q than its credentials", app))
	}
	if err := now.checkCredentials(); err != nil {
		panic(fmt.Sprintf("entratest: impossible credentials of the app %q: %v", app, err))
	}
	s.proofs[a] = &now
}

// proofOf is an app of the estate with its credentials as they are now.
func (s *Server) proofOf(a *App) *App {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.proofs[a]; p != nil {
		return p
	}
	return a
}
