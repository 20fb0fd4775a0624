package entra_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

const scopeOfB = "api://api-b/.default"

// hosts returns the methods and hosts of the requests, in order.
func (e *estate) hosts() (hosts []string) {
	for _, r := range e.Sent() {
		u, err := url.Parse(r.URL)
		if err != nil {
			return append(hosts, err.Error())
		}
		hosts = append(hosts, r.Method+" "+u.Host)
	}
	return hosts
}

func wantHosts(t *testing.T, e *estate, want ...string) {
	t.Helper()
	if got := e.hosts(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got hosts %q, want %q", got, want)
	}
}

// metadata is a fake instance metadata service.
type metadata struct {
	queries atomic.Int32
	respond func(*http.Request) (*http.Response, error)
}

func (m *metadata) RoundTrip(req *http.Request) (*http.Response, error) {
	m.queries.Add(1)
	return m.respond(req)
}

func location(status int, body string) func(*http.Request) (*http.Response, error) {
	return func(req *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Header: http.Header{"Location": {"http://elsewhere.example/"}},
			Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
}

// The app's own tokens come from the region, including the discovery document, at the host that
// MSAL builds for each cloud.
func TestRegionalEndpoint(t *testing.T) {
	for _, tt := range []struct {
		cloud entra.Cloud
		host  string // the estate's
		want  string
	}{
		{"", "", "westeurope.login.microsoft.com"},
		{"login.windows.net", "", "westeurope.login.microsoft.com"},
		{entra.CloudUSGovernment, "", "westeurope.login.microsoftonline.us"},
		{"login.usgovcloudapi.net", "", "westeurope.login.microsoftonline.us"},
		{entra.CloudChina, "", "westeurope.login.partner.microsoftonline.cn"},
		{"login.chinacloudapi.cn", "", "westeurope.login.partner.microsoftonline.cn"},
		{entra.CloudBleu, "", "westeurope.login.sovcloud-identity.fr"},
		{"login.example.internal", "login.example.internal", "westeurope.login.example.internal"},
	} {
		e := newEstate(func(c *entratest.Config) { c.Host = tt.host })
		cfg := e.config("daemon")
		cfg.Cloud, cfg.Region = tt.cloud, "westeurope"
		c := testkit.Client(t, cfg)
		if _, err := clientcreds.TokenSource(c, scopeOfB).Token(); err != nil {
			t.Errorf("%s: %v", tt.cloud, err)
		}
		wantHosts(t, e, "GET "+tt.want, "POST "+tt.want)
		if c.Region() != "westeurope" {
			t.Errorf("Region is %q", c.Region())
		}
	}
}

// A certificate's assertion is for the region's token endpoint, and is accepted there.
func TestRegionWithCertificate(t *testing.T) {
	cert, key := selfSigned(t)
	e := newEstate(func(c *entratest.Config) { c.Apps[0].Certificates = append(c.Apps[0].Certificates, cert) })
	cfg := e.config("daemon")
	if cfg.ClientID != e.Server.App("daemon").ClientID {
		t.Fatal("the first app is not the daemon")
	}
	cfg.Region, cfg.Credential = "westeurope", entra.Certificate([]*x509.Certificate{cert}, key, nil)
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeOfB).Token(); err != nil {
		t.Error(err)
	}
	wantHosts(t, e, "GET westeurope.login.microsoft.com", "POST westeurope.login.microsoft.com")
}

// Users' tokens come from the global endpoint, although MSAL would request them from the
// region.
func TestRegionIsNotForUsers(t *testing.T) {
	e := newEstate()
	cfg := e.config("api-a")
	cfg.Region = entra.DetectRegion
	c := testkit.Client(t, cfg)
	service := &metadata{respond: location(200, "westeurope")}
	c.SetMetadata(service)
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	if _, err := obo.TokenSource(c, assertion, scopeOfB).Token(); err != nil {
		t.Fatal(err)
	}
	wantHosts(t, e, "GET login.microsoftonline.com", "POST login.microsoftonline.com")
	if n := service.queries.Load(); n != 0 {
		t.Errorf("got %d queries of the metadata service for a user's token", n)
	}
}

// MSAL sends users' grants to a configured region, too.
func TestMSALRegionForUsers(t *testing.T) {
	e := newEstate()
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	app := msalClient(t, e, "api-a", confidential.WithAzureRegion("westeurope"), confidential.WithInstanceDiscovery(false))
	app.AcquireTokenOnBehalfOf(t.Context(), assertion, []string{scopeOfB})
	wantHosts(t, e, "GET westeurope.login.microsoft.com", "POST westeurope.login.microsoft.com")
}

func TestRegionIsDetected(t *testing.T) {
	const global, regional = "login.microsoftonline.com", "westeurope.login.microsoft.com"
	for _, tt := range []struct {
		name, env string
		respond   func(*http.Request) (*http.Response, error)
		want      string
		queries   int32
	}{
		{"from the environment", "westeurope", location(500, ""), regional, 0},
		{"as App Service writes it", "West Europe", location(500, ""), regional, 0},
		{"not a region in the environment", "evil.example/", location(200, "westeurope"), global, 0},
		{"from the service", "", location(200, "westeurope"), regional, 1},
		{"an error of the service", "", location(500, "westeurope"), global, 1},
		{"a redirect", "", location(302, "westeurope"), global, 1},
		{"nothing", "", location(200, ""), global, 1},
		{"a page", "", location(200, "<html>"), global, 1},
		{"another host", "", location(200, "login.evil.example/?"), global, 1},
		{"two labels", "", location(200, "evil.example"), global, 1},
		{"a long response", "", location(200, strings.Repeat("a", 1<<20)), global, 1},
		{"no service", "", func(*http.Request) (*http.Response, error) { return nil, errors.New("no route to host") }, global,
			1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("REGION_NAME", tt.env)
			e := newEstate()
			cfg := e.config("daemon")
			cfg.Region = entra.DetectRegion
			c := testkit.Client(t, cfg)
			service := &metadata{respond: func(req *http.Request) (*http.Response, error) {
				if req.URL.String() != entra.MetadataURL || req.Header.Get("Metadata") != "true" {
					t.Errorf("got request %s with %v", req.URL, req.Header)
				}
				return tt.respond(req)
			}}
			c.SetMetadata(service)
			other, err := c.WithTenant(entratest.SampleOtherTenant)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range []*entra.Client{c, other, c} {
				source := clientcreds.TokenSource(c, scopeOfB)
				tok, err := source.Token()
				if err != nil {
					t.Fatal(err)
				}
				source.Invalidate(tok)
			}
			wantHosts(t, e, "GET "+tt.want, "POST "+tt.want, "GET "+tt.want, "POST "+tt.want, "POST "+tt.want)
			if n := service.queries.Load(); n != tt.queries {
				t.Errorf("got %d queries of the metadata service, want %d", n, tt.queries)
			}
		})
	}
}

// A metadata service that does not respond costs two seconds once, however many callers there
// are. A caller whose context ends earlier does not wait.
func TestRegionDetectionIsBounded(t *testing.T) {
	t.Setenv("REGION_NAME", "")
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		cfg := e.config("daemon")
		cfg.Region = entra.DetectRegion
		c := testkit.Client(t, cfg)
		service := &metadata{respond: func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}}
		c.SetMetadata(service)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := clientcreds.TokenSource(c, scopeOfB).TokenContext(ctx); !errors.Is(err, context.DeadlineExceeded) ||
			time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		var wg sync.WaitGroup
		for _, tenant := range []string{entratest.SampleTenant, entratest.SampleOtherTenant} {
			for range 50 {
				wg.Go(func() {
					c, err := c.WithTenant(tenant)
					if err == nil {
						_, err = clientcreds.TokenSource(c, scopeOfB).Token()
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
		}
		wg.Wait()
		if took := time.Since(start); took != 2*time.Second {
			t.Errorf("took %v, want 2s", took)
		}
		if n := service.queries.Load(); n != 1 {
			t.Errorf("got %d queries of the metadata service", n)
		}
		if c.Region() != "" || e.TokenRequests() != 2 {
			t.Errorf("region %q, %d requests", c.Region(), e.TokenRequests())
		}
	})
}

// For any response of the metadata service, secrets are sent to Microsoft alone.
func FuzzRegion(f *testing.F) {
	for _, s := range []string{"westeurope", "West Europe", "a.b", "evil.example/", "evil.example#", "x@evil.example",
		"-a", "a-", strings.Repeat("a", 64), "", "\n westeurope \n", "ｗ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, region string) {
		t.Setenv("REGION_NAME", "")
		e := newEstate()
		e.Next = testkit.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("no network") })
		cfg := e.config("daemon")
		cfg.Region = entra.DetectRegion
		c := testkit.Client(t, cfg)
		c.SetMetadata(testkit.RoundTripper(location(200, region)))
		if _, err := clientcreds.TokenSource(c, scopeOfB).Token(); err == nil {
			t.Fatal("a token without a network")
		}
		for _, host := range e.hosts() {
			label, rest, _ := strings.Cut(strings.TrimPrefix(host, "GET "), ".")
			if host != "GET login.microsoftonline.com" && (rest != "login.microsoft.com" || label == "" ||
				!bytes.Contains([]byte(region), []byte(label))) {
				t.Errorf("%q sends a request to %s", region, host)
			}
		}
	})
}
