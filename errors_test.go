package entra_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

const alice = "alice@contoso.onmicrosoft.com"

// fields are the exported fields of an *entra.Error.
func fields(e *entra.Error) entra.Error {
	return entra.Error{
		Code: e.Code, AADSTS: e.AADSTS, SubError: e.SubError, Description: e.Description, Claims: e.Claims,
		CorrelationID: e.CorrelationID, TraceID: e.TraceID, StatusCode: e.StatusCode, RetryAfter: e.RetryAfter,
	}
}

// Each member of an error response becomes a field of the error.
func TestErrorFields(t *testing.T) {
	const body = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.\r\nTrace ID: t1 Correlation ID: c1",
		"error_codes":[7000215,1],"suberror":"sub","claims":"{\"access_token\":{}}","trace_id":"t1","correlation_id":"c1","timestamp":"x"}`
	e := newEstate()
	e.Intercept(respondWith(401, "application/json; charset=utf-8", body, "Retry-After", "7"))
	_, err := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").TokenContext(t.Context())
	got := testkit.Error(t, err)
	want := entra.Error{
		Code: "invalid_client", AADSTS: []int{7000215, 1}, SubError: "sub",
		Description: "AADSTS7000215: Invalid client secret provided. Trace ID: t1 Correlation ID: c1",
		Claims:      `{"access_token":{}}`, CorrelationID: "c1", TraceID: "t1", StatusCode: 401, RetryAfter: 7 * time.Second,
	}
	if f := fields(got); !reflect.DeepEqual(f, want) {
		t.Errorf("got\n%#v, want\n%#v", f, want)
	}
	if want := "entra: invalid_client (sub): AADSTS7000215: Invalid client secret provided. Trace ID: t1 Correlation ID: c1"; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
	if !got.Has(7000215) || got.Has(2) || got.InteractionRequired() || got.Temporary() {
		t.Error("Has, InteractionRequired or Temporary is wrong")
	}
	var retrieve *oauth2.RetrieveError
	if !errors.As(err, &retrieve) {
		t.Fatal("errors.As finds no *oauth2.RetrieveError")
	}
	if retrieve.ErrorCode != "invalid_client" || retrieve.ErrorDescription != got.Description ||
		retrieve.Response.StatusCode != 401 ||
		retrieve.Response.Header.Get("Retry-After") != "7" || retrieve.Response.Header.Get("X-Ms-Request-Id") != "t1" ||
		len(retrieve.Body) > 0 {
		t.Errorf("got %+v", retrieve)
	}
}

// Rejections of the fake, and every fault between the client and Entra.
func TestErrors(t *testing.T) {
	daemon := func(e *estate, t *testing.T) *entra.TokenSource {
		return clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default")
	}
	onBehalf := func(e *estate, t *testing.T) *entra.TokenSource {
		assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
		return obo.TokenSource(e.client(t, "api-a"), assertion, "api://api-b/Orders.Read")
	}
	for _, tt := range []struct {
		name    string
		change  func(*entratest.Config)
		source  func(*estate, *testing.T) *entra.TokenSource
		respond func(*http.Request, url.Values) (*http.Response, error)

		code        string
		aadsts      int
		status      int
		retryAfter  time.Duration
		interaction bool
		temporary   bool
		text        string // part of the description
		is          error
		claims      bool
	}{
		{
			name: "token with something in it that no header may have", source: daemon,
			respond: respondWith(200, "application/json",
				`{"token_type":"Bearer","expires_in":3600,"access_token":"a\u001b]0;b\u0007\r\nX: c"}`),
			code: entra.CodeInvalidResponse, status: 200,
			text: "the access_token in the response contains an invalid character",
		},
		{
			name: "certificate whose names are another log line", source: daemon,
			respond: func(*http.Request, url.Values) (*http.Response, error) {
				return nil, x509.HostnameError{Host: "login.microsoftonline.com",
					Certificate: &x509.Certificate{DNSNames: []string{"a\n\x1b[2Jlevel=INFO", strings.Repeat("bbb ", 250)}}}
			},
			code: entra.CodeRequestFailed,
			text: "request to login.microsoftonline.com failed: x509: certificate is valid for a [2Jlevel=INFO, bbb",
		},
		{
			name: "wrong secret",
			source: func(e *estate, t *testing.T) *entra.TokenSource {
				cfg := e.config("daemon")
				cfg.Credential = entra.Secret("not-the-secret")
				return clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
			},
			code: "invalid_client", aadsts: 7000215, status: 401, text: "AADSTS7000215: ",
		},
		{
			name: "unknown app",
			source: func(e *estate, t *testing.T) *entra.TokenSource {
				cfg := e.config("daemon")
				cfg.ClientID = "99999999-0000-4000-8000-000000000000"
				return clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
			},
			code: "unauthorized_client", aadsts: 700016, status: 400, text: "AADSTS700016: ",
		},
		{
			name: "unknown tenant",
			source: func(e *estate, t *testing.T) *entra.TokenSource {
				cfg := e.config("daemon")
				cfg.TenantID = "99999999-0000-4000-8000-000000000000"
				return clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
			},
			code: "invalid_tenant", aadsts: 90002, status: 400, text: "AADSTS90002: ",
		},
		{
			name: "consent missing",
			change: func(c *entratest.Config) {
				for i := range c.Apps {
					c.Apps[i].Permissions = nil
				}
			},
			source: onBehalf, code: "invalid_grant", aadsts: 65001, status: 400, interaction: true, text: "AADSTS65001: ",
		},
		{
			name:   "second factor required",
			change: func(c *entratest.Config) { c.Apps[3].RequireMFA = true },
			source: onBehalf, code: "interaction_required", aadsts: 50076, status: 400, interaction: true, text: "AADSTS50076: ",
			claims: true,
		},
		{
			name: "throttled", source: daemon,
			respond: respondWith(429, "application/json", `{"error":"temporarily_unavailable"}`, "Retry-After", "60"),
			code:    "temporarily_unavailable", status: 429, retryAfter: time.Minute, temporary: true,
		},
		{
			name: "throttled by a proxy", source: daemon,
			respond: respondWith(429, "text/plain", `slow down`, "Retry-After", "60"),
			code:    entra.CodeInvalidResponse, status: 429, retryAfter: time.Minute, temporary: true,
			text: "9 bytes, text/plain, status 429",
		},
		{
			name: "silenced for a year", source: daemon,
			respond: respondWith(503, "application/json", `{"error":"server_error"}`, "Retry-After", "31536000"),
			code:    "server_error", status: 503, retryAfter: time.Hour, temporary: true,
		},
		{
			name: "a proxy's page", source: daemon,
			respond: respondWith(200, "text/html; charset=utf-8", "<html><body>Sign in to the network</body></html>"),
			code:    entra.CodeInvalidResponse, status: 200,
			text: "48 bytes, text/html, status 200, which is not an OAuth response; check whether a proxy sent it",
		},
		{
			name: "a proxy's error page", source: daemon,
			respond: respondWith(502, "text/html", "<h1>Bad gateway</h1>"),
			code:    entra.CodeInvalidResponse, status: 502, temporary: true, text: "20 bytes, text/html, status 502",
		},
		{
			name: "a redirect", source: daemon,
			respond: respondWith(307, "text/html", "", "Location", "https://elsewhere.example/"),
			code:    entra.CodeInvalidResponse, status: 307, text: "status 307",
		},
		{
			name: "half a document", source: daemon,
			respond: respondWith(200, "application/json", `{"access_token":"s3cret-token","expi`),
			code:    entra.CodeInvalidResponse, status: 200, text: "not an OAuth response",
		},
		{
			name: "a connection that breaks in the body", source: daemon,
			respond: func(req *http.Request, _ url.Values) (*http.Response, error) {
				if req.Method != http.MethodPost {
					return nil, nil
				}
				body := io.MultiReader(strings.NewReader(`{"access`), errorReader{io.ErrUnexpectedEOF})
				return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
			},
			code: entra.CodeRequestFailed, status: 200, temporary: true, text: "ended early, after 8 bytes",
		},
		{
			name: "too much", source: daemon,
			respond: respondWith(200, "application/json", `{"access_token":"`+strings.Repeat("x", 1<<20)+`"}`),
			code:    entra.CodeInvalidResponse, status: 200, text: "larger than 1048576 bytes",
		},
		{
			name: "no token", source: daemon,
			respond: respondWith(200, "application/json", `{"token_type":"Bearer","expires_in":3600}`),
			code:    entra.CodeInvalidResponse, status: 200, text: "lacks an access_token",
		},
		{
			name: "no life", source: daemon,
			respond: respondWith(200, "application/json", `{"access_token":"s3cret-token","token_type":"Bearer"}`),
			code:    entra.CodeInvalidResponse, status: 200, text: "expires_in",
		},
		{
			name: "negative life", source: daemon,
			respond: respondWith(200, "application/json",
				`{"access_token":"s3cret-token","token_type":"Bearer","expires_in":-5}`),
			code: entra.CodeInvalidResponse, status: 200, text: "expires_in",
		},
		{
			name: "enormous life", source: daemon,
			respond: respondWith(200, "application/json",
				`{"access_token":"s3cret-token","token_type":"Bearer","expires_in":99999999999999999999}`),
			code: entra.CodeInvalidResponse, status: 200, text: "expires_in",
		},
		{
			name: "another token type", source: daemon,
			respond: respondWith(200, "application/json",
				`{"access_token":"s3cret-token","token_type":"pop","expires_in":3600}`),
			code: entra.CodeInvalidResponse, status: 200, text: "token_type",
		},
		{
			name: "an app's token for a user", source: onBehalf,
			respond: respondWith(200, "application/json",
				`{"access_token":"s3cret-token","token_type":"Bearer","expires_in":3600}`),
			code: entra.CodeInvalidResponse, text: "which user",
		},
		{
			name: "fewer scopes than requested", source: onBehalf,
			respond: respondWith(200, "application/json",
				`{"access_token":"s3cret-token","token_type":"Bearer","expires_in":3600,"scope":"other"}`),
			code: "consent_required", status: 200, interaction: true, text: "missing: api://api-b/Orders.Read",
		},
		{
			name: "connection refused", source: daemon,
			respond: func(req *http.Request, _ url.Values) (*http.Response, error) {
				return nil, fmt.Errorf("dial tcp: %w", syscall.ECONNREFUSED)
			},
			code: entra.CodeRequestFailed, temporary: true, is: syscall.ECONNREFUSED,
			text: "request to login.microsoftonline.com failed: connection refused",
		},
		{
			name: "a transport that repeats the request", source: daemon,
			respond: func(req *http.Request, form url.Values) (*http.Response, error) {
				if req.Method != http.MethodPost {
					return nil, nil
				}
				return nil, fmt.Errorf("could not send %s", form.Encode())
			},
			code: entra.CodeRequestFailed, temporary: true, text: "failed: the connection or a proxy failed",
		},
		{
			name: "a description that repeats the request", source: daemon,
			respond: func(req *http.Request, form url.Values) (*http.Response, error) {
				return respondWith(400, "application/json", `{"error":"invalid_client","error_description":"bad `+
					form.Get("client_secret")+` and eyJhbGciOiJub25lIn0.e30."}`)(req, form)
			},
			code: "invalid_client", status: 400, text: "bad [redacted] and [redacted]",
		},
		{
			name: "a proxy's address with its password", source: daemon,
			respond: func(*http.Request, url.Values) (*http.Response, error) {
				_, err := url.Parse(strings.Replace("http://svc:PASSWORD@proxy.example:3128", "PASSWORD", "pa%s3cret", 1))
				return nil, err
			},
			code: entra.CodeRequestFailed, temporary: true, text: "the connection or a proxy failed",
		},
		{
			name: "an unknown certificate", source: daemon,
			respond: func(*http.Request, url.Values) (*http.Response, error) { return nil, x509.UnknownAuthorityError{} },
			code:    entra.CodeRequestFailed, text: "trust it in the HTTPClient that sends the request",
		},
		{
			name: "codes of unexpected types", source: daemon,
			respond: respondWith(400, "application/json", `{"error":"invalid_grant","error_codes":["70008",{},7],"suberror":3}`),
			code:    "invalid_grant", status: 400, interaction: true, aadsts: 70008,
		},
		{
			name: "an assertion that a sign-in cannot fix", source: daemon,
			respond: respondWith(400, "application/json", `{"error":"invalid_grant","error_codes":[50013]}`),
			code:    "invalid_grant", status: 400, aadsts: 50013,
		},
		{
			name: "discovery response of a proxy", source: daemon,
			respond: func(req *http.Request, form url.Values) (*http.Response, error) {
				return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/html"}},
					Body: io.NopCloser(strings.NewReader("<html>"))}, nil
			},
			code: entra.CodeInvalidResponse, status: 200,
			text: "the discovery response of login.microsoftonline.com is 6 bytes, text/html",
		},
		{
			name: "discovery that points elsewhere", source: daemon,
			respond: discoveryWith("https://evil.example/token"),
			code:    entra.CodeInvalidResponse, text: "on another host, evil.example",
		},
		{
			name: "discovery of another tenant", source: daemon,
			respond: discoveryWith("https://login.microsoftonline.com/" + entratest.SampleOtherTenant + "/oauth2/v2.0/token"),
			code:    entra.CodeInvalidResponse, text: "names a URL of another tenant",
		},
		{
			name: "discovery that points to plain HTTP", source: daemon,
			respond: discoveryWith("http://login.microsoftonline.com/token"),
			code:    entra.CodeInvalidResponse, text: "without TLS",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var change []func(*entratest.Config)
				if tt.change != nil {
					change = append(change, tt.change)
				}
				e := newEstate(change...)
				e.Intercept(tt.respond)
				source := tt.source(e, t)
				tok, err := source.TokenContext(t.Context())
				if tok != nil {
					t.Error("got a token")
				}
				got := testkit.Error(t, err)
				if got.Code != tt.code || got.StatusCode != tt.status || got.RetryAfter != tt.retryAfter {
					t.Errorf("code %s, status %d, Retry-After %v, want %s, %d, %v", got.Code, got.StatusCode, got.RetryAfter, tt.code,
						tt.status, tt.retryAfter)
				}
				if tt.aadsts != 0 && (len(got.AADSTS) == 0 || got.AADSTS[0] != tt.aadsts) || tt.aadsts == 0 && len(got.AADSTS) > 0 {
					t.Errorf("AADSTS %v, want %d", got.AADSTS, tt.aadsts)
				}
				if got.InteractionRequired() != tt.interaction || got.Temporary() != tt.temporary {
					t.Errorf("interaction %v, temporary %v", got.InteractionRequired(), got.Temporary())
				}
				if !strings.Contains(got.Description, tt.text) {
					t.Errorf("description %q, want %q in it", got.Description, tt.text)
				}
				if tt.is != nil && !errors.Is(err, tt.is) {
					t.Errorf("is not %v", tt.is)
				}
				if (got.Claims != "") != tt.claims || tt.claims && !json.Valid([]byte(got.Claims)) {
					t.Errorf("claims %q", got.Claims)
				}
				if tt.status >= 400 && tt.respond == nil && (got.CorrelationID == "" || got.TraceID == "") {
					t.Errorf("correlation %q, trace %q", got.CorrelationID, got.TraceID)
				}
				leaks(t, err, "not-the-secret", "daemon-secret", "api-a-secret", "s3cret", "eyJ")
			})
		})
	}
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func discoveryWith(tokenEndpoint string) func(*http.Request, url.Values) (*http.Response, error) {
	return func(req *http.Request, form url.Values) (*http.Response, error) {
		if req.Method != http.MethodGet {
			return nil, errors.New("the token request was sent")
		}
		body, _ := json.Marshal(map[string]string{
			"issuer":                 "https://login.microsoftonline.com/" + entratest.SampleTenant + "/v2.0",
			"authorization_endpoint": "https://login.microsoftonline.com/" + entratest.SampleTenant + "/oauth2/v2.0/authorize",
			"token_endpoint":         tokenEndpoint,
		})
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(body))}, nil
	}
}

// A claims challenge is returned as it is, or not at all: a changed one would be another challenge.
func TestClaimsOfErrorsAreNotChanged(t *testing.T) {
	nonce := `{"access_token":{"xms_ds_nonce":{"value":"` + strings.Repeat("AwAB_-", 20) + `"}}}`
	for claims, want := range map[string]string{
		nonce:                              nonce,
		`{"a": "daemon-secret"}`:           "",
		`{"a":"eyJhbGciOiJub25lIn0.e30."}`: "",
		`{"a":"` + strings.Repeat("a", 10_000) + `"}`: "",
	} {
		e := newEstate()
		body, err := json.Marshal(map[string]string{"error": "interaction_required", "claims": claims})
		if err != nil {
			t.Fatal(err)
		}
		e.Intercept(func(r *http.Request, form url.Values) (*http.Response, error) {
			if r.Method == http.MethodGet {
				return nil, nil
			}
			return respondWith(400, "application/json", string(body))(r, form)
		})
		_, err = clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").Token()
		if got := testkit.Error(t, err); got.Claims != want {
			t.Errorf("%.50s: got %.50q, want %.50q", claims, got.Claims, want)
		}
	}
}

// leaks fails the test if any form of err, or of an error that it wraps, contains a secret.
func leaks(t testing.TB, err error, secrets ...string) {
	t.Helper()
	testkit.NoSecrets(t, err, secrets...)
	if retrieve, ok := errors.AsType[*oauth2.RetrieveError](err); ok {
		testkit.NoSecrets(t, retrieve, secrets...)
	}
}

func TestSlowEntraTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEstate()
		e.Inject(entratest.Fault{Endpoint: "token", Delay: time.Hour})
		start := time.Now()
		_, err := clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").TokenContext(context.Background())
		got := testkit.Error(t, err)
		if got.Code != entra.CodeRequestFailed || !errors.Is(err, context.DeadlineExceeded) || !got.Temporary() ||
			time.Since(start) != 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if got.CorrelationID == "" {
			t.Error("no correlation ID")
		}
	})
}

// A response without a valid header is reported, but its text is not repeated.
func TestMalformedResponseIsNotRepeated(t *testing.T) {
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
			io.WriteString(c, "{\"access_token\":\"s3cret-token\"}\r\n\r\n")
			c.Close()
		}
	}()
	e := newEstate()
	e.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
		if req.Method != http.MethodPost {
			return nil, nil
		}
		return http.Post("http://"+l.Addr().String(), "text/plain", nil)
	})
	_, err = clientcreds.TokenSource(e.client(t, "daemon"), "api://api-b/.default").Token()
	if got := testkit.Error(t, err); got.Code != entra.CodeRequestFailed {
		t.Errorf("got %v", err)
	}
	leaks(t, err, "s3cret")
}

// The log contains no names of users, although Entra's descriptions do.
func TestLogContainsNoUserNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		e := newEstate()
		e.Intercept(respondWith(400, "application/json",
			`{"error":"invalid_grant","error_description":"AADSTS50020: User account 'alice@contoso.com' does not exist","error_codes":[50020]}`))
		cfg := e.config("daemon")
		cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
		_, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").Token()
		if !strings.Contains(err.Error(), "alice@contoso.com") {
			t.Errorf("the error says less: %v", err)
		}
		synctest.Wait() // events follow the responses to waiting callers
		if got := log.String(); strings.Contains(got, "alice") || !strings.Contains(got, "error.aadsts=[50020]") ||
			!strings.Contains(got, "flow=client_credentials") {
			t.Errorf("logged %s", got)
		}
	})
}

// A logged error explains the AADSTS number in our own words, without Entra's text.
func TestLoggedErrorExplainsItsNumber(t *testing.T) {
	const personal = "AADSTS50105: alice@contoso.com is not assigned"
	for _, tt := range []struct {
		numbers []int
		want    string // the description, or "" without one
	}{
		{[]int{7000222}, "the client secret has expired"},
		{[]int{50105}, "the user is not assigned to the API"},
		{[]int{1, 7000215, 7000222}, "the client secret is invalid"}, // the first known number
		{[]int{1}, ""},
		{nil, personal}, // decided locally
	} {
		var log testkit.Log
		log.Logger().Info("", slog.Any("error", &entra.Error{Code: "invalid_client", AADSTS: tt.numbers, Description: personal}))
		logged := log.Lines(t)[0]["error"].(map[string]any)
		got, found := logged["description"]
		if found != (tt.want != "") || found && got != tt.want {
			t.Errorf("%v: got %v, want the description %q", tt.numbers, logged, tt.want)
		}
	}
}

// A secret that looks like the ID of a secret is logged once for all tenants of an app, also if it
// is loaded later (https://github.com/Azure/azure-cli/issues/5973).
func TestGUIDSecretIsLoggedOnce(t *testing.T) {
	const guid = "7d1c5a0e-1111-4a7b-9c9f-0123456789ab"
	for name, credential := range map[string]entra.Credential{
		"secret": entra.Secret(guid),
		"function": entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return entra.Secret(guid), nil
		}),
		"chain": entra.CredentialChain(entra.Secret("wrong"), entra.Secret(guid)),
	} {
		var log testkit.Log
		e := newEstate(func(c *entratest.Config) { c.Apps[0].Secrets = []string{guid} })
		cfg := e.config("daemon")
		cfg.Credential, cfg.Logger = credential, log.Logger()
		c := testkit.Client(t, cfg)
		other, err := c.WithTenant("contoso.onmicrosoft.com")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(log.String(), "GUID") {
			t.Errorf("%s: logged before a request was sent", name)
		}
		for _, client := range []*entra.Client{c, other} {
			if _, err := clientcreds.TokenSource(client, scopeOfB).Token(); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if got := strings.Count(log.String(), `"level":"WARN","msg":"entra: the client secret is a GUID, such as the ID of a `+
			`secret, client or tenant; if Entra rejects it, use the secret's Value`); got != 1 {
			t.Errorf("%s: got %d warnings in %s, want 1", name, got, log.String())
		}
		if strings.Contains(log.String(), guid) {
			t.Errorf("%s: the secret is logged", name)
		}
	}
}

// The logger logs each event of a client once, with a shared or a private cache, and no events
// of other clients.
func TestLoggerLogsEachEventOnce(t *testing.T) {
	for _, shared := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			e := newEstate(hour)
			var log, others bytes.Buffer
			plain := &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
				if len(groups) > 0 || !slices.Contains([]string{slog.LevelKey, slog.MessageKey, "background"}, a.Key) {
					return slog.Attr{}
				}
				return a
			}}
			cfg := e.config("daemon")
			if shared {
				cfg.Cache = cache.New(cache.Options{Size: 1})
			}
			cfg.Logger = slog.New(slog.NewTextHandler(&others, plain))
			other := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-a/.default")
			cfg.Logger = slog.New(slog.NewTextHandler(&log, plain))
			source := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default")
			if _, err := source.Token(); err != nil {
				t.Fatal(err)
			}
			other.Token()
			time.Sleep(time.Until(cached(t, source).RefreshAt))
			e.Inject(entratest.Fault{Endpoint: "token", Status: 429, RetryAfter: "60", Times: 1})
			tok, err := source.Token() // starts a refresh that is throttled
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			source.Invalidate(tok)
			const waited = "level=DEBUG msg=\"token cache: waited\"\n" // at the same moment as done, in either order
			got := strings.Replace(log.String(), waited, "", 1)
			if want := `level=DEBUG msg="token cache: fetch started"
level=DEBUG msg="token cache: fetch done"
level=DEBUG msg="token cache: fetch started" background=true
level=INFO msg="token cache: fetch failed" background=true
level=WARN msg="token cache: throttled" background=true
level=DEBUG msg="token cache: invalidated"
`; got != want || len(got)+len(waited) != log.Len() {
				t.Errorf("shared %t: logged\n%swant\n%s and once\n%s", shared, log.String(), want, waited)
			}
			if want := "fetch started"; strings.Count(others.String(), want) != 1 {
				t.Errorf("the other client logged\n%s", others.String())
			}
		})
	}
}

// For any response, the error contains no secret of the request and no token, and every
// token comes from the response.
func FuzzErrorsLeakNothing(f *testing.F) {
	f.Add(400, "application/json",
		`{"error":"%s","error_description":"AADSTS1: %s","claims":"{\"a\":\"%s\"}","suberror":"%s"}`, "")
	f.Add(200, "application/json", `{"access_token":"%s","expires_in":"%s"}`, "1")
	f.Add(200, "%s", `%s`, "Fri, 31 Dec 1999 23:59:59 GMT")
	f.Add(500, "text/html", `<html>%s`, "-1")
	f.Add(400, "application/json", `{"error":"\u0000%s\u0000","correlation_id":"%s","trace_id":"%s"}`, "%s")
	const secret = "the+client/secret=~with-everything"
	f.Fuzz(func(t *testing.T, status int, contentType, body, retryAfter string) {
		e := newEstate()
		cfg := e.config("daemon")
		cfg.Credential = entra.Secret(secret)
		e.Intercept(func(req *http.Request, form url.Values) (*http.Response, error) {
			fill := func(s string) string { return strings.ReplaceAll(s, "%s", form.Get("client_secret")) }
			return respondWith(status, fill(contentType), fill(body), "Retry-After", fill(retryAfter))(req, form)
		})
		tok, err := clientcreds.TokenSource(testkit.Client(t, cfg), "api://api-b/.default").TokenContext(t.Context())
		if err == nil {
			if status != 200 || !strings.Contains(strings.ReplaceAll(body, `\`, ""), "access_token") || tok.AccessToken == "" {
				t.Errorf("status %d and %q make a token", status, body)
			}
			return
		}
		got := testkit.Error(t, err)
		if got.Code == "" || got.RetryAfter < 0 || got.RetryAfter > time.Hour || strings.ContainsAny(err.Error(), "\r\n") {
			t.Errorf("%#v", fields(got))
		}
		leaks(t, err, secret, url.QueryEscape(secret))
	})
}

// Missing consent is not the same as an expired sign-in: a new token does not help.
func TestConsentRequired(t *testing.T) {
	for _, tt := range []struct {
		err  entra.Error
		want bool
	}{
		{entra.Error{Code: "invalid_grant", SubError: "consent_required"}, true},
		{entra.Error{Code: "invalid_grant", AADSTS: []int{65001}}, true},
		{entra.Error{Code: "access_denied", AADSTS: []int{65004}}, true},
		{entra.Error{Code: "invalid_grant", AADSTS: []int{90094}}, true},
		{entra.Error{Code: "access_denied", AADSTS: []int{90095}}, true},
		{entra.Error{Code: "consent_required"}, true},
		{entra.Error{Code: "access_denied", AADSTS: []int{50105}}, false},
		{entra.Error{Code: "interaction_required", AADSTS: []int{50076}}, false},
		{entra.Error{Code: "invalid_grant", AADSTS: []int{500133}}, false},
		{entra.Error{}, false},
	} {
		if got := tt.err.ConsentRequired(); got != tt.want {
			t.Errorf("%v: got %v, want %v", &tt.err, got, tt.want)
		}
	}
}

// Processes that share a store share the failures that Entra returned, with all fields. They do not share failures
// that another process may not have: those of the network, of its configuration and of its credential.
func TestFailuresAreEncodedForOtherProcesses(t *testing.T) {
	shared := []*entra.Error{
		{
			Code: "invalid_grant", AADSTS: []int{50076, 1}, SubError: "basic_action", Description: "AADSTS50076: x",
			Claims: `{"access_token":{}}`, CorrelationID: "c1", TraceID: "t1", StatusCode: 400,
		},
		{Code: "temporarily_unavailable", StatusCode: 503, RetryAfter: 7 * time.Second},
		{Code: entra.CodeInvalidResponse, StatusCode: 429, RetryAfter: time.Minute},
	}
	for _, e := range shared {
		b := entra.EncodeError(fmt.Errorf("wrapped: %w", e))
		if got := entra.DecodeError(b); !reflect.DeepEqual(got, error(e)) {
			t.Errorf("got %#v from %s, want %#v", got, b, e)
		}
	}
	for _, err := range []error{
		nil,
		errors.New("an error of another package"),
		context.DeadlineExceeded,
		&entra.Error{Code: entra.CodeRequestFailed, Err: syscall.ECONNREFUSED},
		&entra.Error{Code: "invalid_request", Description: "the configuration is invalid"},
		&entra.Error{Code: "invalid_client", AADSTS: []int{7000215}, StatusCode: 401},
		&entra.Error{Code: entra.CodeInvalidResponse, StatusCode: 200},
	} {
		if b := entra.EncodeError(err); b != nil {
			t.Errorf("%v: got %s, want nil", err, b)
		}
	}
	for _, record := range []string{"", "{", "null", "[]", "{}", `{"Code":""}`, `{"Code":7}`, `{"StatusCode":400}`} {
		if err := entra.DecodeError([]byte(record)); err != nil {
			t.Errorf("%q: got %v, want nil", record, err)
		}
	}
	for _, e := range shared {
		want := entra.EncodeError(e)
		e.Err = &url.Error{Op: "s3cret", Err: errors.New("a cause")} // of this process, and maybe not safe to repeat
		if got := entra.EncodeError(e); string(got) != string(want) {
			t.Errorf("got %s, want %s without Err", got, want)
		}
	}
}
