package main

import (
	"net/http"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

// fakeApp returns the web app with an Entra and APIs in this process. hint names the account to sign in with. stop
// stops all of it.
func fakeApp(url string, lifetime time.Duration) (app http.Handler, hint string, stop func(), err error) {
	company, err := contoso.Start(func(c *entratest.Config) {
		if lifetime > 0 { // on-behalf-of needs a token that is valid for 5 more minutes
			c.Lifetime = func() time.Duration { return max(lifetime, 6*time.Minute) }
		}
	})
	if err != nil {
		return nil, "", nil, err
	}
	defer func() {
		if err != nil {
			company.Stop()
		}
	}()
	config, err := company.WebApp(url)
	if err != nil {
		return nil, "", nil, err
	}
	config.SignIn = signInConfig()
	pages, err := site.New(config)
	if err != nil {
		return nil, "", nil, err
	}
	browser, leave, err := company.Browser(pages)
	if err != nil {
		return nil, "", nil, err
	}
	hint = "sign in as " + contoso.Alice + " with the password " + company.Entra.User(contoso.Alice).Password
	return browser, hint, func() { leave(); company.Stop() }, nil
}
