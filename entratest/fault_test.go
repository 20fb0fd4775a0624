package entratest_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/entratest"
)

func daemonForm() *strings.Reader {
	return strings.NewReader("grant_type=client_credentials&client_id=" + daemon +
		"&client_secret=daemon-secret&scope=api://api-b/.default")
}

// daemonPost returns the response and its body, or the error of either.
func daemonPost(ctx context.Context, c *http.Client, base string) (*http.Response, string, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", base+tenant+"/oauth2/v2.0/token", daemonForm())
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp, string(data), err
}

func TestFaultResponses(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	for _, test := range []struct {
		name       string
		fault      entratest.Fault
		status     int
		kind       string
		retryAfter string
		contains   string
	}{
		{"429", entratest.Fault{Status: 429, RetryAfter: "60"}, 429, "application/json; charset=utf-8", "60",
			`"error":"temporarily_unavailable","error_description":"AADSTS90055: `},
		{"503 with a date", entratest.Fault{RetryAfter: "Fri, 31 Dec 1999 23:59:59 GMT"}, 503,
			"application/json; charset=utf-8", "Fri, 31 Dec 1999 23:59:59 GMT", `"error_codes":[90033]`},
		{"500", entratest.Fault{Status: 500}, 500, "application/json; charset=utf-8", "", `"error_codes":[90033]`},
		{"HTML from a proxy", entratest.Fault{Status: 502, Body: "<html>Bad Gateway</html>"}, 502,
			"text/html; charset=utf-8", "", "<html>Bad Gateway</html>"},
		{"malformed JSON", entratest.Fault{Status: 200, Body: `{"access_token":`}, 200, "application/json; charset=utf-8",
			"", `{"access_token":`},
		{"wrong content type", entratest.Fault{Status: 200, Body: "{}", ContentType: "text/plain"}, 200, "text/plain", "",
			"{}"},
		{"an error of Entra's", entratest.Fault{Status: 400, Error: "invalid_grant", AADSTS: 50173, SubError: "bad_token",
			Claims: "{}"}, 400, "application/json; charset=utf-8", "",
			`"error":"invalid_grant","error_description":"AADSTS50173: `},
		{"a header", entratest.Fault{Status: 307, Header: http.Header{"Location": {"https://evil.example/"}}}, 307,
			"application/json; charset=utf-8", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			remove := s.Inject(test.fault)
			resp, body, err := daemonPost(t.Context(), s.Client(), authHost)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status || resp.Header.Get("Content-Type") != test.kind ||
				resp.Header.Get("Retry-After") != test.retryAfter {
				t.Errorf("got %d %q %q", resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Retry-After"))
			}
			if !strings.Contains(body, test.contains) {
				t.Errorf("got body %s", body)
			}
			remove()
			if resp, _, err := daemonPost(t.Context(), s.Client(), authHost); err != nil || resp.StatusCode != 200 {
				t.Errorf("after remove: got %v %v", resp, err)
			}
		})
	}
}

func TestFaultMatching(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	status := func(pairs ...string) int { return clientCredentials(t, s, pairs...).status }
	s.Inject(entratest.Fault{Endpoint: "token", Tenant: "fabrikam.onmicrosoft.com", Status: 500})
	s.Inject(entratest.Fault{Endpoint: "keys", Status: 500})
	s.Inject(entratest.Fault{ClientID: apiA, Status: 500})
	s.Inject(entratest.Fault{GrantType: "refresh_token", Status: 500})
	if got := status(); got != 200 {
		t.Fatalf("got status %d of a request that does not match", got)
	}
	if got := tokenRequest(t, s, fabrikam, "grant_type", "x").status; got != 500 {
		t.Errorf("by tenant: got %d", got)
	}
	if got := status("client_id", apiA); got != 500 {
		t.Errorf("by client: got %d", got)
	}
	if got := status("grant_type", "refresh_token"); got != 500 {
		t.Errorf("by grant: got %d", got)
	}
	s.Inject(entratest.Fault{GrantType: "client_credentials", Skip: 1, Times: 2, Status: 503})
	var got []int
	for range 5 {
		got = append(got, status())
	}
	for i, want := range []int{200, 503, 503, 200, 200} {
		if got[i] != want {
			t.Fatalf("requests with Skip and Times: got %v", got)
		}
	}
	if n := len(s.Faults()); n != 4 {
		t.Errorf("got %d faults left", n)
	}
}

func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := entratest.NewServer(entratest.Sample())
		s.Inject(entratest.Fault{Endpoint: "token", Delay: 2 * time.Second})
		start := time.Now()
		if resp, _, err := daemonPost(t.Context(), s.Client(), authHost); err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("got delay %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		if _, _, err := daemonPost(ctx, s.Client(), authHost); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if d := time.Since(start); d != time.Second {
			t.Errorf("canceled request took %v", d)
		}
		c := s.Client()
		c.Timeout = 500 * time.Millisecond
		if _, _, err := daemonPost(t.Context(), c, authHost); err == nil || time.Since(start) != 1500*time.Millisecond {
			t.Errorf("with a client timeout: got %v after %v", err, time.Since(start))
		}
		log := s.Requests()
		if len(log) != 3 || log[0].Status != 200 || log[1].Status != 0 || !log[1].Injected {
			t.Errorf("got journal %+v", log)
		}
	})
}

func TestFaultBrokenConnection(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	url, ca, stop := s.StartTLS()
	defer stop()
	overTLS := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca}}}
	defer overTLS.CloseIdleConnections()
	for name, c := range map[string]struct {
		client *http.Client
		base   string
	}{"in process": {s.Client(), authHost}, "TLS": {overTLS, url + "/"}} {
		t.Run(name, func(t *testing.T) {
			remove := s.Inject(entratest.Fault{Endpoint: "token", Drop: true})
			if _, _, err := daemonPost(t.Context(), c.client, c.base); err == nil {
				t.Error("dropped connection: got a response, want an error")
			}
			remove()
			remove = s.Inject(entratest.Fault{Endpoint: "token", Truncate: 40})
			resp, body, err := daemonPost(t.Context(), c.client, c.base)
			if !errors.Is(err, io.ErrUnexpectedEOF) || len(body) != 40 || resp.StatusCode != 200 || resp.ContentLength <= 40 {
				t.Errorf("truncated: got %d bytes of %+v, %v", len(body), resp, err)
			}
			remove()
			if _, body, err := daemonPost(t.Context(), c.client, c.base); err != nil || !json.Valid([]byte(body)) {
				t.Errorf("after the faults: got %v", err)
			}
		})
	}
}

func TestFaultOnSignIn(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	defer s.Inject(entratest.Fault{Endpoint: "authorize", Drop: true, Times: 1})()
	if _, err := s.SignIn(t.Context(), authorizeURL(tenant), alice); err == nil {
		t.Error("SignIn: got no error")
	}
	if _, err := s.SignIn(t.Context(), authorizeURL(tenant), alice); err != nil {
		t.Error(err)
	}
}
