package apis

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/verify"
)

// MiddleTier is an API that calls another one for its caller.
type MiddleTier struct {
	Verifier *verify.Verifier  // validates the tokens of callers
	Scope    string            // the scope that a caller needs
	Client   *entra.Client     // the API's own registration
	Next     string            // the address of the next API
	NextWant string            // the scope of the next API
	Base     http.RoundTripper // sends the calls; if nil, http.DefaultTransport is used
}

// Handler returns the API.
func (m *MiddleTier) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /desk", m.Verifier.Middleware(verify.RequireScope(m.Scope)(http.HandlerFunc(m.desk))))
	return mux
}

func (m *MiddleTier) desk(w http.ResponseWriter, r *http.Request) {
	token, ok := verify.TokenFromContext(r.Context())
	if !ok {
		http.Error(w, "no caller", http.StatusInternalServerError)
		return
	}
	claims := token.Claims()
	// An API for several tenants acquires the token in the caller's tenant.
	client, err := m.Client.WithTenant(claims.TenantID)
	if err != nil {
		http.Error(w, "no tenant", http.StatusInternalServerError)
		return
	}
	source := obo.ForToken(client, token, m.NextWant)
	next, err := hops.Get(r.Context(), source, m.Base, m.Next)
	if err != nil {
		m.writeError(w, r, err)
		return
	}
	respond(w, hops.Response{API: "api-a", Caller: hops.CallerOf(claims), Token: hops.TokenOf(obo.FlowName, source),
		Next: next})
}

// writeError sends a response that the caller can act on, since an API cannot interact with the user.
func (m *MiddleTier) writeError(w http.ResponseWriter, r *http.Request, err error) {
	slog.WarnContext(r.Context(), "the next API could not be called", "error", err)
	var e *entra.Error
	switch {
	case errors.As(err, &e) && e.Has(65001):
		http.Error(w, "the user or an administrator has not consented to the next API", http.StatusForbidden)
	// a policy of Entra's or of the next API: the caller has the user satisfy e.Claims
	case e != nil && e.InteractionRequired():
		entra.SetClaimsChallenge(w.Header(), e.Claims)
		http.Error(w, "the user must sign in again", http.StatusUnauthorized)
	case e != nil && e.Temporary():
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(e.RetryAfter.Seconds()))))
		http.Error(w, "the next API cannot be called now", http.StatusServiceUnavailable)
	default:
		http.Error(w, "the next API cannot be called", http.StatusBadGateway)
	}
}
