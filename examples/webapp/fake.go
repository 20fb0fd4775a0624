package main

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/webapp/site"
)

// fakeApp is the web app of Contoso, whose Entra and APIs are in this process. hint says whom
// to sign in as; stop ends all of it.
func fakeApp(url string, life time.Duration) (app http.Handler, hint string, stop func(), err error) {
	company, err := contoso.Start(func(c *entratest.Config) {
		if life > 0 { // api-a's calls to api-b need 5 minutes
			c.Lifetime = func() time.Duration { return max(life, 6*time.Minute) }
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
	config.SignIn.Logger = slog.Default()
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
