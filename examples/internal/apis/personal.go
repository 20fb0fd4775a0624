package apis

import (
	"net/http"

	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/verify"
)

// StepUp is the authentication context that Payroll demands. The tenant's Conditional Access policies define its
// conditions, here a second factor.
const StepUp = "c1"

// Shipping returns an API for users, whose client needs the scope Deliveries.Read.
func Shipping(v *verify.Verifier) http.Handler {
	mux := http.NewServeMux()
	list := fixed("shipping", "Ladder: on its way, here on Thursday", "Rope, 20 m: delivered on Monday")
	mux.Handle("GET /deliveries", v.Middleware(verify.RequireScope("Deliveries.Read")(list)))
	return mux
}

// Payroll returns an API for users who have satisfied StepUp. Their client needs the scope Payslip.Read. Without the
// step-up, the response is a claims challenge.
func Payroll(v *verify.Verifier) http.Handler {
	mux := http.NewServeMux()
	payslip := fixed("payroll", "Salary: 3,700.00", "Bonus for no falls: 150.00")
	mux.Handle("GET /payslip", v.Middleware(verify.RequireScope("Payslip.Read")(
		verify.RequireAuthContext(StepUp)(payslip))))
	return mux
}

// fixed returns a handler with the same items for every caller.
func fixed(api string, items ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := verify.ClaimsFromContext(r.Context())
		if !ok {
			http.Error(w, "no caller", http.StatusInternalServerError)
			return
		}
		respond(w, hops.Response{API: api, Caller: hops.CallerOf(claims), Items: items})
	})
}
