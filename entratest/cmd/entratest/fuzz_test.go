package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// FuzzConsole sends any form. No response is a server error, and the page escapes
// markup.
func FuzzConsole(f *testing.F) {
	cfg := entratest.Sample()
	f.Add("POST", "/", "action=fault&kind=429&endpoint=token&times=2&skip=1", "")
	f.Add("POST", "/", "action=fault&kind=html&client=<zq>&retryAfter=<zq>&tenant=<zq>&grant=<zq>", "")
	f.Add("POST", "/", "action=revoke&username=alice@contoso.onmicrosoft.com", "")
	f.Add("POST", "/", "action=fault&kind=slow&times=-1", "")
	f.Add("POST", "/", "action=rotate&%zz", "")
	f.Add("GET", "/", "", "done=<zq>")
	f.Add("GET", "/-/requests", "", "")
	f.Add("DELETE", "/favicon.ico", "", "%")
	f.Fuzz(func(t *testing.T, method, path, body, query string) {
		c := entratest.NewServer(cfg).Console(t.Context())
		send := func(method, path, body, query string) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodPost, "https://127.0.0.1/", strings.NewReader(body))
			r.Method, r.URL = method, &url.URL{Path: path, RawQuery: query}
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			w := httptest.NewRecorder()
			c.ServeHTTP(w, r)
			return w
		}
		if w := send(method, path, body, query); w.Code >= 500 {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
		w := send("GET", "/", "", query)
		if w.Code != 200 || strings.Contains(w.Body.String(), "<zq") {
			t.Fatalf("got %d %s", w.Code, w.Body)
		}
	})
}
