package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/entratoken/entra"
	entraotel "github.com/entratoken/entra/adapters/otel"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/signin"
	"github.com/entratoken/entra/verify"
)

// rounds is how many rounds of traffic have all kinds of failures.
const rounds = 10

const (
	origin  = "https://webapp.contoso.example"
	scopeA  = "api://api-a/access_as_user"
	scopeB  = "api://api-b/Orders.Read"
	appOnly = "api://api-b/.default"
	expires = 20 * 24 * time.Hour // the daemon's certificate
)

// company has the programs of a company, in one process. They share a token cache.
type company struct {
	entra   *entratest.Server
	http    *http.Client  // for requests to Entra
	pause   time.Duration // between two rounds
	metrics http.Handler

	daemon *entra.TokenSource
	api    http.Handler // checks tokens and calls the next API for the user
	app    http.Handler // the web app

	storeDown atomic.Bool
}

func newCompany() (*company, error) {
	key, cert, err := newCertificate()
	if err != nil {
		return nil, err
	}
	estate := entratest.Sample()
	estate.Apps[0].Certificates = []*x509.Certificate{cert}
	estate.Lifetime = func() time.Duration { return 20 * time.Minute }
	c := &company{entra: entratest.NewServer(estate), pause: time.Second}
	c.http = &http.Client{Transport: distant{c.entra.Client().Transport}}

	registry := prometheus.NewRegistry()
	reader, err := exporter.New(
		exporter.WithRegisterer(registry), exporter.WithoutTargetInfo(), exporter.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	c.metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	telemetry, err := entraotel.New(entraotel.Config{
		MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		return nil, err
	}

	store := storetest.NewMemory() // in production, for example stores/redis
	store.Inject(func(storetest.Call) storetest.Fault {
		if c.storeDown.Load() {
			return storetest.Fault{Delay: time.Millisecond, Err: errors.New("connection refused")}
		}
		return storetest.Fault{Delay: time.Millisecond}
	})
	shared, err := telemetry.NewCache(cache.Options{Store: store, Keys: []cache.SealKey{cache.NewSealKey(randomKey())}})
	if err != nil {
		return nil, err
	}
	credential := entra.Certificate([]*x509.Certificate{cert}, key, nil)
	daemon, err := c.client("daemon", credential, shared)
	if err != nil {
		return nil, err
	}
	c.daemon = clientcreds.TokenSource(daemon, appOnly)
	if err := errors.Join(telemetry.Credential("daemon", credential), telemetry.Token("orders", c.daemon)); err != nil {
		return nil, err
	}
	return c, errors.Join(c.startAPI(telemetry, shared), c.startApp(telemetry, shared))
}

// client returns a client of an app of the sample.
func (c *company) client(app string, credential entra.Credential, shared *cache.Cache) (*entra.Client, error) {
	return entra.New(entra.Config{
		TenantID: entratest.SampleTenant, ClientID: c.entra.App(app).ClientID, Credential: credential, Cache: shared,
		HTTPClient: c.http,
	})
}

// startAPI starts an API that has the routes /orders for users and /report for apps.
func (c *company) startAPI(telemetry *entraotel.Telemetry, shared *cache.Cache) error {
	client, err := c.client("api-a", entra.Secret("api-a-secret"), shared)
	if err != nil {
		return err
	}
	v, err := verify.New(telemetry.Verify(verify.Config{
		Audiences: []string{c.entra.App("api-a").ClientID, c.entra.App("api-b").ClientID},
		Tenants:   []string{entratest.SampleTenant}, HTTPClient: c.http,
	}))
	if err != nil {
		return err
	}
	orders := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := verify.TokenFromContext(r.Context())
		if _, err := obo.ForToken(client, token, scopeB).TokenContext(r.Context()); err != nil {
			obo.WriteError(w, err)
			return
		}
		fmt.Fprintln(w, "three orders")
	})
	report := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a report") })
	mux := http.NewServeMux()
	mux.Handle("/orders", v.Middleware(verify.RequireScope("access_as_user")(orders)))
	mux.Handle("/report", v.Middleware(verify.RequireRole("Orders.Read.All")(report)))
	c.api = mux
	return nil
}

// startApp starts a web app that calls the API for its user.
func (c *company) startApp(telemetry *entraotel.Telemetry, shared *cache.Cache) error {
	client, err := c.client("webapp", entra.Secret("webapp-secret"), shared)
	if err != nil {
		return err
	}
	flow, err := authcode.New(client, authcode.Config{RedirectURL: origin + "/callback", Scopes: []string{scopeA}})
	if err != nil {
		return err
	}
	site, err := signin.New(flow, telemetry.SignIn(signin.Config{}))
	if err != nil {
		return err
	}
	c.app = site.Handler(site.RequireSignIn(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := site.TokenSource(r, scopeA).TokenContext(r.Context())
		if site.Interact(w, r, err, scopeA) {
			return
		}
		if err != nil {
			http.Error(w, "no token for the API", http.StatusBadGateway)
			return
		}
		c.call(r.Context(), "/orders", token.AccessToken)
	})))
	return nil
}

// call calls the API. token may be empty.
func (c *company) call(ctx context.Context, path, token string) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "https://orders.contoso.example"+path, nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	c.api.ServeHTTP(httptest.NewRecorder(), r)
}

// distant is a transport to a server that needs 80 ms for each response.
type distant struct{ next http.RoundTripper }

func (d distant) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(80 * time.Millisecond)
	return d.next.RoundTrip(r)
}

// round makes the traffic of round n, of which most have a failure, and pauses.
func (c *company) round(ctx context.Context, n int) error {
	defer func() {
		select {
		case <-time.After(c.pause):
		case <-ctx.Done():
		}
	}()
	mint := func(o entratest.MintOptions) string {
		o.Client, o.Resource = "webapp", "api-a"
		return c.entra.Mint(o)
	}
	lost := false
	c.storeDown.Store(false)
	switch n % rounds {
	case 1:
		if token, err := c.daemon.TokenContext(ctx); err == nil {
			c.call(ctx, "/orders", token.AccessToken) // an app has no scope
		}
	case 2:
		c.storeDown.Store(true)
	case 3: // another process of the tenant sends too many requests
		if token, err := c.daemon.TokenContext(ctx); err == nil {
			c.daemon.Invalidate(token)
		}
		defer c.entra.Inject(entratest.Fault{
			Endpoint: entratest.EndpointToken, GrantType: "client_credentials",
			Status: http.StatusTooManyRequests, RetryAfter: "3",
		})()
	case 4:
		c.call(ctx, "/orders", mint(entratest.MintOptions{Lifetime: -time.Hour}))
	case 5:
		defer c.entra.Inject(entratest.Fault{
			Endpoint: entratest.EndpointToken, GrantType: "authorization_code", Status: http.StatusServiceUnavailable,
		})()
	case 6:
		c.call(ctx, "/orders", mint(entratest.MintOptions{UnpublishedKey: true}))
	case 7:
		c.call(ctx, "/orders", "")
	case 8:
		lost = true
	}
	if token, err := c.daemon.TokenContext(ctx); err == nil {
		c.call(ctx, "/report", token.AccessToken)
	}
	user := []string{"alice@contoso.onmicrosoft.com", "bob@contoso.onmicrosoft.com"}[n%2]
	return c.visit(ctx, user, lost)
}

// visit signs a user in, loads a page of the web app, and signs the user out. If lost, the browser loses its cookies.
func (c *company) visit(ctx context.Context, user string, lost bool) error {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	browse := func(method, target string) string {
		r := httptest.NewRequestWithContext(ctx, method, target, nil)
		r.Header.Set("Accept", "text/html")
		for _, cookie := range jar.Cookies(r.URL) {
			r.AddCookie(cookie)
		}
		w := httptest.NewRecorder()
		c.app.ServeHTTP(w, r)
		jar.SetCookies(r.URL, w.Result().Cookies())
		return w.Header().Get("Location")
	}
	callback, err := c.entra.SignIn(ctx, browse(http.MethodGet, origin+"/"), user)
	if err != nil {
		return err
	}
	if lost {
		if jar, err = cookiejar.New(nil); err != nil {
			return err
		}
	}
	browse(http.MethodGet, callback.String())
	browse(http.MethodGet, origin+"/")
	browse(http.MethodPost, origin+"/logout")
	return nil
}

func newCertificate() (*rsa.PrivateKey, *x509.Certificate, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "daemon"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(expires),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(der)
	return key, cert, err
}

func randomKey() []byte {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	return key
}
