package credentials_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

const scope = "api://api-b/.default"

// fakeEntra is entratest with the sample configuration. It records token requests.
type fakeEntra struct {
	*entratest.Server
	*testkit.Recorder
}

func newFakeEntra() *fakeEntra {
	s := testkit.Server()
	return &fakeEntra{s, testkit.NewRecorder(s.Client().Transport)}
}

// sent returns a parameter of all token requests.
func (e *fakeEntra) sent(parameter string) (list []string) {
	for _, form := range e.Forms() {
		list = append(list, form.Get(parameter))
	}
	return list
}

// use requests a token with a credential. Nothing is cached, so this is one request to
// Entra. It may be called concurrently.
func (e *fakeEntra) use(c entra.Credential) error {
	client, err := e.client(c)
	if err != nil {
		return err
	}
	_, err = clientcreds.TokenSource(client, scope).Token()
	return err
}

// client returns a client of the app with a private cache.
func (e *fakeEntra) client(c entra.Credential) (*entra.Client, error) {
	return entra.New(entra.Config{
		TenantID: entratest.SampleTenant, ClientID: e.App("daemon").ClientID, Credential: c,
		HTTPClient: &http.Client{Transport: e},
	})
}

func (e *fakeEntra) mustUse(t testing.TB, c entra.Credential) {
	t.Helper()
	if err := e.use(c); err != nil {
		t.Fatal(err)
	}
}

// header decodes the header of a JWT.
func header(t testing.TB, token string) (h struct {
	Alg  string   `json:"alg"`
	X5T  string   `json:"x5t"`
	S256 string   `json:"x5t#S256"`
	X5C  [][]byte `json:"x5c"`
}) {
	t.Helper()
	testkit.DecodeJWT(t, token, 0, &h)
	return h
}

// replace replaces a file atomically.
func replace(t testing.TB, path, content string) {
	t.Helper()
	testkit.WriteFile(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wantInvalid checks that err is the error of an invalid credential with the text want, in
// which DIR stands for dir.
func wantInvalid(t testing.TB, err error, dir, want string) {
	t.Helper()
	var e *entra.Error
	if !errors.As(err, &e) || e.Code != "invalid_client" || e.StatusCode != 0 {
		t.Fatalf("got %#v, want an *entra.Error with the code invalid_client: %s", err, want)
	}
	if want = strings.ReplaceAll(want, "DIR", dir); e.Description != want {
		t.Errorf("got  %s\nwant %s", e.Description, want)
	}
}

// secrets sets the valid secrets of the app.
func (e *fakeEntra) secrets(good ...string) {
	e.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = good, nil })
}
