package entra_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

// A proxy's error is attributed to the proxy, without the proxy's text and without the password
// in its URL. This uses the default client.
func TestProxyErrorsNameTheProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusForbidden
		if r.Header.Get("Proxy-Authorization") == "" {
			status = http.StatusProxyAuthRequired
		}
		http.Error(w, "pa55w0rd", status)
	}))
	defer proxy.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, test := range map[string]struct {
		user *url.Userinfo
		host string
		want string
	}{
		"no password": {nil, proxy.Listener.Addr().String(),
			"the proxy rejected the connection with status 407; set its user and password in HTTPS_PROXY or in the HTTPClient that sends the request"},
		"not allowed": {url.UserPassword("svc", "pa55w0rd"), proxy.Listener.Addr().String(),
			"the proxy rejected the connection with status 403"},
		// and the system's words
		"not there": {url.UserPassword("svc", "pa55w0rd"), closed.Addr().String(), "cannot connect to the proxy: "},
	} {
		t.Run(name, func(t *testing.T) {
			before := http.DefaultTransport
			defer func() { http.DefaultTransport = before }()
			http.DefaultTransport = &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", User: test.user,
				Host: test.host})}
			client, err := entra.New(entra.Config{TenantID: entratest.SampleTenant,
				ClientID: "aaaaaaaa-0000-4000-8000-00000000000d", Credential: entra.Secret("daemon-secret")})
			if err != nil {
				t.Fatal(err)
			}
			_, err = clientcreds.TokenSource(client, "api://api-b/.default").TokenContext(t.Context())
			var e *entra.Error
			if !errors.As(err, &e) || e.Code != entra.CodeRequestFailed || !e.Temporary() ||
				!strings.HasPrefix(e.Description, "request to login.microsoftonline.com failed: "+test.want) {
				t.Errorf("got %v", err)
			}
			if strings.Contains(err.Error(), "pa55w0rd") {
				t.Error("the password is printed")
			}
		})
	}
}
