package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"strings"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/hops"
)

// person is Alice with a browser that does not follow redirects.
type person struct {
	webApp  string
	browser http.Client
}

func newPerson(webApp string) *person {
	jar, _ := cookiejar.New(nil) // never fails
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &person{webApp, http.Client{Jar: jar, CheckRedirect: noRedirects}}
}

// seeOrders requests the orders. If the web app requires a sign-in, seeOrders follows the
// redirects, signs Alice in at Entra and requests the orders again.
func (p *person) seeOrders(ctx context.Context, fake *entratest.Server) (calls []hops.Hop, err error) {
	address := p.webApp + "/orders"
	for range 5 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", "application/json")
		resp, err := p.browser.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return calls, json.NewDecoder(resp.Body).Decode(&calls)
		}
		if resp.StatusCode == http.StatusUnauthorized {
			address = p.webApp + "/login?return_to=/orders"
			continue
		}
		next, err := resp.Location()
		if err != nil {
			return nil, fmt.Errorf("the web app returned status %d", resp.StatusCode)
		}
		if address = next.String(); !strings.HasPrefix(address, p.webApp+"/") {
			back, err := fake.SignIn(ctx, address, contoso.Alice)
			if err != nil {
				return nil, err
			}
			address = back.String()
		}
	}
	return nil, errors.New("the web app redirects in a loop")
}
