// Package apis contains the APIs of the examples.
package apis

import (
	"encoding/json"
	"net/http"

	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/verify"
)

// Orders returns an API for users, whose client needs the scope Orders.Read, and for daemons with the app role
// Orders.Read.All. A user gets the user's own orders, a daemon those of all users.
func Orders(v *verify.Verifier) http.Handler {
	list := func(w http.ResponseWriter, r *http.Request) {
		claims, ok := verify.ClaimsFromContext(r.Context())
		if !ok {
			http.Error(w, "no caller", http.StatusInternalServerError)
			return
		}
		orders := []string{"1017 Ladder", "1018 Rope, 20 m"}
		if claims.AppOnly() {
			orders = append(orders, "1019 Helmet")
		}
		respond(w, hops.Response{API: "api-b", Caller: hops.CallerOf(claims), Items: orders})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /orders", v.Middleware(verify.RequireScopeOrRole("Orders.Read",
		"Orders.Read.All")(http.HandlerFunc(list))))
	return mux
}

func respond(w http.ResponseWriter, a hops.Response) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(a) // fails only if the caller is gone
}
