package cli_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/cli"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const alice = "alice@contoso.onmicrosoft.com"

// The output for each kind of credential is in testdata.
func TestTokenOutput(t *testing.T) {
	dir := testdata(t, "token")
	for _, tt := range []struct {
		name string
		set  func(*testing.T, *bench) []string
	}{
		{"from the environment", func(t *testing.T, b *bench) []string { b.daemon(t); return []string{scopeOfB} }},
		{"for Graph", func(t *testing.T, b *bench) []string { b.daemon(t); return nil }},
		{"secret in a file", func(t *testing.T, b *bench) []string {
			testkit.WriteFile(t, "secret", "daemon-secret\n")
			return []string{"-tenant", "contoso.onmicrosoft.com", "-client", b.App("daemon").ClientID, "-secret-file", "secret",
				scopeOfB}
		}},
		{"secret on standard input", func(t *testing.T, b *bench) []string {
			b.stdin = "daemon-secret\n"
			return []string{"-tenant", entratest.SampleTenant, "-client", b.App("daemon").ClientID, "-secret-stdin", scopeOfB}
		}},
		{"secret in a variable", func(t *testing.T, b *bench) []string {
			t.Setenv("MY_SECRET", "daemon-secret")
			return []string{"-tenant", entratest.SampleTenant, "-client", b.App("daemon").ClientID, "-secret-env", "MY_SECRET",
				scopeOfB}
		}},
		{"certificate", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert := certificate(t, "app.pem", time.Now().Add(100*24*time.Hour+time.Hour))
			b.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = append(a.Certificates, cert) })
			return []string{"-certificate", "app.pem", scopeOfB}
		}},
		{"certificate from the environment", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			cert := certificate(t, "app.pem", time.Now().Add(100*24*time.Hour+time.Hour))
			b.UpdateCredentials("daemon", func(a *entratest.App) { a.Certificates = append(a.Certificates, cert) })
			t.Setenv("AZURE_CLIENT_SECRET", "")
			t.Setenv("AZURE_CLIENT_CERTIFICATE_PATH", "app.pem")
			return []string{scopeOfB}
		}},
		{"in a region", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			return []string{"-region", "westeurope",
				scopeOfB}
		}},
		{"in the detected region", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("REGION_NAME", "West Europe")
			return []string{"-region", "detect", scopeOfB}
		}},
		{"in US Government", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			return []string{"-cloud", "usgov",
				scopeOfB}
		}},
		{"for an external tenant", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			t.Setenv("AZURE_AUTHORITY_HOST", "https://contoso.ciamlogin.com/")
			return []string{scopeOfB}
		}},
		{"for a custom URL domain", func(t *testing.T, b *bench) []string {
			custom := newBench(t, func(c *entratest.Config) { c.Tenants[0].CustomURLDomain = "login.contoso.com" })
			b.Server, b.transport = custom.Server, custom.transport
			b.daemon(t)
			return []string{"-cloud", "externalid:login.contoso.com", scopeOfB}
		}},
		{"in GitHub Actions", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			token := b.trustsCluster(t)
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://pipelines.example/token?api-version=2")
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cret~request")
			next := b.transport
			b.transport = testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
				if r.URL.Host != "pipelines.example" {
					return next.RoundTrip(r)
				}
				if r.Header.Get("Authorization") != "Bearer s3cret~request" ||
					r.URL.Query().Get("audience") != "api://AzureADTokenExchange" {
					t.Errorf("GitHub got the request %s", r.URL)
				}
				return &http.Response{StatusCode: 200, Header: http.Header{},
					Body: io.NopCloser(strings.NewReader(`{"value":"` + token + `"}`)), Request: r}, nil
			})
			return []string{"-github", scopeOfB}
		}},
		{"with a managed identity", func(t *testing.T, b *bench) []string {
			b.daemon(t)
			token := b.trustsCluster(t)
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("X-IDENTITY-HEADER") != "s3cret~header" ||
					r.FormValue("resource") != "api://AzureADTokenExchange" ||
					r.FormValue("client_id") != "99999999-0000-4000-8000-000000000001" {
					t.Errorf("the platform got the request %s", r.URL)
				}
				fmt.Fprintf(w, `{"access_token":%q,"expires_on":"%d","resource":%q,"token_type":"Bearer"}`,
					token, time.Now().Add(time.Hour).Unix(), "api://AzureADTokenExchange")
			}))
			t.Cleanup(srv.Close)
			t.Setenv("IDENTITY_ENDPOINT", srv.URL) // as App Service has it
			t.Setenv("IDENTITY_HEADER", "s3cret~header")
			return []string{"-managed-identity", "99999999-0000-4000-8000-000000000001", scopeOfB}
		}},
		{"on behalf of a user", func(t *testing.T, b *bench) []string {
			testkit.WriteFile(t, "assertion", b.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})+
				"\n")
			t.Setenv("MY_SECRET", "api-a-secret")
			return []string{"-tenant", entratest.SampleTenant, "-client", b.App("api-a").ClientID, "-secret-env", "MY_SECRET",
				"-assertion", "assertion", "api://api-b/Orders.Read"}
		}},
		{"of the system-assigned identity", platform("system", 200, "")},
		{"of a user-assigned identity", platform("99999999-0000-4000-8000-000000000001", 200, "")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			code, out, errs := b.run(t, append([]string{"token"}, tt.set(t, b)...)...)
			if code != 0 || errs != "" {
				t.Errorf("exit code %d: %s", code, errs)
			}
			golden(t, dir, tt.name, out)
		})
	}
}

// A token of a managed identity is described like others, without an app. Errors have the advice of the doctor.
func TestTokenOfIdentity(t *testing.T) {
	b := newBench(t)
	code, out, errs := b.run(t, append([]string{"token", "-json"}, platform("system", 200, "")(t, b)...)...)
	var r map[string]any
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	claims, _ := r["claims"].(map[string]any)
	if r["flow"] != "managed_identity" || r["authority"] != "managed identity (IMDS)" || r["client_id"] != nil ||
		r["credential"] != nil || r["identity"] != "system" || claims["idtyp"] != "app" || r["claims_verified"] != false {
		t.Errorf("got %s", out)
	}
	code, out, errs = b.run(t, append([]string{"token", "-raw"}, platform("system", 200, "")(t, b)...)...)
	if code != 0 || errs != "" || !strings.HasPrefix(out, "eyJ") || strings.Count(out, "\n") != 1 {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
	const notFound = `{"error":"invalid_request","error_description":"Identity not found"}`
	code, out, errs = b.run(t, append([]string{"token"}, platform("system", 400, notFound)(t, b)...)...)
	if code != 1 || out != "" || !strings.Contains(errs, "no token  invalid_request: no token for the system-assigned identity: ") ||
		!strings.Contains(errs, "In the Azure portal, open Identity of the machine or app.") || strings.Contains(errs, "entra doctor") {
		t.Errorf("exit code %d: %s%s", code, out, errs)
	}
	code, _, errs = b.run(t, append([]string{"token"}, platform("s3cret", 200, "")(t, b)...)...)
	if code != 1 || !strings.Contains(errs, `The value of -identity is "system", or the client ID`) || strings.Contains(errs, "s3cret") {
		t.Errorf("exit code %d: %s", code, errs)
	}
}

// With -raw only the token is printed.
func TestRawToken(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	code, out, errs := b.run(t, "token", "-raw", scopeOfB)
	if code != 0 || errs != "" || strings.Count(out, ".") != 2 || strings.Count(out, "\n") != 1 ||
		!strings.HasPrefix(out, "eyJ") {
		t.Errorf("exit code %d, %q, %q", code, out, errs)
	}
}

func TestTokenJSON(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	code, out, errs := b.run(t, "token", "-json", scopeOfB)
	var r struct {
		Flow, Authority, Credential string
		ClientID                    string `json:"client_id"`
		Scopes                      []string
		Obtained, Expires           time.Time
		RefreshAt                   time.Time `json:"refresh_at"`
		Requests                    []struct {
			Method, Host, Kind string
			Status             int
		}
		Claims   map[string]any
		Verified *bool `json:"claims_verified"`
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 || errs != "" {
		t.Fatalf("exit code %d, %v: %s%s", code, err, out, errs)
	}
	if r.Flow != "client_credentials" || r.Authority != "https://login.microsoftonline.com/"+entratest.SampleTenant ||
		r.Credential != "client secret in AZURE_CLIENT_SECRET" ||
		r.ClientID != b.App("daemon").ClientID || len(r.Scopes) != 1 || r.Scopes[0] != scopeOfB {
		t.Errorf("%+v", r)
	}
	if r.Expires.Sub(r.Obtained).Round(time.Second) != 75*time.Minute || !r.RefreshAt.After(r.Obtained) ||
		!r.RefreshAt.Before(r.Expires) {
		t.Errorf("got obtained %s, expires %s, refresh at %s", r.Obtained, r.Expires, r.RefreshAt)
	}
	if len(r.Requests) != 2 || r.Requests[0].Kind != "discovery" || r.Requests[1].Kind != "token" ||
		r.Requests[1].Method != "POST" || r.Requests[1].Status != 200 {
		t.Errorf("requests %+v", r.Requests)
	}
	if r.Claims["aud"] != b.App("api-b").ClientID || r.Verified == nil || *r.Verified {
		t.Errorf("claims %v, verified %v", r.Claims, r.Verified)
	}
}

// Without a token, standard output is empty and the reason is on standard error.
func TestTokenErrors(t *testing.T) {
	dir := testdata(t, "token")
	for _, tt := range []struct {
		name string
		args []string
		set  func(*testing.T, *bench)
	}{
		{"nothing configured", nil, func(*testing.T, *bench) {}},
		{"wrong secret", []string{scopeOfB},
			func(t *testing.T, b *bench) { b.daemon(t); t.Setenv("AZURE_CLIENT_SECRET", "s3cret~wrong") }},
		{"scope is a permission", []string{"api://api-b/Orders.Read"}, func(t *testing.T, b *bench) { b.daemon(t) }},
		{"assertion missing", []string{"-assertion", "nowhere"}, func(t *testing.T, b *bench) { b.daemon(t) }},
		{"assertion is not a JWT", []string{"-assertion", "-", scopeOfB},
			func(t *testing.T, b *bench) { b.daemon(t); b.stdin = "s3cret" }},
		{"no network", []string{scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			b.transport = testkit.RoundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF })
		}},
		{"proxy page", []string{scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			b.Inject(entratest.Fault{Endpoint: "discovery", Status: 200, Body: "<html>sign in to the network</html>"})
		}},
		{"truncated response", []string{scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			b.Inject(entratest.Fault{Endpoint: "discovery", Truncate: 40})
		}},
		{"secret that is an ID", []string{scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			t.Setenv("AZURE_CLIENT_SECRET", "7d1c5a0e-1111-4a7b-9c9f-0123456789ab")
		}},
		{"GitHub unreachable", []string{"-github", scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_URL", "https://pipelines.example/token?api-version=2")
			t.Setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "s3cret~request")
		}},
		{"federated subject", []string{"-federated-token-file", "token", scopeOfB}, func(t *testing.T, b *bench) {
			b.daemon(t)
			testkit.WriteFile(t, "token", federated(t, b, time.Hour))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			tt.set(t, b)
			code, out, errs := b.run(t, append([]string{"token"}, tt.args...)...)
			if code != 1 || out != "" {
				t.Errorf("exit code %d: %s", code, out)
			}
			golden(t, dir, "error "+tt.name, errs)
			code, out, errs = b.run(t, append([]string{"token", "-json"}, tt.args...)...)
			var r struct {
				Error struct{ Code, Description string }
			}
			if err := json.Unmarshal([]byte(out), &r); err != nil || code != 1 || errs != "" || r.Error.Code == "" ||
				r.Error.Description == "" {
				t.Errorf("exit code %d, %v: %s%s", code, err, out, errs)
			}
			if code, out, _ := b.run(t, append([]string{"token", "-raw"}, tt.args...)...); code != 1 || out != "" {
				t.Errorf("raw: exit code %d: %s", code, out)
			}
		})
	}
}

func part(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// returning returns token as the response to token requests.
func returning(next http.RoundTripper, token string) http.RoundTripper {
	return testkit.RoundTripper(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPost {
			return next.RoundTrip(r)
		}
		body, err := json.Marshal(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 3600})
		return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}},
			Body: io.NopCloser(bytes.NewReader(body)), Request: r}, err
	})
}

// A hostile or opaque token is printed without control characters.
func TestHostileToken(t *testing.T) {
	for _, tt := range []struct{ token, want string }{
		{part(`{"alg":"none"}`) + "." +
			part("{\"aud\":\"x\\u001b[31m\\u0007\\u202e\\u009b1m\",\"\\u001b]0;t\\u0007\":[\"\\u001b[2J\"],"+
				"\"exp\":1e400,\"iat\":-5,\"n\":{\"a\":\"\\u2028\"}}") + ".x", "claims"},
		{"opaque", "not a JWT"},
		{"a.b.c.d.e", "encrypted"},
		{"a.b.c", "not a JWT"},
		{part("null") + "." + part("[]") + ".", "not a JWT"},
	} {
		b := newBench(t)
		b.daemon(t)
		b.transport = returning(b.transport, tt.token)
		for _, command := range []string{"token", "doctor"} {
			code, out, errs := b.run(t, command, scopeOfB)
			if code != 0 || strings.ContainsAny(out, "\x1b\x07\u202e\u009b\u2028") || !strings.Contains(out, tt.want) &&
				command == "token" {
				t.Errorf("%s: exit code %d: %q%s", command, code, out, errs)
			}
			code, out, errs = b.run(t, command, "-json", scopeOfB)
			if code != 0 || !json.Valid([]byte(out)) || strings.ContainsAny(out, "\x1b\x07\u202e\u009b\u2028") {
				t.Errorf("%s -json: exit code %d: %q%s", command, code, out, errs)
			}
		}
	}
}

// Control characters are escaped in JSON and preserved for a parser.
func TestJSONEscapesControlCharacters(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	b.transport = returning(b.transport, part(`{"alg":"none"}`)+"."+
		part(`{"aud":"x","odd":"\u009b1m\u202e\u007f\udb40\udc41<é>"}`)+".x")
	_, out, _ := b.run(t, "token", "-json", scopeOfB)
	var got struct {
		Claims map[string]string `json:"claims"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Claims["odd"] != "\u009b1m\u202e\u007f\U000e0041<é>" {
		t.Errorf("%v: %q of %s", err, got.Claims["odd"], out)
	}
	if !strings.Contains(out, `"\u009b1m\u202e\u007f\udb40\udc41<é>"`) {
		t.Errorf("got %s", out)
	}
}

// Control characters in arguments are not printed.
func TestHostileArguments(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	for _, terminal := range []bool{false, true} {
		b.terminal = terminal
		t.Setenv("NO_COLOR", "1")
		for _, name := range []string{"a\x1b]0;b\x07", "a\u009b2J"} {
			testkit.WriteFile(t, name, "daemon-secret")
			for _, args := range [][]string{{"token", "-secret-file", name, scopeOfB},
				{"doctor", "-secret-file", name, scopeOfB}, {"token", "-secret-file", name + "x"},
				{"doctor", "-secret-file", name + "x"},
				{"doctor", "-cloud", name}, {"token", "-cloud", name}, {"token", "-tenant", name}, {"doctor", "-client", name},
				{"token", "-region", name}, {"token", name}, {"doctor", name}, {"doctor", "-managed-identity", name},
				{"doctor", "-identity", name}, {"doctor", "-identity", "/" + name},
				{"token", "-assertion", name + "x", scopeOfB}, {name}, {"token", "-" + name}} {
				if _, out, errs := b.run(t, args...); strings.ContainsAny(out+errs, "\x1b\x07\u009b") {
					t.Errorf("%q: %q%q", args, out, errs)
				}
			}
		}
	}
}

// A failed write to standard output is an error.
func TestOutputFails(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	for _, args := range [][]string{{"token", "-raw"}, {"token", "-json"}, {"token"}, {"doctor", "-json"}, {"doctor"}} {
		var errs bytes.Buffer
		s := &cli.System{Stdin: strings.NewReader(""), Stdout: full{}, Stderr: &errs, Env: os.Environ(),
			Transport: b.transport}
		if code := s.Run(t.Context(), append(args, scopeOfB)); code != cli.Failure || errs.String() != "entra "+args[0]+
			": writing to standard output failed: the disk is full\n" {
			t.Errorf("%v: exit code %d: %q", args, code, errs.String())
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("the disk is\x1b full") }

// Wrong usage sends no request, is explained, and does not repeat a secret.
func TestWrongUsage(t *testing.T) {
	b := newBench(t)
	b.daemon(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "entra token  [flags]"},
		{[]string{"tokens"}, `unknown command "tokens"`},
		{[]string{"token", "-nonsense"}, "flag provided but not defined: -nonsense"},
		{[]string{"token", "-secret", "s3cret"}, "-secret is not accepted"},
		{[]string{"token", "--secret=s3cret"}, "-secret is not accepted"},
		{[]string{"doctor", "-client-secret", "s3cret"}, "-client-secret is not accepted"},
		{[]string{"token", "-password=s3cret"}, "-password is not accepted"},
		{[]string{"token", "-secret-env", "s3cret~value"}, "take the name of an environment variable"},
		{[]string{"token", "-certificate", "a", "-password-env", "s3cret~value"}, "take the name of an environment variable"},
		{[]string{"token", "-secret-file", "s3cret~aBcDeFgHiJkLmNoPqRsTuVwXyZ.0123"}, "take the name of a file"},
		{[]string{"token", "-secret-file", "a", "-certificate", "b"},
			"-secret-file and -certificate select different credentials"},
		{[]string{"token", "-key", "a"}, "need -certificate"},
		{[]string{"token", "-certificate", "a", "-password-env", "A", "-password-file", "b"}, "cannot be combined"},
		{[]string{"token", "-raw", "-json"}, "-raw prints only the token"},
		{[]string{"token", "-secret-stdin", "-assertion", "-"}, "both read standard input"},
		{[]string{"token", "a/.default", "b/.default"}, "has one scope"},
		{[]string{"token", "-timeout", "0s"}, "must be positive"},
		{[]string{"doctor", "-raw"}, "not defined: -raw"},
		{[]string{"token", "-identity", "system", "-tenant", "a"}, "leave out -tenant, -client"},
		{[]string{"token", "-identity", "system", "-assertion", "a"}, "-identity and -assertion cannot be combined"},
		{[]string{"doctor", "-identity", "system", "-client", "a"}, "leave out -tenant, -client"},
		{[]string{"doctor", "-identity", "system", "-managed-identity", "default"}, "leave out -tenant, -client"},
	} {
		code, out, errs := b.run(t, tt.args...)
		if code != 2 || out != "" || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit code %d: %s%s", tt.args, code, out, errs)
		}
	}
	for _, args := range [][]string{{"token", "-h"}, {"doctor", "-h"}, {"help"}} {
		if code, out, errs := b.run(t, args...); code != 0 || !strings.Contains(out+errs, "Exit codes: 0") {
			t.Errorf("%v: exit code %d: %s%s", args, code, out, errs)
		}
	}
	if n := len(b.Requests()); n != 0 {
		t.Errorf("got %d requests, want none", n)
	}
}
