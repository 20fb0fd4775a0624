package httpclient_test

import (
	"bufio"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/testkit"
)

var discard = log.New(io.Discard, "", 0)

// replaceDefault sets http.DefaultTransport for the test.
func replaceDefault(t *testing.T, rt http.RoundTripper) {
	t.Helper()
	before := http.DefaultTransport
	t.Cleanup(func() { http.DefaultTransport = before })
	http.DefaultTransport = rt
}

func TestDefaultHasTimeouts(t *testing.T) {
	for name, original := range map[string]http.RoundTripper{
		"net/http's":    http.DefaultTransport,
		"empty":         &http.Transport{},
		"unknown type":  testkit.RoundTripper(nil),
		"user's HTTP/2": &http.Transport{HTTP2: &http.HTTP2Config{MaxReadFrameSize: 1 << 20}},
		"user's numbers": &http.Transport{TLSHandshakeTimeout: time.Hour, ResponseHeaderTimeout: time.Hour,
			IdleConnTimeout: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			replaceDefault(t, original)
			c := httpclient.Default()
			tr := httpclient.Base(c).(*http.Transport)
			if c.Timeout != 30*time.Second || tr.TLSHandshakeTimeout != 10*time.Second ||
				tr.ResponseHeaderTimeout != 20*time.Second ||
				tr.IdleConnTimeout != 90*time.Second || tr.HTTP2.SendPingTimeout != 5*time.Second ||
				tr.HTTP2.PingTimeout != 5*time.Second {
				t.Errorf("got %v, %+v, %+v", c.Timeout, tr, tr.HTTP2)
			}
			if tr == original {
				t.Error("the default transport itself is used")
			}
			if name == "user's HTTP/2" && tr.HTTP2.MaxReadFrameSize != 1<<20 {
				t.Errorf("got MaxReadFrameSize %d, want that of the original", tr.HTTP2.MaxReadFrameSize)
			}
		})
	}
	original := &http.Transport{HTTP2: &http.HTTP2Config{SendPingTimeout: time.Minute, PingTimeout: time.Second}}
	replaceDefault(t, original)
	if got := httpclient.Base(httpclient.Default()).(*http.Transport).HTTP2; got.SendPingTimeout != time.Minute ||
		got.PingTimeout != time.Second {
		t.Errorf("got %+v, want the user's %+v", got, original.HTTP2)
	}
}

// A program behind a proxy that inspects TLS sets RootCAs in http.DefaultTransport once.
func TestDefaultTrustsWhatDefaultTransportTrusts(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter,
		r *http.Request) {
		io.WriteString(w, r.Proto)
	}))
	server.Config.ErrorLog = discard
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig

	if _, err := httpclient.Default().Get(server.URL); !neterr.Certificate(err) {
		t.Fatalf("got %v, want a certificate error", err)
	}
	for name, test := range map[string]struct {
		original func() *http.Transport
		want     string
	}{
		"clone": {func() *http.Transport {
			tr := http.DefaultTransport.(*http.Transport).Clone()
			tr.TLSClientConfig = roots.Clone()
			return tr
		}, "HTTP/2.0"},
		"HTTP/1 only": {func() *http.Transport {
			tr := &http.Transport{TLSClientConfig: roots.Clone()}
			tr.TLSClientConfig.NextProtos = nil
			return tr
		}, "HTTP/1.1"},
		// net/http adds "h2" to the protocols of this one; a clone that offered it without HTTP/2 would read garbage.
		"roots set after first use": {func() *http.Transport {
			tr := &http.Transport{}
			tr.Clone()
			tr.TLSClientConfig.RootCAs = roots.RootCAs
			return tr
		}, "HTTP/2.0"},
	} {
		t.Run(name, func(t *testing.T) {
			replaceDefault(t, test.original())
			c := httpclient.Default()
			defer c.CloseIdleConnections()
			resp, err := c.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, _ := io.ReadAll(resp.Body); string(got) != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

// The status of a proxy is known with any http.Transport. A text that is not a reason phrase is not repeated.
func TestProxyStatus(t *testing.T) {
	const own = "HTTP/1.1 403 s3cret\r\nContent-Length: 0\r\n\r\n"
	for _, test := range []struct {
		response string
		want     neterr.ProxyError // 0 if it is unknown without OnProxyConnectResponse
	}{
		{"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 6\r\n\r\ns3cret", 407},
		{"HTTP/1.1 403 Forbidden\r\nContent-Length: 6\r\n\r\ns3cret", 403},
		{"HTTP/1.1 302 Found\r\nLocation: https://proxy.example/s3cret\r\nContent-Length: 0\r\n\r\n", 302},
		{"HTTP/1.0 503 service unavailable\r\n\r\n", 503},
		{own, 0},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					io.WriteString(c, test.response)
				}
				c.Close()
			}
		}()
		proxied := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()})}

		err = post(httpclient.Restricted(&http.Client{Transport: proxied}), "https://host.example/")
		wantError(t, err, true, false)
		if got, _ := errors.AsType[neterr.ProxyError](err); got != test.want {
			t.Errorf("%q with a client of the program: got %v, want status %d", test.response, err, int(test.want))
		}
		replaceDefault(t, proxied)
		want := test.want
		if test.response == own {
			want = http.StatusForbidden
		}
		err = post(httpclient.Default(), "https://host.example/")
		if got, _ := errors.AsType[neterr.ProxyError](err); got != want {
			t.Errorf("%q with the default client: got %v, want status %d", test.response, err, int(want))
		}
	}
	// An error of a transport that is not of a proxy.
	other := testkit.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, errors.New("Forbidden") })
	err := post(httpclient.Restricted(&http.Client{Transport: other}), "https://host.example/")
	if got, ok := errors.AsType[neterr.ProxyError](err); ok {
		t.Errorf("without a proxy: got status %d", int(got))
	}
}

func TestNoRedirectsAndNoCookies(t *testing.T) {
	var requests int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if requests++; r.Header.Get("Cookie") != "" || r.URL.Path != "/" {
			t.Errorf("got a request for %s with the cookies %q", r.URL, r.Header.Get("Cookie"))
		}
		http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
		http.Redirect(w, r, "/elsewhere", http.StatusFound)
	}))
	defer server.Close()
	jar, _ := cookiejar.New(nil)
	user := &http.Client{Jar: jar, Timeout: time.Minute, Transport: server.Client().Transport}
	restricted := httpclient.Restricted(user)
	if user.Jar != jar || user.CheckRedirect != nil {
		t.Error("the user's client was changed")
	}
	if restricted.Timeout != user.Timeout || httpclient.Base(restricted) != user.Transport {
		t.Errorf("got %+v, want the time-out and the transport of %+v", restricted, user)
	}
	for _, c := range []*http.Client{restricted, httpclient.Default(), httpclient.Restricted(nil)} {
		for range 2 {
			resp, err := c.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusFound {
				t.Errorf("got status %d, want 302", resp.StatusCode)
			}
		}
		c.CloseIdleConnections()
	}
	if requests != 6 {
		t.Errorf("got %d requests, want 6", requests)
	}
}

// The header of a response is bounded. The bound of a transport of the program's own is kept.
func TestHeaderIsBounded(t *testing.T) {
	if got := httpclient.Transport().MaxResponseHeaderBytes; got != 256<<10 {
		t.Errorf("got a bound of %d bytes, want 262144", got)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X", strings.Repeat("x", 300<<10))
	}))
	defer srv.Close()
	if resp, err := httpclient.Default().Get(srv.URL); err == nil {
		resp.Body.Close()
		t.Error("a header of 300 KiB was read")
	}
}
