package doctor_test

import (
	"errors"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/testkit"
)

// Connection errors name the proxy, without the password in its URL.
func TestProxyErrors(t *testing.T) {
	for _, tt := range []struct {
		err          error
		step, advice string
	}{
		{&net.DNSError{Err: "no such host", Name: "proxy.example", IsNotFound: true}, "name", "Correct it"},
		{&net.OpError{Op: "proxyconnect", Net: "tcp", Err: syscall.ECONNREFUSED}, "connection",
			"address and port in HTTPS_PROXY"},
		{neterr.ProxyError(http.StatusProxyAuthRequired), "connection", "HTTPS_PROXY=http://USER:PASSWORD@"},
		{neterr.ProxyError(http.StatusForbidden), "connection",
			"allows connections to login.microsoftonline.com on port 443"},
		{errors.New("Proxy Authentication Required for user:pa55"), "connection", "address and port in HTTPS_PROXY"},
	} {
		steps := doctor.Examine(t.Context(), doctor.Config{
			App: entra.Config{TenantID: "11111111-1111-4111-8111-111111111111",
				ClientID: "22222222-2222-4222-8222-222222222222"},
			Scope: "api://orders/.default",
			Open: func() (entra.Credential, doctor.Credential, error) {
				return entra.Secret("secret"), doctor.Credential{}, nil
			},
			Recorder: &httprecord.Recorder{Base: testkit.RoundTripper(func(*http.Request) (*http.Response, error) {
				return nil,
					tt.err
			})},
			Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://user:pa55@proxy.example:8080") },
		})
		if !doctor.Failed(steps) {
			t.Errorf("%v: no step failed", tt.err)
		}
		for _, s := range steps {
			if s.Status == doctor.StatusFail && (s.Name != tt.step || !strings.Contains(s.Text, "proxy.example") ||
				!strings.Contains(s.Advice, tt.advice)) {
				t.Errorf("%v: got %+v", tt.err, s)
			}
			if strings.Contains(s.Text+s.Advice, "pa55") {
				t.Errorf("the proxy's password is printed: %+v", s)
			}
		}
	}
}
