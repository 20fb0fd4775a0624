package entra_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/internal/testkit"
)

// hostile are texts that cost the most to parse for each byte. Each is repeated.
var hostile = map[string]string{
	"names": "a,", "schemes": "Bearer ", "parameters": "a=b,", "names of parameters": "Bearer a=,b=,c=,",
	"quotes": `Bearer a="\"\`, "equal signs": "=", "spaces": " ", "empty elements": ", ,",
}

// A resource's header of any size costs at most as much as one of 32 KB, over HTTP/1.1 and HTTP/2. A header of 9 MB of
// "Bearer a,a,..." once cost 800 MB.
func TestChallengeHeaderCostIsFlat(t *testing.T) {
	const bound = 32 << 10
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		var header string
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("WWW-Authenticate", header)
			w.WriteHeader(http.StatusUnauthorized)
		}))
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		srv.EnableHTTP2 = protocol == "HTTP/2.0"
		srv.StartTLS()
		defer srv.Close()
		client := srv.Client()
		client.Transport.(*http.Transport).MaxResponseHeaderBytes = 32 << 20
		received := func(text string, size int) http.Header {
			header = "Bearer " + strings.Repeat(text, size/len(text)+1)[:size-len("Bearer ")]
			resp, err := client.Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.Proto != protocol || len(resp.Header.Get("WWW-Authenticate")) < size/2 {
				t.Fatalf("got %s with %d bytes", resp.Proto, len(resp.Header.Get("WWW-Authenticate")))
			}
			return resp.Header
		}
		for name, text := range hostile {
			if name == "spaces" && protocol == "HTTP/1.1" {
				continue // net/http removes them at the end
			}
			atBound := received(text, bound)
			limit := testkit.Allocated(func() { entra.ClaimsChallenge(atBound) })
			if limit > 8*bound {
				t.Errorf("%s, %s: %d bytes allocated for %d bytes", protocol, name, limit, bound)
			}
			for _, size := range []int{bound + 8, 256 << 10, 1 << 20, 10 << 20} {
				h := received(text, size)
				if got := testing.AllocsPerRun(5, func() { entra.ClaimsChallenge(h) }); got > 1 {
					t.Errorf("%s, %s, %d bytes: got %v allocations, want at most 1, for the name of the header", protocol, name, size, got)
				}
			}
		}
	}
}

// Many header lines cost no more than the first of them.
func TestManyChallengeLinesAreBounded(t *testing.T) {
	for _, n := range []int{20, 1000, 100_000} {
		h := http.Header{"Www-Authenticate": strings.Split(strings.Repeat("Bearer a=b\n", n), "\n")}
		if got := testing.AllocsPerRun(5, func() { entra.ClaimsChallenge(h) }); got > 100 {
			t.Errorf("%d lines: got %v allocations, want at most 100", n, got)
		}
	}
}

// The cost of a response is linear in its size, and a body is read up to 1 MiB.
func TestResponseCostIsLinear(t *testing.T) {
	for name, parts := range map[string][3]string{ // before, repeated, after
		"description":    {`{"error":"x","error_description":"`, `%2525a `, `"}`},
		"tokens":         {`{"error":"x","error_description":"`, `eyJ eyJ.`, `"}`},
		"numbers":        {`{"error":"x","error_codes":[1`, `,1`, `]}`},
		"unknown arrays": {`{"error":"x","y":[0`, `,[]`, `]}`},
		"nested arrays":  {`{"error":"x","y":`, `[`, ``},
		"claims":         {`{"error":"x","claims":"{\"a\":[0`, `,[]`, `]}"}`},
		"scopes":         {`{"access_token":"t","token_type":"Bearer","expires_in":3600,"scope":"`, `a `, `"}`},
		"not JSON":       {``, `<p>`, ``},
		"members":        {`{"error":"x"`, `,"a":0`, `}`},
	} {
		for _, size := range []int{1 << 10, 64 << 10, 1<<20 - 100, 3 << 20} {
			body := parts[0] + strings.Repeat(parts[1], size/len(parts[1])) + parts[2]
			for _, status := range []int{http.StatusOK, http.StatusBadRequest} {
				e := newEstate()
				e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
					return respondWith(status, "application/json", body)(req, form)
				})
				c := e.client(t, "daemon")
				limit := testkit.Cost{Fixed: 1 << 20, PerByte: 150}
				testkit.CostsAtMost(t, name, limit, body[:min(len(body), 1<<20)], func(string) {
					clientcreds.TokenSource(c, scopeOfB).Token()
				})
			}
		}
	}
}
