// Package contoso runs a company in one process, with a fake Entra ID and APIs, for examples without a tenant and for
// their tests. The APIs are real servers with TLS on this machine. The package is not part of the module's API.
package contoso

import (
	"net/http"
	"net/http/httptest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/internal/apis"
	"github.com/entratoken/entra/verify"
)

// Scopes of the APIs. api-a serves users and calls api-b for them. api-b serves users and daemons. shipping serves
// users who consented to it. An administrator has consented to payroll for all users, and it requires a second factor.
const (
	DeskScope     = "api://api-a/access_as_user"
	OrdersScope   = "api://api-b/Orders.Read"
	OrdersAll     = "api://api-b/.default"
	ShippingScope = "api://shipping/Deliveries.Read"
	PayrollScope  = "api://payroll/Payslip.Read"
)

// Contoso is the company.
type Contoso struct {
	Entra    *entratest.Server
	Cache    *cache.Cache      // shared by all programs
	Desk     string            // URL of api-a
	Orders   string            // URL of api-b
	Shipping string            // URL of shipping
	Payroll  string            // URL of payroll
	Network  http.RoundTripper // trusts the certificate of the APIs

	servers []*httptest.Server
}

// Start starts the company. changes modify the configuration of the fake Entra, for example the lifetime of tokens.
func Start(changes ...func(*entratest.Config)) (*Contoso, error) {
	config := fakeConfig()
	for _, change := range changes {
		change(&config)
	}
	c := &Contoso{Entra: entratest.NewServer(config), Cache: cache.New(cache.Options{})}

	verifiers := map[string]*verify.Verifier{}
	for _, api := range []string{"api-a", "api-b", "shipping", "payroll"} {
		v, err := c.Verifier(api)
		if err != nil {
			return nil, err
		}
		verifiers[api] = v
	}
	client, err := entra.New(c.Config("api-a"))
	if err != nil {
		return nil, err
	}
	server := c.serve(apis.Orders(verifiers["api-b"]))
	c.Orders, c.Network = server.URL+"/orders", server.Client().Transport // all APIs have the same certificate
	desk := &apis.MiddleTier{
		Verifier: verifiers["api-a"], Scope: "access_as_user", Client: client,
		Next: c.Orders, NextWant: OrdersScope, Base: c.Network,
	}
	c.Desk = c.serve(desk.Handler()).URL + "/desk"
	c.Shipping = c.serve(apis.Shipping(verifiers["shipping"])).URL + "/deliveries"
	c.Payroll = c.serve(apis.Payroll(verifiers["payroll"])).URL + "/payslip"
	return c, nil
}

// fakeConfig returns the sample configuration with two more APIs and more claims for the web app.
func fakeConfig() entratest.Config {
	c := entratest.Sample()
	for i := range c.Apps {
		if app := &c.Apps[i]; app.Name == "webapp" {
			app.RedirectURIs = append(app.RedirectURIs, "http://localhost/") // after signing out
			app.OptionalClaims = []string{"auth_time", "acct", "login_hint"}
			app.Roles = []string{"Orders.Approver"}
			payroll := entratest.Permission{Resource: "api://payroll", Scopes: []string{"Payslip.Read"}}
			app.Permissions = append(app.Permissions, payroll)
			c.Users[0].Roles["api://"+app.ClientID] = app.Roles // Alice
		}
	}
	c.Apps = append(c.Apps, entratest.App{
		Name:     "shipping",
		ClientID: "aaaaaaaa-0000-4000-8000-0000000005ea",
		TenantID: entratest.SampleTenant,
		AppIDURI: "api://shipping", TokenVersion: 2,
		Scopes: []string{"Deliveries.Read"},
	}, entratest.App{
		Name:     "payroll",
		ClientID: "aaaaaaaa-0000-4000-8000-00000000a1c5",
		TenantID: entratest.SampleTenant,
		AppIDURI: "api://payroll", TokenVersion: 2,
		Scopes: []string{"Payslip.Read"},
	})
	return c
}

func (c *Contoso) serve(h http.Handler) *httptest.Server {
	s := httptest.NewTLSServer(h)
	c.servers = append(c.servers, s)
	return s
}

// Stop stops the APIs.
func (c *Contoso) Stop() {
	for _, s := range c.servers {
		s.Close()
	}
}

// Config returns the registration of an app: "webapp", "api-a", "api-b", "shipping", "payroll" or "daemon". shipping
// and payroll do not need a secret, because they do not call other APIs.
func (c *Contoso) Config(app string) entra.Config {
	a := c.Entra.App(app)
	cfg := entra.Config{TenantID: a.TenantID, ClientID: a.ClientID, Cache: c.Cache, HTTPClient: c.Entra.Client()}
	if len(a.Secrets) > 0 {
		cfg.Credential = entra.Secret(a.Secrets[0])
	}
	return cfg
}

// Verifier returns a verifier for the tokens that callers of an API send.
func (c *Contoso) Verifier(api string) (*verify.Verifier, error) {
	a := c.Entra.App(api)
	return verify.New(verify.Config{
		Audiences: []string{a.ClientID}, Tenants: []string{a.TenantID}, HTTPClient: c.Entra.Client(),
	})
}
