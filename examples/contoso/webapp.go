package contoso

import (
	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/examples/internal/apis"
	"github.com/entratoken/entra/examples/webapp/site"
)

// WebApp returns the configuration of the web app at url, such as "http://localhost:8080". Users consent to api-a when
// they sign in, and to shipping when they first open its page. changes modify the configuration of the sign-in.
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
			{
				Path: "/orders", Name: "Orders", URL: c.Desk, Scope: DeskScope,
				About: "Your orders. The API gets them from another API on your behalf.",
			}, {
				Path: "/deliveries", Name: "Deliveries", URL: c.Shipping, Scope: ShippingScope,
				About: "Your deliveries. You are prompted for your consent when you first open the page.",
			}, {
				Path: "/payslip", Name: "Payslip", URL: c.Payroll, Scope: PayrollScope,
				About: "Your pay. The API requires a second factor (a step-up).",
			},
		},
	}, nil
}

// StepUp is the authentication context that payroll demands.
const StepUp = apis.StepUp

// Alice works at Contoso, has a second factor, and may approve orders.
const Alice = "alice@contoso.onmicrosoft.com"
