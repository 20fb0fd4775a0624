package entra_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/obo"
)

// wantTwice requires that the last two token requests differ only in their secret. It
// returns the form.
func (e *estate) wantTwice(t *testing.T, grantType, first, second string) url.Values {
	t.Helper()
	forms := e.Forms()
	if len(forms) < 2 {
		t.Fatalf("%d token requests, want two", len(forms))
	}
	a, b := maps.Clone(forms[len(forms)-2]), forms[len(forms)-1]
	if a.Get("client_secret") != first || b.Get("client_secret") != second || a.Get("grant_type") != grantType {
		t.Errorf("sent %s with %s and %s, want %s with %s and %s", a.Get("grant_type"), a.Get("client_secret"),
			b.Get("client_secret"), grantType, first, second)
	}
	a["client_secret"] = b["client_secret"]
	if !reflect.DeepEqual(a, b) {
		t.Errorf("the requests differ:\n%v\n%v", a, b)
	}
	return b
}

// replace makes secret the only valid one of an app.
func (e *estate) replace(app, secret string) {
	e.UpdateCredentials(app, func(a *entratest.App) { a.Secrets = []string{secret} })
}

// Each flow sends its code, refresh token or claims challenge again with the next credential,
// and the user stays signed in.
func TestRotationInEveryFlow(t *testing.T) {
	e := newEstate()
	signInWith := func(c entra.Credential) (*authcode.Flow, *authcode.SignIn) {
		t.Helper()
		cfg := e.config("webapp")
		cfg.Credential, cfg.Capabilities = c, []string{"cp1"}
		flow, err := authcode.New(testkit.Client(t, cfg), authcode.Config{RedirectURL: "http://localhost/callback",
			Scopes: []string{"api://api-a/access_as_user"}})
		if err != nil {
			t.Fatal(err)
		}
		login, err := flow.Begin(t.Context(), authcode.Request{})
		if err != nil {
			t.Fatal(err)
		}
		callback, err := e.SignIn(t.Context(), login.URL(), alice)
		if err != nil {
			t.Fatal(err)
		}
		signIn, err := flow.Exchange(t.Context(), login, callback.Query())
		if err != nil {
			t.Fatal(err)
		}
		return flow, signIn
	}
	e.replace("webapp", "one")
	_, signIn := signInWith(entra.CredentialChain(entra.Secret("zero"), entra.Secret("one"), entra.Secret("two")))
	if form := e.wantTwice(t, "authorization_code", "zero", "one"); form.Get("code") == "" ||
		form.Get("code_verifier") == "" {
		t.Errorf("no code in %v", form)
	}
	if _, ok := signIn.Source.Cached(); !ok {
		t.Error("the token of the sign-in is not cached")
	}

	e.replace("webapp", "zero")
	invalidate(t, signIn.Source)
	wantToken(t, signIn.Source)
	refreshToken := e.wantTwice(t, "refresh_token", "one", "zero").Get("refresh_token")
	if refreshToken == "" {
		t.Error("no refresh token was sent")
	}

	e.replace("webapp", "two")
	wantToken(t, signIn.Source.WithClaims(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`))
	forms := e.Forms()
	if form := forms[len(forms)-1]; len(forms) != 7 || form.Get("client_secret") != "two" ||
		!strings.Contains(form.Get("claims"), `"nbf"`) || form.Get("refresh_token") == "" {
		t.Errorf("%d requests, the last is %v", len(forms), form)
	}
	for _, form := range forms[4:] {
		if form.Get("claims") != forms[6].Get("claims") || form.Get("refresh_token") != forms[6].Get("refresh_token") {
			t.Errorf("the claims or the refresh token of %v were lost", form)
		}
	}

	e.replace("api-a", "new")
	cfg := e.config("api-a")
	cfg.Credential = entra.CredentialChain(entra.Secret("old"), entra.Secret("new"))
	assertion := e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp", User: alice})
	wantToken(t, obo.TokenSource(testkit.Client(t, cfg), assertion, "api://api-b/Orders.Read"))
	if form := e.wantTwice(t, "urn:ietf:params:oauth:grant-type:jwt-bearer", "old",
		"new"); form.Get("assertion") != assertion {
		t.Error("the assertion was lost")
	}
}

// A single-use code is still valid after Entra has rejected the credential.
func TestCodeIsValidAfterRejectedCredential(t *testing.T) {
	e := newEstate()
	cfg := e.config("webapp")
	const redirect = "http://localhost/callback"
	scopes := []string{"api://api-a/access_as_user"}
	callback, err := e.SignIn(t.Context(), "https://login.microsoftonline.com/"+entratest.SampleTenant+
		"/oauth2/v2.0/authorize?"+url.Values{
		"client_id": {cfg.ClientID}, "response_type": {"code"}, "redirect_uri": {redirect},
		"scope": {"openid profile offline_access " + scopes[0]},
	}.Encode(), alice)
	if err != nil {
		t.Fatal(err)
	}
	redeem := func(c entra.Credential) error {
		cfg.Credential = c
		_, err := testkit.Client(t, cfg).Exchange(t.Context(), entra.Grant{Flow: "x", Scopes: scopes,
			Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
				return r.AuthorizationCode(ctx, callback.Query().Get("code"), redirect, "")
			}})
		return err
	}
	wantError(t, redeem(entra.CredentialChain(entra.Secret("wrong"), entra.Secret("expired"))), "invalid_client",
		"no credential works", 7000215)
	if err := redeem(entra.CredentialChain(entra.Secret("wrong"), entra.Secret("webapp-secret"))); err != nil {
		t.Error(err)
	}
	wantError(t, redeem(entra.Secret("webapp-secret")), "invalid_grant", "already been redeemed", 54005)
	e.wantSecrets(t, "wrong", "expired", "wrong", "webapp-secret", "webapp-secret")
}

// Every kind of credential works in every flow.
func TestEveryCredentialInEveryFlow(t *testing.T) {
	cert, key := selfSigned(t)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	certs := []*x509.Certificate{cert}
	register := func(a *entratest.App) {
		a.Secrets = []string{"the~secret"}
		a.Certificates = certs
		a.Federated = []entratest.FederatedCredential{{Issuer: "https://cluster.example", Subject: "pod", Key: key.Public()}}
	}
	registerSubject := func(a *entratest.App) {
		a.Secrets, a.TrustedSubjects = nil, []entratest.TrustedSubject{{Subject: "daemon", Roots: roots}}
	}
	assertion := entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) {
		return jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
			"iss": "https://cluster.example", "sub": "pod", "aud": "api://AzureADTokenExchange",
			"exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString(key)
	})
	reloading := func(c entra.Credential) entra.Credential {
		return entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) { return c, nil })
	}
	for _, tt := range []struct {
		name       string
		credential entra.Credential
		register   func(*entratest.App)
	}{
		{"secret", entra.Secret("the~secret"), register},
		{"certificate", entra.Certificate(certs, key, nil), register},
		{"certificate, RS256", entra.Certificate(certs, key, &entra.CertificateOptions{RS256: true}), register},
		{"certificate in a module", entra.Certificate(certs, vault{key: key}, nil), register},
		{"certificate in a module, RS256", entra.Certificate(certs, vault{key: key}, &entra.CertificateOptions{RS256: true}),
			register},
		{"subject name and issuer", entra.Certificate(certs, key, &entra.CertificateOptions{SendChain: true}),
			registerSubject},
		{"assertion", assertion, register},
		{"reloading secret", reloading(entra.Secret("the~secret")), register},
		{"reloading certificate", reloading(entra.Certificate(certs, key, nil)), register},
		{"reloading assertion", reloading(assertion), register},
		{"list", entra.CredentialChain(assertion, entra.Secret("the~secret")), register},
		{"reloading list of reloading", reloading(entra.CredentialChain(reloading(entra.Certificate(certs, key, nil)))),
			register},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newEstate()
			for _, app := range []string{"daemon", "api-a", "webapp"} {
				e.UpdateCredentials(app, tt.register)
			}
			client := func(app string) *entra.Client {
				a := e.App(app)
				return testkit.Client(t, entra.Config{TenantID: a.TenantID, ClientID: a.ClientID, Credential: tt.credential,
					HTTPClient: e.httpClient()})
			}
			wantToken(t, clientcreds.TokenSource(client("daemon"), scopeB))
			wantToken(t, obo.TokenSource(client("api-a"), e.Mint(entratest.MintOptions{Resource: "api-a", Client: "webapp",
				User: alice}), scopeB))
			flow, err := authcode.New(client("webapp"), authcode.Config{RedirectURL: "http://localhost/callback",
				Scopes: []string{"api://api-a/access_as_user"}})
			if err != nil {
				t.Fatal(err)
			}
			login, err := flow.Begin(t.Context(), authcode.Request{})
			if err != nil {
				t.Fatal(err)
			}
			callback, err := e.SignIn(t.Context(), login.URL(), alice)
			if err != nil {
				t.Fatal(err)
			}
			signIn, err := flow.Exchange(t.Context(), login, callback.Query())
			if err != nil {
				t.Fatal(err)
			}
			invalidate(t, signIn.Source)
			wantToken(t, signIn.Source)
			var grants []string
			for _, form := range e.Forms() {
				grants = append(grants, form.Get("grant_type"))
			}
			if want := []string{"client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "authorization_code",
				"refresh_token"}; !slices.Equal(grants, want) {
				t.Errorf("got grants %v, want %v", grants, want)
			}
		})
	}
}

// Cached tokens survive a change of the credential, and are not shared with another credential.
func TestTokensSurviveRotation(t *testing.T) {
	e := newEstate()
	current := entra.Secret("daemon-secret")
	cfg := e.config("daemon")
	cfg.Credential = entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential,
		error) {
		return current, nil
	})
	c := testkit.Client(t, cfg)
	wantToken(t, clientcreds.TokenSource(c, scopeB))
	current = entra.Secret("wrong")
	wantToken(t, clientcreds.TokenSource(c, scopeB))
	cfg.Cache = c.Cache()
	wantToken(t, clientcreds.TokenSource(testkit.Client(t, cfg), scopeB)) // the same value
	e.wantSecrets(t, "daemon-secret")
	cfg.Credential = entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential,
		error) {
		return entra.Secret("guessed"), nil
	})
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeB).Token(); err == nil {
		t.Error("got a token for a credential that Entra rejects")
	}
	e.wantSecrets(t, "daemon-secret", "guessed")
}

// A rejection that another credential fixes is logged, without secrets.
func TestRotationIsLogged(t *testing.T) {
	synctest.Test(t, testRotationIsLogged)
}

func testRotationIsLogged(t *testing.T) {
	e := newEstate()
	cfg := e.config("daemon")
	var log bytes.Buffer
	cfg.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case "time", "error.correlation_id", "error.trace_id", "correlation_id", "trace_id", "took", "life", "retry_in":
				return slog.Attr{}
			}
			return a
		}}))
	gone := errors.New("the file is gone")
	cfg.Credential = entra.CredentialChain(entra.Secret("wrong~secret"),
		entra.CredentialFunc(func(context.Context, entra.Credential) (entra.Credential, error) {
			return entra.Credential{},
				gone
		}),
		entra.Secret("another~secret"))
	if _, err := clientcreds.TokenSource(testkit.Client(t, cfg), scopeB).Token(); err == nil {
		t.Fatal("got a token")
	}
	synctest.Wait() // for the last line
	const about = ` key="https://login.microsoftonline.com/` + entratest.SampleTenant +
		` client=aaaaaaaa-0000-4000-8000-00000000000d flow=client_credentials subject=app" scopes=api://api-b/.default `
	want := `level=WARN msg="entra: a credential failed, trying another"` + about + `error.code=invalid_client error.aadsts=[7000215] error.status=401 error.description="the client secret is invalid"
level=WARN msg="entra: a credential failed, trying another"` + about + `error.code=invalid_client error.description="failed to load the credential: the file is gone"
level=WARN msg="token cache: fetch failed"` + about + `error.code=invalid_client error.aadsts=[7000215] error.status=401 error.description="the client secret is invalid"
`
	if got := log.String(); got != want {
		t.Errorf("logged\n%swant\n%s", got, want)
	}
}
