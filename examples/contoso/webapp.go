package contoso

import (
	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/internal/apis"
	"github.com/entratoken/entra/examples/webapp/site"
)

// WebApp is what the web app at url, such as "http://localhost:8080", is made of here. Its
// users consent to api-a when they sign in, and to shipping when they first go there. changes
// are made to how they sign in.
func (c *Contoso) WebApp(url string, changes ...func(*authcode.Config)) (site.Config, error) {
	client, err := entra.New(c.Config("webapp"))
	if err != nil {
		return site.Config{}, err
	}
	cfg := authcode.Config{RedirectURL: url + "/callback", Scopes: []string{DeskScope}}
	for _, change := range changes {
		change(&cfg)
	}
	flow, err := authcode.New(client, cfg)
	if err != nil {
		return site.Config{}, err
	}
	return site.Config{
		Flow:    flow,
		Network: c.Network,
		Try:     &site.Try{Username: Alice, Password: c.Entra.User(Alice).Password},
		APIs: []site.API{
			{Path: "/orders", Name: "Orders", URL: c.Desk, Scope: DeskScope, About: "What you ordered. An API gets it from another one on your behalf."},
			{Path: "/deliveries", Name: "Deliveries", URL: c.Shipping, Scope: ShippingScope, About: "Where it is. You are asked for your consent the first time you look, and not before."},
			{Path: "/payslip", Name: "Payslip", URL: c.Payroll, Scope: PayrollScope, About: "What you earn. The API wants a second factor first: a step-up."},
		},
	}, nil
}

// StepUp is the authentication context that payroll demands.
const StepUp = apis.StepUp

// Alice works at Contoso, has a second factor, and may approve orders.
const Alice = "alice@contoso.onmicrosoft.com"
