// Package contoso is a company in one process: a fake Entra ID and two APIs, for examples
// that need no tenant. The APIs are real servers with TLS on this machine.
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

// The scopes of the APIs: api-a serves users and calls api-b for them, api-b serves users
// and daemons.
const (
	DeskScope   = "api://api-a/access_as_user"
	OrdersScope = "api://api-b/Orders.Read"
	OrdersAll   = "api://api-b/.default"
)

// Contoso is the company.
type Contoso struct {
	Entra   *entratest.Server
	Cache   *cache.Cache      // of all its programs
	Desk    string            // the address of api-a
	Orders  string            // the address of api-b
	Network http.RoundTripper // reaches the APIs, and trusts their certificate

	servers []*httptest.Server
}

// Start starts the company.
func Start() (*Contoso, error) {
	estate := entratest.Sample()
	for i, app := range estate.Apps {
		if app.Name == "webapp" { // where the browser goes after signing out
			estate.Apps[i].RedirectURIs = append(app.RedirectURIs, "http://localhost/")
		}
	}
	c := &Contoso{Entra: entratest.NewServer(estate), Cache: cache.New(cache.Options{})}

	b, err := c.Verifier("api-b")
	if err != nil {
		return nil, err
	}
	a, err := c.Verifier("api-a")
	if err != nil {
		return nil, err
	}
	client, err := entra.New(c.Config("api-a"))
	if err != nil {
		return nil, err
	}
	server := c.serve(apis.Orders(b))
	c.Orders, c.Network = server.URL+"/orders", server.Client().Transport // the certificate of all
	desk := &apis.MiddleTier{Verifier: a, Scope: "access_as_user", Client: client, Next: c.Orders, NextWant: OrdersScope, Base: c.Network}
	c.Desk = c.serve(desk.Handler()).URL + "/desk"
	return c, nil
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

// Config is the registration of an app, by name: "webapp", "api-a", "api-b" or "daemon".
func (c *Contoso) Config(app string) entra.Config {
	a := c.Entra.App(app)
	return entra.Config{
		TenantID: a.TenantID, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]),
		Cache: c.Cache, HTTPClient: c.Entra.Client(),
	}
}

// Verifier verifies the tokens that an API is called with.
func (c *Contoso) Verifier(api string) (*verify.Verifier, error) {
	a := c.Entra.App(api)
	return verify.New(verify.Config{Audiences: []string{a.ClientID}, Tenants: []string{a.TenantID}, HTTPClient: c.Entra.Client()})
}
