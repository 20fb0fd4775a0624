package entra_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

// api is a resource under a host name, in-process.
type api map[string]http.HandlerFunc

func (a api) RoundTrip(req *http.Request) (*http.Response, error) {
	h, ok := a[req.URL.Host]
	if !ok {
		return nil, errors.New("no such host: " + req.URL.Host)
	}
	if req.Body != nil {
		defer req.Body.Close()
	}
	w := httptest.NewRecorder()
	h(w, req)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func daemonSource(t *testing.T, e *estate) *entra.TokenSource {
	return clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
}

func TestTransport(t *testing.T) {
	e := newEstate()
	source := daemonSource(t, e)
	var got string
	client := &http.Client{Transport: &entra.Transport{Source: source,
		Base: api{"api.example": func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Get("Authorization")
		}}}}
	req, _ := http.NewRequest("GET", "https://api.example/", nil)
	req.Header.Set("X-Mine", "1")
	if _, err := client.Do(req); err != nil {
		t.Fatal(err)
	}
	if tok, _ := source.Token(); got != "Bearer "+tok.AccessToken {
		t.Errorf("sent %q", got)
	}
	if len(req.Header) != 1 {
		t.Error("the request was changed")
	}
}

func TestTransportCarriesTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: 10 * time.Second})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		body := &closeSpy{Reader: strings.NewReader("x")}
		req, _ := http.NewRequestWithContext(ctx, "POST", "https://api.example/", body)
		start := time.Now()
		_, err := (&entra.Transport{Source: daemonSource(t, e), Base: api{}}).RoundTrip(req)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if !body.closed {
			t.Error("the body was not closed")
		}
		time.Sleep(10 * time.Second) // the request for a token goes on
	})
}

type closeSpy struct {
	io.Reader
	closed bool
}

func (c *closeSpy) Close() error { c.closed = true; return nil }

func TestTransportRejectsInvalidRequests(t *testing.T) {
	e := newEstate()
	reached := api{"api.example": func(w http.ResponseWriter, r *http.Request) { t.Error("the request was sent") }}
	for _, tt := range []struct {
		transport *entra.Transport
		url       string
	}{
		{&entra.Transport{Source: daemonSource(t, e), Base: reached}, "http://api.example/"},
		{&entra.Transport{Base: reached}, "https://api.example/"},
	} {
		_, err := (&http.Client{Transport: tt.transport}).Get(tt.url)
		if got := testkit.Error(t, err); got.Code != "invalid_request" {
			t.Errorf("%s: %v", tt.url, err)
		}
	}
	wantForms(t, e)
}

// The API of a first test, an httptest.Server, has no TLS, and in a service mesh the proxy encrypts the
// connection.
func TestPlainHTTP(t *testing.T) {
	mesh := func(u *url.URL) bool { return u.Host == "orders.shop.svc" }
	for _, tt := range []struct {
		url   string
		allow func(*url.URL) bool
		want  bool
	}{
		{"http://localhost:8080/", nil, true},
		{"http://LOCALHOST/", nil, true},
		{"http://127.0.0.1:8080/", nil, true},
		{"http://127.8.9.1/", nil, true},
		{"http://[::1]:8080/", nil, true},
		{"http://orders.shop.svc/", mesh, true},
		{"http://orders.shop.svc/", nil, false},
		{"http://other.shop.svc/", mesh, false},
		{"http://localhost.example/", nil, false},
		{"http://127.0.0.1.example/", nil, false},
		{"http://10.0.0.1/", nil, false},
		{"http://0.0.0.0/", nil, false},
		{"ws://localhost/", func(*url.URL) bool { return true }, false},
	} {
		e := newEstate()
		source := daemonSource(t, e)
		var got []string
		base := testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
			got = append(got, r.Header.Get("Authorization"))
			return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
		})
		req, err := http.NewRequest("GET", tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = (&entra.Transport{Source: source, Base: base, AllowHTTP: tt.allow}).RoundTrip(req)
		if tt.want {
			if tok, _ := source.Token(); err != nil || !slices.Equal(got, []string{"Bearer " + tok.AccessToken}) {
				t.Errorf("%s: got %v and requests with %q, want one with the token", tt.url, err, got)
			}
			continue
		}
		want := "entra: invalid_request: a token is not sent to " + req.URL.Host + " without TLS; use https, " +
			"or set Transport.AllowHTTP if something else encrypts the connection"
		if err == nil || err.Error() != want || len(got) != 0 {
			t.Errorf("%s: got %v and %d requests, want %q", tt.url, err, len(got), want)
		}
		wantForms(t, e)
	}
}

// A request to this machine may leave it through a proxy, which can read the token.
func TestTokenIsNotSentToProxy(t *testing.T) {
	proxy := func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.example:3128") }
	for _, tt := range []struct {
		name  string
		proxy func(*http.Request) (*url.URL, error)
		allow func(*url.URL) bool
		want  string // the address of the connection with the token, or ""
	}{
		{"proxy", proxy, nil, ""},
		{"proxy that AllowHTTP accepts", proxy, func(u *url.URL) bool { return u.Port() == "9" }, "proxy.example:3128"},
		{"proxy of other hosts", func(*http.Request) (*url.URL, error) { return nil, nil }, nil, "localhost:9"},
		{"no proxy", nil, nil, "localhost:9"},
		{"failing proxy", func(*http.Request) (*url.URL, error) { return nil, errors.New("no proxy") }, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEstate()
			source := daemonSource(t, e)
			var got []string
			base := &http.Transport{Proxy: tt.proxy, DisableKeepAlives: true}
			base.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					req, err := http.ReadRequest(bufio.NewReader(server))
					if err != nil {
						t.Error(err)
						return
					}
					got = append(got, address, req.Header.Get("Authorization"))
					io.WriteString(server, "HTTP/1.1 204 No Content\r\n\r\n")
				}()
				return client, nil
			}
			req, _ := http.NewRequest("GET", "http://localhost:9/x", nil)
			_, err := (&entra.Transport{Source: source, Base: base, AllowHTTP: tt.allow}).RoundTrip(req)
			if tt.want == "" {
				const want = "entra: invalid_request: a token is not sent to localhost:9 through a proxy without TLS; " +
					"use https, let the Proxy of Transport.Base return nil, " +
					"or set Transport.AllowHTTP if something else encrypts the connection"
				if err == nil || err.Error() != want || got != nil {
					t.Errorf("got %v and %q, want %q", err, got, want)
				}
				wantForms(t, e)
				return
			}
			if tok, _ := source.Token(); err != nil || !slices.Equal(got, []string{tt.want, "Bearer " + tok.AccessToken}) {
				t.Errorf("got %v and %q, want a token for %s", err, got, tt.want)
			}
		})
	}
}

// A token is sent to the host that the program addressed, and to no host that a redirect names.
func TestTokenIsNotSentToAnotherHost(t *testing.T) {
	for _, tt := range []struct {
		name string
		hops []string // where each request is sent on to
		want []string // hosts that got a token
		err  bool
	}{
		{"same host", []string{"https://api.example/2"}, []string{"api.example/", "api.example/2"}, false},
		{"same host and port, written out", []string{"https://API.example:443/2"},
			[]string{"api.example/", "API.example:443/2"}, false},
		{"another host", []string{"https://evil.example/"}, []string{"api.example/"}, false},
		{"a subdomain", []string{"https://evil.api.example/"}, []string{"api.example/"}, false},
		{"another port", []string{"https://api.example:8443/"}, []string{"api.example/"}, false},
		// ToLower makes an ASCII i of the dotted capital one, but in DNS it is another name's.
		{"a name that looks the same in lower case", []string{"https://ap\u0130.example/"}, []string{"api.example/"}, false},
		{"there and back", []string{"https://evil.example/", "https://api.example/3"}, []string{"api.example/"}, false},
		{"plain HTTP elsewhere", []string{"http://evil.example/"}, []string{"api.example/"}, false},
		{"plain HTTP", []string{"http://api.example/"}, []string{"api.example/"}, false},
		{"plain HTTP on this machine", []string{"http://localhost/"}, []string{"api.example/"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hops := tt.hops
			var got []string
			handle := func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "" {
					got = append(got, r.URL.Host+r.URL.Path)
				}
				if len(hops) > 0 {
					next := hops[0]
					hops = hops[1:]
					http.Redirect(w, r, next, http.StatusTemporaryRedirect)
				}
			}
			hosts := api{}
			for _, h := range []string{"api.example", "API.example:443", "evil.example", "evil.api.example", "api.example:8443",
				"localhost", "ap\u0130.example", "ap%C4%B0.example"} {
				hosts[h] = handle
			}
			client := &http.Client{Transport: &entra.Transport{Source: daemonSource(t, newEstate()), Base: hosts}}
			_, err := client.Post("https://api.example/", "text/plain", strings.NewReader("x"))
			if (err != nil) != tt.err {
				t.Errorf("error %v", err)
			}
			if strings.Join(got, " ") != strings.Join(tt.want, " ") {
				t.Errorf("tokens went to %v, want %v", got, tt.want)
			}
		})
	}
}

// A base that does not set resp.Request, or sets another one, does not hide a redirect.
func TestTokenIsNotSentToAnotherHostWithAnyBase(t *testing.T) {
	for name, claimed := range map[string]func(*http.Request) *http.Request{
		"says nothing": func(*http.Request) *http.Request { return nil },
		"says its own": func(r *http.Request) *http.Request {
			c := r.Clone(
				r.Context())
			c.URL.Host = "evil.example"
			return c
		},
		"sets the request": func(r *http.Request) *http.Request { return r },
	} {
		t.Run(name, func(t *testing.T) {
			leaked := false
			base := testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
				resp := &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody, Request: claimed(r)}
				if r.URL.Host == "evil.example" {
					leaked = leaked || r.Header.Get("Authorization") != ""
				} else {
					resp.StatusCode = 302
					resp.Header.Set("Location", "https://evil.example/")
				}
				return resp, nil
			})
			client := &http.Client{Transport: &entra.Transport{Source: daemonSource(t, newEstate()), Base: base}}
			resp, err := client.Get("https://api.example/")
			if err != nil || leaked {
				t.Errorf("leaked: %v, %v", leaked, err)
			}
			if resp.Request.Header.Get("Authorization") != "" {
				t.Error("the response's request contains the token")
			}
		})
	}
}

const cae = `{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}`

func challengeHeader(claims string) string {
	return `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", error="insufficient_claims", claims="` +
		base64.StdEncoding.EncodeToString([]byte(claims)) + `"`
}

func TestTransportSatisfiesAClaimsChallenge(t *testing.T) {
	e := newEstate()
	source := daemonSource(t, e)
	var bodies, tokens []string
	client := &http.Client{Transport: &entra.Transport{Source: source,
		Base: api{"api.example": func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies, tokens = append(bodies, string(b)), append(tokens, r.Header.Get("Authorization"))
			if len(tokens) == 1 {
				w.Header().Set("WWW-Authenticate", challengeHeader(cae))
				w.WriteHeader(401)
			}
		}}}}
	resp, err := client.Post("https://api.example/", "text/plain", strings.NewReader("hello"))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%v, %v", resp, err)
	}
	if len(tokens) != 2 || tokens[0] == tokens[1] || bodies[0] != "hello" || bodies[1] != "hello" {
		t.Errorf("bodies %q, %d tokens", bodies, len(tokens))
	}
	if forms := e.Forms(); len(forms) != 2 || forms[1].Get("claims") != cae {
		t.Errorf("sent %v", forms)
	}
	if tok, _ := source.Token(); "Bearer "+tok.AccessToken != tokens[1] {
		t.Error("the cached token was not replaced")
	}
}

func TestTransportReturnsOther401s(t *testing.T) {
	for name, tt := range map[string]struct {
		header string
		body   io.Reader
		fault  bool
	}{
		"no challenge":               {`Bearer error="invalid_token"`, nil, false},
		"a body that is read once":   {challengeHeader(cae), io.MultiReader(strings.NewReader("x")), false},
		"no token that satisfies it": {challengeHeader(cae), nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEstate()
			calls := 0
			client := &http.Client{Transport: &entra.Transport{Source: daemonSource(t, e),
				Base: api{"api.example": func(w http.ResponseWriter, r *http.Request) {
					calls++
					if tt.fault {
						e.Inject(entratest.Fault{Endpoint: "token", Status: 500})
					}
					w.Header().Set("WWW-Authenticate", tt.header)
					w.WriteHeader(401)
					io.WriteString(w, "why")
				}}}}
			req, _ := http.NewRequest("POST", "https://api.example/", tt.body)
			resp, err := client.Do(req)
			if err != nil || resp.StatusCode != 401 || calls != 1 {
				t.Fatalf("%v, %v, %d calls", resp, err, calls)
			}
			if b, _ := io.ReadAll(resp.Body); string(b) != "why" {
				t.Errorf("body %q", b)
			}
		})
	}
}

func TestHTTPClientRefreshesEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate(hour)
		source := daemonSource(t, e)
		var last string
		base := api{"api.example": func(w http.ResponseWriter, r *http.Request) { last = r.Header.Get("Authorization") }}
		for name, client := range map[string]*http.Client{
			"Transport":        {Transport: &entra.Transport{Source: source, Base: base}},
			"oauth2.Transport": {Transport: &oauth2.Transport{Source: source, Base: base}},
		} {
			if _, err := client.Get("https://api.example/"); err != nil {
				t.Fatal(err)
			}
			old := last
			time.Sleep(time.Until(cached(t, source).RefreshAt))
			for range 2 {
				if _, err := client.Get("https://api.example/"); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
			}
			if last == old {
				t.Errorf("%s did not refresh early", name)
			}
		}
	})
}

func TestClaimsChallenge(t *testing.T) {
	b64 := base64.StdEncoding.EncodeToString([]byte(cae))
	for _, tt := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"as documented", []string{challengeHeader(cae)}, cae},
		{"without quotes and padding", []string{"bearer error=insufficient_claims,claims=" + strings.TrimRight(b64, "=")},
			cae},
		{"in the second header", []string{"Basic realm=\"x\"", challengeHeader(cae)}, cae},
		{"after another challenge", []string{`Negotiate abc==, Basic realm="a, Bearer \"b", ` + challengeHeader(cae)}, cae},
		{"before another challenge", []string{challengeHeader(cae) + `, Basic realm="x"`}, cae},
		{"another error", []string{`Bearer error="invalid_token", claims="` + b64 + `"`}, ""},
		{"another scheme", []string{`PoP error="insufficient_claims", claims="` + b64 + `"`}, ""},
		{"the claims of another challenge", []string{`Bearer error="insufficient_claims", PoP claims="` + b64 + `"`}, ""},
		{"claims twice: the first counts", []string{`Bearer error="insufficient_claims", claims="` + b64 +
			`", claims="e30="`}, cae},
		{"not base64", []string{`Bearer error="insufficient_claims", claims="%%%"`}, ""},
		{"not an object", []string{`Bearer error="insufficient_claims", claims="W10="`}, ""},
		{"no end of a string", []string{`Bearer error="insufficient_claims", claims="` + b64}, ""},
		{"nothing", nil, ""},
	} {
		got, ok := entra.ClaimsChallenge(http.Header{"Www-Authenticate": tt.headers})
		if got != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// No header of a resource takes long to parse.
func TestClaimsChallengeIsBounded(t *testing.T) {
	header := challengeHeader(cae)
	for name, test := range map[string]struct {
		headers []string
		ok      bool
	}{
		"20 challenges": {[]string{strings.Repeat("a, ", 19) + header}, true},
		"21 challenges": {[]string{strings.Repeat("a, ", 20) + header}, false},
		"20 headers":    {append(slices.Repeat([]string{"a"}, 19), header), true},
		"21 headers":    {append(slices.Repeat([]string{"a"}, 20), header), false},
		"32 KB":         {[]string{header + strings.Repeat(" ", 32<<10-len(header))}, true},
		"over 32 KB":    {[]string{header + strings.Repeat(" ", 32<<10-len(header)+1)}, false},
	} {
		if _, ok := entra.ClaimsChallenge(http.Header{"Www-Authenticate": test.headers}); ok != test.ok {
			t.Errorf("%s: got %v, want %v", name, ok, test.ok)
		}
	}
	h := http.Header{"Www-Authenticate": slices.Repeat([]string{strings.Repeat("Bearer a=1,", 1000)}, 1000)}
	if got := testing.AllocsPerRun(1, func() { entra.ClaimsChallenge(h) }); got > 2000 {
		t.Errorf("got %v allocations for headers of 11 MB", got)
	}
}

func TestSetClaimsChallenge(t *testing.T) {
	h := http.Header{}
	entra.SetClaimsChallenge(h, cae)
	if got, ok := entra.ClaimsChallenge(h); !ok || got != cae {
		t.Errorf("read back %q, %v", got, ok)
	}
	entra.SetClaimsChallenge(h, "")
	if got := h.Values("WWW-Authenticate"); len(got) != 1 || got[0] != `Bearer error="invalid_token"` {
		t.Errorf("got %q", got)
	}
}

func FuzzClaimsChallenge(f *testing.F) {
	f.Add(challengeHeader(cae))
	f.Add(`Bearer error="insufficient_claims\`)
	f.Add(`, =,= "x", Bearer =`)
	f.Fuzz(func(t *testing.T, header string) {
		testkit.CostsAtMost(t, "ClaimsChallenge", testkit.Cost{Fixed: 64 << 10, PerByte: 8}, header, func(s string) {
			entra.ClaimsChallenge(http.Header{"Www-Authenticate": {s}})
		})
		claims, ok := entra.ClaimsChallenge(http.Header{"Www-Authenticate": {header}})
		if ok && (claims == "" || claims[0] != '{' && strings.TrimSpace(claims)[0] != '{') || !ok && claims != "" {
			t.Errorf("%q, %v", claims, ok)
		}
		if ok && !strings.Contains(header, "insufficient_claims") && !strings.Contains(header, `\`) {
			t.Errorf("a challenge in %q", header)
		}
	})
}
