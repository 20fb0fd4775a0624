package verify_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/verify"
)

// What the endpoint may answer on a cold start, and whether a token signed with
// key 0 is accepted then.
func TestKeyDocuments(t *testing.T) {
	k := jwk(0)
	manyKeys := func(n int) []object {
		keys := []object{}
		for i := range n {
			keys = append(keys, k.with("kid", fmt.Sprintf("k%d", i)))
		}
		return keys
	}
	set := func(keys ...object) string { return object{"keys": keys}.text() }
	other := jwk(1)
	for _, test := range []struct {
		name string
		body string
		want verify.Reason
	}{
		{"one key", set(k), ""},
		{"no issuer", set(k.without("issuer")), ""},
		{"no use", set(k.without("use")), ""},
		{"for verifying", set(k.with("key_ops", []string{"verify"})), ""},
		{"for RS256", set(k.with("alg", "RS256")), ""},
		{"many keys", set(append(manyKeys(150), k)...), ""},
		{"unusable ones besides", set(object{}, object{"kty": "EC", "kid": "e"}, object{"kty": 1}, k), ""},
		{"the same key twice", set(k, k), ""},
		{"members nobody knows", set(k.with("x5c", []string{"MII"}).with("cloud_instance_name", "microsoftonline.com")), ""},
		{"nothing", "", verify.ReasonKeysUnavailable},
		{"HTML", "<html></html>", verify.ReasonKeysUnavailable},
		{"cut short", set(k)[:100], verify.ReasonKeysUnavailable},
		{"a list", "[]", verify.ReasonKeysUnavailable},
		{"no keys", set(), verify.ReasonKeysUnavailable},
		{"keys is null", `{"keys":null}`, verify.ReasonKeysUnavailable},
		{"keys is a string", `{"keys":"none"}`, verify.ReasonKeysUnavailable},
		{"keys are strings", `{"keys":["none"]}`, verify.ReasonKeysUnavailable},
		{"too many keys", set(append(manyKeys(200), k)...), verify.ReasonKeysUnavailable},
		{"too long", set(k) + strings.Repeat(" ", 1<<20), verify.ReasonKeysUnavailable},
		{"a kid for two keys", set(k, other.with("kid", kid(0)), other), verify.ReasonUnknownKey},
		{"a kid for two issuers", set(k, k.with("issuer", "https://"+host+"/"+tenantA+"/v2.0"), other), verify.ReasonUnknownKey},
		{"for encryption", set(k.with("use", "enc"), other), verify.ReasonUnknownKey},
		{"for signing", set(k.with("key_ops", []string{"sign"}), other), verify.ReasonUnknownKey},
		{"for HS256", set(k.with("alg", "HS256"), other), verify.ReasonUnknownKey},
		{"for RS512", set(k.with("alg", "RS512"), other), verify.ReasonUnknownKey},
		{"for PS256", set(k.with("alg", "PS256"), other), verify.ReasonBadAlgorithm},
		{"not RSA", set(k.with("kty", "oct"), other), verify.ReasonUnknownKey},
		{"no kid", set(k.without("kid"), other), verify.ReasonUnknownKey},
		{"kid is a number", set(k.with("kid", 0), other), verify.ReasonUnknownKey},
		{"issuer is a number", set(k.with("issuer", 0), other), verify.ReasonUnknownKey},
		{"n is a number", set(k.with("n", 5), other), verify.ReasonUnknownKey},
		{"n is padded", set(k.with("n", k["n"].(string)+"=="), other), verify.ReasonUnknownKey},
		{"n is short", set(k.with("n", b64.EncodeToString(make([]byte, 128))), other), verify.ReasonUnknownKey},
		{"n has 1024 bits", set(k.with("n", b64.EncodeToString([]byte(strings.Repeat("\xff", 128)))), other), verify.ReasonUnknownKey},
		{"n is even", set(k.with("n", b64.EncodeToString(append([]byte{0xff}, make([]byte, 255)...))), other), verify.ReasonUnknownKey},
		{"n is huge", set(k.with("n", b64.EncodeToString([]byte(strings.Repeat("\xff", 1025)))), other), verify.ReasonUnknownKey},
		{"e is one", set(k.with("e", "AQ"), other), verify.ReasonUnknownKey},
		{"e is even", set(k.with("e", "Ag"), other), verify.ReasonUnknownKey},
		{"e is nothing", set(k.with("e", ""), other), verify.ReasonUnknownKey},
		{"e is huge", set(k.with("e", "AQABAQAB"), other), verify.ReasonUnknownKey},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority()
			a.answer(http.StatusOK, test.body)
			_, err := mustNew(t, a.config()).Verify(context.Background(), sign(0, headerOf(0), userV2()))
			if got := reason(t, err); got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
		})
	}
}

// A bad document doesn't replace a good one.
func TestBadDocumentsReplaceNothing(t *testing.T) {
	for _, body := range []string{"", "{}", `{"keys":[]}`, `{"keys":[{"kty":"oct","kid":"key-0","k":"AAAA"}]}`} {
		synctest.Test(t, func(t *testing.T) {
			a := newAuthority(jwk(0))
			v := mustNew(t, a.config())
			good := longLived(0)
			accept(t, v, good)
			a.answer(http.StatusOK, body)
			for range 3 {
				advance(time.Hour)
				accept(t, v, good)
				synctest.Wait()
			}
			if got := a.fetches.Load(); got < 3 {
				t.Errorf("%d fetches: the refresh wasn't tried", got)
			}
		})
	}
}

// Redirects are refused, whatever the client given does with them, and the
// client itself is left as it was. Its cookies stay out of it.
func TestRedirectsAreRefused(t *testing.T) {
	a := newAuthority()
	elsewhere := newAuthority(jwk(0))
	a.do(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host != host {
			return elsewhere.RoundTrip(r)
		}
		return &http.Response{
			StatusCode: http.StatusFound,
			Header:     http.Header{"Location": {"https://evil.example/keys"}},
			Body:       io.NopCloser(strings.NewReader("")),
			Request:    r,
		}, nil
	})
	client := a.client()
	cfg := a.config()
	cfg.HTTPClient = client
	_, err := mustNew(t, cfg).Verify(context.Background(), sign(0, headerOf(0), userV2()))
	var e *verify.Error
	if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.StatusCode != http.StatusFound {
		t.Errorf("a redirect: %v", err)
	}
	if elsewhere.fetches.Load() != 0 || client.CheckRedirect != nil {
		t.Error("the redirect was followed, or the caller's client changed")
	}
}

// Keys are public: no cookie goes out for them or comes in with them.
func TestKeysWithoutCookies(t *testing.T) {
	a := newAuthority()
	var sent []string
	a.do(func(r *http.Request) (*http.Response, error) {
		sent = append(sent, r.Header["Cookie"]...)
		return &http.Response{
			StatusCode: http.StatusOK,
			Header:     http.Header{"Set-Cookie": {"x=from-the-keys; Path=/"}},
			Body:       io.NopCloser(strings.NewReader(object{"keys": []object{jwk(0)}}.text())),
			Request:    r,
		}, nil
	})
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	authority := &url.URL{Scheme: "https", Host: host, Path: "/"}
	jar.SetCookies(authority, []*http.Cookie{{Name: "session", Value: "mine"}})
	client := a.client()
	client.Jar = jar
	cfg := a.config()
	cfg.HTTPClient = client
	accept(t, mustNew(t, cfg), sign(0, headerOf(0), userV2()))
	if len(sent) != 0 || len(jar.Cookies(authority)) != 1 || client.Jar != http.CookieJar(jar) {
		t.Errorf("cookies %q went out, and the jar has %v", sent, jar.Cookies(authority))
	}
}

// Operators read why the keys are not available. Callers do not, and texts of the transport, which
// may quote a server or a proxy, stay inside.
func TestErrorsSayWhyKeysAreUnavailable(t *testing.T) {
	const prefix = "verify: failed to fetch the signing keys of the authority: "
	respond := func(status int, body io.Reader) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(body)}, nil
		}
	}
	fail := func(err error) func(*http.Request) (*http.Response, error) {
		return func(*http.Request) (*http.Response, error) { return nil, err }
	}
	for _, test := range []struct {
		name      string
		respond   func(*http.Request) (*http.Response, error)
		text      string
		cause     error // found by errors.Is
		temporary bool
	}{
		{"status", respond(502, strings.NewReader("secret-thing")), host + " responded with HTTP status 502", nil, true},
		{"certificate", fail(x509.UnknownAuthorityError{}), "request to " + host + " failed: x509: certificate signed by unknown authority; " +
			"if a proxy or a private cloud uses its own certificate authority, trust it in Config.HTTPClient", x509.UnknownAuthorityError{}, false},
		{"refused connection", fail(syscall.ECONNREFUSED), "request to " + host + " failed: connection refused", syscall.ECONNREFUSED, true},
		{"time-out", fail(context.DeadlineExceeded), "request to " + host + " timed out", context.DeadlineExceeded, true},
		{"other", fail(errors.New("proxy says secret-thing")), "request to " + host + " failed: the connection or a proxy failed", nil, true},
		{"broken body", respond(200, iotest.ErrReader(errors.New("secret-thing"))), "request to " + host + " failed: the connection or a proxy failed", nil, true},
		{"long body", respond(200, strings.NewReader(strings.Repeat(" ", 1<<20+1))), "the key document of " + host + " is too large", nil, true},
		{"HTML", respond(200, strings.NewReader("<html>")), "the key document of " + host + " is not a JSON object with an array of keys", nil, true},
		{"no keys", respond(200, strings.NewReader(`{"keys":[]}`)), "the key document of " + host + " does not have a usable signing key", nil, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := newAuthority()
			a.do(test.respond)
			var log bytes.Buffer
			cfg := a.config()
			cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			v := mustNew(t, cfg)
			raw := sign(0, headerOf(0), userV2())
			_, err := v.Verify(t.Context(), raw)
			var e *verify.Error
			if !errors.As(err, &e) || e.Reason != verify.ReasonKeysUnavailable || e.Error() != prefix+test.text {
				t.Fatalf("got %v, want %s", err, prefix+test.text)
			}
			if e.Temporary() != test.temporary {
				t.Errorf("got Temporary %v, want %v", e.Temporary(), test.temporary)
			}
			if test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("errors.Is does not find %v", test.cause)
			}
			if want := fmt.Sprintf("error.cause=%q", test.text); !strings.Contains(log.String(), want) {
				t.Errorf("got log %s, want %s", log.String(), want)
			}
			if strings.Contains(fmt.Sprintf("%+v %#v", err, err)+log.String(), "secret-thing") {
				t.Errorf("the error or the log quotes the transport: %#v %s", err, log.String())
			}
			w := request(v.Middleware(welcome), "Bearer "+raw)
			if want := "failed to fetch the signing keys of the authority\n"; w.Code != 503 || w.Body.String() != want {
				t.Errorf("got response %d %q, want 503 %q", w.Code, w.Body, want)
			}
		})
	}
}
