package apis

import (
	"net/http"

	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/verify"
)

// StepUp is the authentication context that Payroll demands: which sign-ins satisfy it is
// for the tenant's Conditional Access policies to say, here a second factor.
const StepUp = "c1"

// Shipping is an API that serves users, through a client with the scope Deliveries.Read.
func Shipping(v *verify.Verifier) http.Handler {
	mux := http.NewServeMux()
	list := say("shipping", "Ladder: on its way, here on Thursday", "Rope, 20 m: delivered on Monday")
	mux.Handle("GET /deliveries", v.Middleware(verify.RequireScope("Deliveries.Read")(list)))
	return mux
}

// Payroll is an API that serves users, through a client with the scope Payslip.Read, if
// they signed in as its authentication context demands. If not, it answers with the claims
// challenge that says so.
func Payroll(v *verify.Verifier) http.Handler {
	mux := http.NewServeMux()
	payslip := say("payroll", "Salary: 3,700.00", "Bonus for no falls: 150.00")
	mux.Handle("GET /payslip", v.Middleware(verify.RequireScope("Payslip.Read")(verify.RequireAuthContext(StepUp)(payslip))))
	return mux
}

// say answers every caller the same.
func say(api string, items ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		claims, ok := verify.ClaimsFromContext(r.Context())
		if !ok {
			http.Error(w, "no caller", http.StatusInternalServerError)
			return
		}
		respond(w, hops.Response{API: api, Caller: hops.CallerOf(claims), Items: items})
	})
}
