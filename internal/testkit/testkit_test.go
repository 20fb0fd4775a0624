package testkit_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/testkit"
)

func TestRecorder(t *testing.T) {
	r := testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
		body := "{}"
		if req.Body != nil {
			b, _ := io.ReadAll(req.Body)
			body = fmt.Sprintf(`{"form":%q}`, b)
		}
		return testkit.Response(req, http.StatusOK, "application/json", body, "A", "b"), nil
	}))
	client := &http.Client{Transport: r}
	send := func(method, form string) string {
		t.Helper()
		req, _ := http.NewRequest(method, "https://host.example/path", nil)
		if form != "" {
			req, _ = http.NewRequest(method, "https://host.example/path", strings.NewReader(form))
		}
		resp, err := client.Do(req)
		if err != nil {
			return err.Error()
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.Header.Get("A") + string(b)
	}
	for _, test := range []struct{ method, form, want string }{
		{"GET", "", "b{}"},
		{"POST", "a=1", `b{"form":"a=1"}`},
	} {
		if got := send(test.method, test.form); got != test.want {
			t.Errorf("%s: got %s, want %s", test.method, got, test.want)
		}
	}
	r.ChangeResponses(func(form url.Values, response map[string]any) { response["form"] = form.Get("a") })
	if got, want := send("POST", "a=2"), `b{"form":"2"}`; got != want {
		t.Errorf("changed: got %s, want %s", got, want)
	}
	if got, want := send("GET", ""), "b{}"; got != want {
		t.Errorf("GET with changed responses: got %s, want %s", got, want)
	}
	r.ChangeResponses(nil)
	r.Intercept(func(_ *http.Request, form url.Values) (*http.Response, error) {
		if form.Get("a") == "3" {
			return nil, errors.New("intercepted")
		}
		return nil, nil
	})
	if got := send("POST", "a=3"); !strings.Contains(got, "intercepted") {
		t.Errorf("got %s, want the error of the function", got)
	}
	if got, want := send("POST", "a=4"), `b{"form":"a=4"}`; got != want {
		t.Errorf("not intercepted: got %s, want %s", got, want)
	}
	var sent []string
	for _, req := range r.Sent() {
		sent = append(sent, req.Method+" "+req.URL+" "+req.Form.Encode())
	}
	const post = "POST https://host.example/path a="
	want := []string{"GET https://host.example/path ", post + "1", post + "2", "GET https://host.example/path ",
		post + "3", post + "4"}
	if !slices.Equal(sent, want) {
		t.Errorf("got %q, want %q", sent, want)
	}
	if got := r.Forms(); len(got) != 4 || got[3].Get("a") != "4" {
		t.Errorf("got the forms %v", got)
	}
}

// failures counts the errors that a helper reports.
type failures struct {
	testing.TB
	n int
}

func (f *failures) Helper()               {}
func (f *failures) Errorf(string, ...any) { f.n++ }

func TestNoSecrets(t *testing.T) {
	for name, test := range map[string]struct {
		v    any
		fail bool
	}{
		"text":    {"a s3cret", true},
		"bytes":   {[]byte("s3cret"), true},
		"field":   {struct{ a string }{"s3cret"}, true},
		"wrapped": {&entra.Error{Code: "x", Err: errors.New("s3cret")}, true},
		"hidden":  {struct{ A redact.Secret[string] }{redact.NewSecret("s3cret")}, false},
		"other":   {&entra.Error{Code: "x", Err: errors.New("public")}, false},
	} {
		f := &failures{TB: t}
		testkit.NoSecrets(f, test.v, "s3cret")
		if f.n > 0 != test.fail {
			t.Errorf("%s: got %d failures, want some: %v", name, f.n, test.fail)
		}
	}
}

func TestLog(t *testing.T) {
	var log testkit.Log
	log.Logger().Debug("first", "n", 1)
	if lines := log.Lines(t); len(lines) != 1 || lines[0]["msg"] != "first" || lines[0]["n"] != 1.0 {
		t.Errorf("got %v", lines)
	}
	if got := log.Take(); !strings.Contains(got, "first") || log.String() != "" {
		t.Errorf("got %q and then %q, want the line and then nothing", got, log.String())
	}
}
