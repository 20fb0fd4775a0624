// Package contoso is a company in one process: a fake Entra ID and its APIs, for examples
// that need no tenant, and for their tests. The APIs are real servers with TLS on this
// machine. It is no part of the module's interface, and changes as the examples do.
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

// The scopes of the APIs. api-a serves users and calls api-b for them; api-b serves users
// and daemons. shipping serves users who consented to it themselves; payroll, to which an
// administrator consented for all, serves users who have just given a second factor.
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
	Cache    *cache.Cache      // of all its programs
	Desk     string            // the address of api-a
	Orders   string            // the address of api-b
	Shipping string            // the address of shipping
	Payroll  string            // the address of payroll
	Network  http.RoundTripper // reaches the APIs, and trusts their certificate

	servers []*httptest.Server
}

// Start starts the company. changes are made to what the fake Entra knows: how long
// tokens live, for instance.
func Start(changes ...func(*entratest.Config)) (*Contoso, error) {
	estate := estate()
	for _, change := range changes {
		change(&estate)
	}
	c := &Contoso{Entra: entratest.NewServer(estate), Cache: cache.New(cache.Options{})}

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
	c.Orders, c.Network = server.URL+"/orders", server.Client().Transport // the certificate of all
	desk := &apis.MiddleTier{Verifier: verifiers["api-a"], Scope: "access_as_user", Client: client, Next: c.Orders, NextWant: OrdersScope, Base: c.Network}
	c.Desk = c.serve(desk.Handler()).URL + "/desk"
	c.Shipping = c.serve(apis.Shipping(verifiers["shipping"])).URL + "/deliveries"
	c.Payroll = c.serve(apis.Payroll(verifiers["payroll"])).URL + "/payslip"
	return c, nil
}

// estate is the sample's, with two more APIs, and a web app that says more of its users.
func estate() entratest.Config {
	e := entratest.Sample()
	for i := range e.Apps {
		if app := &e.Apps[i]; app.Name == "webapp" {
			app.RedirectURIs = append(app.RedirectURIs, "http://localhost/") // after signing out
			app.OptionalClaims = []string{"auth_time", "acct", "login_hint"}
			app.Roles = []string{"Orders.Approver"}
			app.Permissions = append(app.Permissions, entratest.Permission{Resource: "api://payroll", Scopes: []string{"Payslip.Read"}})
			e.Users[0].Roles["api://"+app.ClientID] = app.Roles // Alice
		}
	}
	e.Apps = append(e.Apps, entratest.App{
		Name:     "shipping",
		ClientID: "aaaaaaaa-0000-4000-8000-0000000005ea",
		TenantID: entratest.SampleTenant,
		AppIDURI: "api://shipping",
		Scopes:   []string{"Deliveries.Read"},
	}, entratest.App{
		Name:     "payroll",
		ClientID: "aaaaaaaa-0000-4000-8000-00000000a1c5",
		TenantID: entratest.SampleTenant,
		AppIDURI: "api://payroll",
		Scopes:   []string{"Payslip.Read"},
	})
	return e
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

// Config is the registration of an app, by name: "webapp", "api-a", "api-b", "shipping",
// "payroll" or "daemon". The two without a secret are APIs alone.
func (c *Contoso) Config(app string) entra.Config {
	a := c.Entra.App(app)
	cfg := entra.Config{TenantID: a.TenantID, ClientID: a.ClientID, Cache: c.Cache, HTTPClient: c.Entra.Client()}
	if len(a.Secrets) > 0 {
		cfg.Credential = entra.Secret(a.Secrets[0])
	}
	return cfg
}

// Verifier verifies the tokens that an API is called with.
func (c *Contoso) Verifier(api string) (*verify.Verifier, error) {
	a := c.Entra.App(api)
	return verify.New(verify.Config{Audiences: []string{a.ClientID}, Tenants: []string{a.TenantID}, HTTPClient: c.Entra.Client()})
}
