package apis

import (
	"log/slog"
	"net/http"

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
	obo.WriteError(w, err)
}
