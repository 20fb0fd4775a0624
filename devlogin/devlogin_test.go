package devlogin_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/cache/storetest"
	"github.com/entratoken/entra/devlogin"
	"github.com/entratoken/entra/internal/testkit"
)

const (
	scope  = "https://vault.azure.net/.default"
	tenant = "11111111-1111-1111-1111-111111111111"
)

// A fake is a program in PATH that logs its arguments and prints files.
type fake struct{ dir string }

// install puts a fake program in PATH.
func install(t *testing.T, command string) *fake {
	t.Helper()
	f := &fake{t.TempDir()}
	script := `#!/bin/sh
dir=$(dirname "$0")
for a in "$@"; do printf '%s\n' "$a" >> "$dir/args"; done
echo -- >> "$dir/args"
cat "$dir/stderr" >&2
cat "$dir/stdout"
exit $(cat "$dir/status")
`
	if err := os.WriteFile(filepath.Join(f.dir, command), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	f.prints(t, "", "", 0)
	t.Setenv("PATH", f.dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	return f
}

// prints sets the output and the exit status of the program.
func (f *fake) prints(t *testing.T, stdout, stderr string, status int) {
	t.Helper()
	for name, text := range map[string]string{"stdout": stdout, "stderr": stderr, "status": fmt.Sprint(status)} {
		testkit.WriteFile(t, filepath.Join(f.dir, name), text)
	}
}

// runs returns the arguments of each run so far, joined by spaces.
func (f *fake) runs(t *testing.T) (list []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "args"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for run := range strings.SplitSeq(strings.TrimSuffix(string(b), "--\n"), "--\n") {
		if run != "" {
			list = append(list, strings.Join(strings.Fields(run), " "))
		}
	}
	return list
}

func azOutput(token, tenant string, lifetime time.Duration) string {
	return fmt.Sprintf(`{"accessToken": %q, "expiresOn": "2000-01-01 00:00:00.000000", "expires_on": %d, "tenant": %q,
		"subscription": "s", "tokenType": "Bearer"}`, token, time.Now().Add(lifetime).Unix(), tenant)
}

type constructor = func(devlogin.Config) (*devlogin.Login, error)

func newLogin(t *testing.T, create constructor, cfg devlogin.Config) *devlogin.Login {
	t.Helper()
	l, err := create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, s *entra.TokenSource) string {
	t.Helper()
	token, err := s.AccessToken(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// The programs get the documented arguments, and their output is parsed in each of its forms.
func TestRuns(t *testing.T) {
	local := time.Now().Add(time.Hour).Format("2006-01-02 15:04:05.000000")
	for _, tt := range []struct {
		name, command, stdout, tenant, args string
		create                              constructor
	}{
		{"az", "az", azOutput("token-1", tenant, time.Hour), tenant,
			"account get-access-token --output json --scope " + scope + " --tenant " + tenant, devlogin.AzureCLI},
		{"az without tenant", "az", azOutput("token-1", tenant, time.Hour), "",
			"account get-access-token --output json --scope " + scope, devlogin.AzureCLI},
		{"az before 2.54", "az", `{"accessToken": "token-1", "expiresOn": "` + local + `"}`, "contoso.onmicrosoft.com",
			"account get-access-token --output json --scope " + scope + " --tenant contoso.onmicrosoft.com", devlogin.AzureCLI},
		{"azd", "azd", `{"token": "token-1", "expiresOn": "` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `"}`,
			tenant, "auth token --output json --no-prompt --scope " + scope + " --tenant-id " + tenant,
			devlogin.AzureDeveloperCLI},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := install(t, tt.command)
			f.prints(t, tt.stdout, "WARNING: a warning", 0)
			s := newLogin(t, tt.create, devlogin.Config{TenantID: tt.tenant}).TokenSource(scope)
			if n := len(f.runs(t)); n != 0 {
				t.Errorf("got %d runs before the first token, want 0", n)
			}
			for range 2 {
				if got := get(t, s); got != "token-1" {
					t.Errorf("got %s, want token-1", got)
				}
			}
			if got := f.runs(t); !slices.Equal(got, []string{tt.args}) {
				t.Errorf("got  %q\nwant %q", got, tt.args)
			}
			info, _ := s.Cached()
			if left := time.Until(info.ExpiresAt); left < 58*time.Minute || left > time.Hour {
				t.Errorf("got a token for %v, want an hour", left)
			}
			testkit.NoSecrets(t, s, "token-1")
		})
	}
}

// However many callers start, az runs once. Near the expiry of the token, it runs again in the background. The token
// does not go to the store.
func TestCallersShareOneRun(t *testing.T) {
	f := install(t, "az")
	synctest.Test(t, func(t *testing.T) {
		f.prints(t, azOutput("token-1", tenant, time.Hour), "", 0)
		store := cache.New(cache.Options{
			Store: storetest.NewMemory(), Keys: []cache.SealKey{cache.NewSealKey([]byte("0123456789abcdef0123456789abcdef"))},
		})
		login := newLogin(t, devlogin.AzureCLI, devlogin.Config{Cache: store})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { get(t, login.TokenSource(scope)) })
		}
		wg.Wait()
		if n := len(f.runs(t)); n != 1 {
			t.Errorf("got %d runs, want 1", n)
		}
		f.prints(t, azOutput("token-2", tenant, 2*time.Hour), "", 0)
		time.Sleep(56*time.Minute - time.Second)
		if got := get(t, login.TokenSource(scope)); got != "token-1" || len(f.runs(t)) != 1 {
			t.Errorf("got %s after %d runs, want token-1 after 1", got, len(f.runs(t)))
		}
		time.Sleep(2 * time.Second)
		if got := get(t, login.TokenSource(scope)); got != "token-1" {
			t.Errorf("got %s, want token-1 at once", got)
		}
		synctest.Wait()
		if got := get(t, login.TokenSource(scope)); got != "token-2" || len(f.runs(t)) != 2 {
			t.Errorf("got %s after %d runs, want token-2 after 2", got, len(f.runs(t)))
		}
		if s := store.Stats(); s.StoreSaves != 0 || s.StoreLoads != 0 {
			t.Errorf("got %d saves and %d loads, want none", s.StoreSaves, s.StoreLoads)
		}
	})
}

// Each failure names the command that fixes it.
func TestFailures(t *testing.T) {
	const azLogin = "az login --tenant " + tenant + " --scope " + scope
	const azdLogin = "azd auth login --tenant-id " + tenant
	for _, tt := range []struct {
		name, command          string
		stdout, stderr         string
		status                 int
		code, want             string
		aadsts                 []int
		interaction, temporary bool
	}{
		{"no login", "az", "", "ERROR: Please run 'az login' to setup account.\n", 1, "login_required",
			"there is no login in Azure CLI; run: " + azLogin, nil, true, false},
		{"no login in azd", "azd", "", `{"type":"consoleMessage","data":{"message":"\nERROR: not logged in, run ` +
			"`azd auth login`" + ` to login\n"}}`, 1, "login_required",
			"there is no login in Azure Developer CLI; run: " + azdLogin, nil, true, false},
		{"multifactor authentication", "az", "", "ERROR: AADSTS50076: Due to a configuration change\nTrace ID: 1", 1,
			"interaction_required", "Azure CLI failed: ERROR: AADSTS50076: Due to a configuration change Trace ID: 1; run: " +
				azLogin, []int{50076}, true, false},
		{"expired login of azd", "azd", "", `{"error":"AADSTS700082: expired","message":"m"}`, 1, "interaction_required",
			"Azure Developer CLI failed: AADSTS700082: expired; run: " + azdLogin, []int{700082}, true, false},
		{"other tenant", "az", "", "ERROR: AADSTS90002: Tenant not found.", 1, "invalid_client",
			"Azure CLI failed: ERROR: AADSTS90002: Tenant not found.; the login does not belong to the tenant " + tenant +
				"; run: " + azLogin, []int{90002}, false, false},
		{"token of another tenant", "az", azOutput("s3cr3t", "22222222-2222-2222-2222-222222222222", time.Hour), "", 0,
			"invalid_response", "Azure CLI printed a token of another tenant, 22222222-2222-2222-2222-222222222222; run: " +
				azLogin, nil, false, false},
		{"no message", "az", "", "", 3, "invalid_client", "Azure CLI failed: exit status 3", nil, false, false},
		{"token in a message", "az", "", "ERROR: eyJhbGciOiJub25lIn0.s3cr3t", 1, "invalid_client",
			"Azure CLI failed: ERROR: [redacted]", nil, false, false},
		{"no JSON", "az", "s3cr3t", "", 0, "invalid_response",
			"Azure CLI did not print a token; update it: https://aka.ms/install-azure-cli", nil, false, false},
		{"no token", "azd", "{}", "", 0, "invalid_response",
			"Azure Developer CLI did not print a token; update it: https://aka.ms/azd-install", nil, false, false},
		{"expired", "az", azOutput("s3cr3t", tenant, -time.Hour), "", 0, "invalid_response",
			"the token in the response has already expired; check the clock of this machine", nil, false, false},
		{"too long", "az", strings.Repeat("a", 1<<20+1), "", 1, "invalid_response",
			"Azure CLI printed more than 1048576 bytes", nil, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := install(t, tt.command)
			f.prints(t, tt.stdout, tt.stderr, tt.status)
			create := devlogin.AzureCLI
			if tt.command == "azd" {
				create = devlogin.AzureDeveloperCLI
			}
			_, err := newLogin(t, create, devlogin.Config{TenantID: tenant}).TokenSource(scope).TokenContext(t.Context())
			e := testkit.Error(t, err)
			if e.Code != tt.code || e.Description != tt.want || !slices.Equal(e.AADSTS, tt.aadsts) ||
				e.InteractionRequired() != tt.interaction || e.Temporary() != tt.temporary {
				t.Errorf("got  %s: %s %v\nwant %s: %s %v", e.Code, e.Description, e.AADSTS, tt.code, tt.want, tt.aadsts)
			}
			testkit.NoSecrets(t, err, "s3cr3t")
			if n := len(f.runs(t)); n != 1 {
				t.Errorf("got %d runs, want 1", n)
			}
		})
	}
}

// A program that is not installed, or not in PATH, is named.
func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for want, create := range map[string]constructor{
		"Azure CLI is not installed, or az is not in PATH; install it: https://aka.ms/install-azure-cli":      devlogin.AzureCLI,
		"Azure Developer CLI is not installed, or azd is not in PATH; install it: https://aka.ms/azd-install": devlogin.AzureDeveloperCLI,
	} {
		_, err := newLogin(t, create, devlogin.Config{}).TokenSource(scope).TokenContext(t.Context())
		if e := testkit.Error(t, err); e.Code != "invalid_client" || e.Description != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// Claims challenges reach azd. Azure CLI needs a new login with them.
func TestClaims(t *testing.T) {
	const claims = `{"access_token":{"acrs":{"essential":true,"value":"c1"}}}`
	encoded := base64.StdEncoding.EncodeToString([]byte(claims))
	az, azd := install(t, "az"), install(t, "azd")
	source := newLogin(t, devlogin.AzureCLI, devlogin.Config{}).TokenSource(scope)
	_, err := source.WithClaims(claims).TokenContext(t.Context())
	e := testkit.Error(t, err)
	want := "the API requires claims, such as those of multifactor authentication; run: az login --claims-challenge " + encoded
	if e.Code != "interaction_required" || e.Description != want || len(az.runs(t)) != 0 {
		t.Errorf("got  %v\nwant %s", e, want)
	}

	source = newLogin(t, devlogin.AzureDeveloperCLI, devlogin.Config{}).TokenSource(scope).WithClaims(claims)
	azd.prints(t, "", "ERROR: unknown flag: --claims", 1)
	_, err = source.TokenContext(t.Context())
	want = "the API requires claims, which this version of Azure Developer CLI does not support; update it to 1.18.1 or " +
		"later: https://aka.ms/azd-install"
	if e = testkit.Error(t, err); e.Description != want {
		t.Errorf("got  %v\nwant %s", e, want)
	}
	if got := azd.runs(t); len(got) != 1 || !strings.HasSuffix(got[0], " --scope "+scope+" --claims "+encoded) {
		t.Errorf("got %q", got)
	}
}

// Scopes and tenants with characters that a shell or a program might interpret are errors. No program runs.
func TestUnusualArgumentsAreRejected(t *testing.T) {
	f := install(t, "az")
	for _, s := range []string{"--debug", "a;b", "a b", "$(b)", "a|b", "a&b", "a\nb", "%PATH%", `a"b`, ""} {
		_, err := newLogin(t, devlogin.AzureCLI, devlogin.Config{}).TokenSource(s).TokenContext(t.Context())
		if e := testkit.Error(t, err); e.Code != "invalid_scope" {
			t.Errorf("%q: got %v, want invalid_scope", s, err)
		}
	}
	for _, id := range []string{"--debug", "a;b", "a", "common", "a b.example", "$(b).example", "-a.example"} {
		_, err := devlogin.AzureCLI(devlogin.Config{TenantID: id})
		if e := testkit.Error(t, err); e.Code != "invalid_request" ||
			e.Description != "Config.TenantID is neither a GUID nor a domain" {
			t.Errorf("%q: got %v, want invalid_request", id, err)
		}
	}
	if n := len(f.runs(t)); n != 0 {
		t.Errorf("got %d runs, want 0", n)
	}
}

// Logins in two tenants, and in two programs, that share a cache do not share tokens.
func TestLoginsShareNoTokens(t *testing.T) {
	az, azd := install(t, "az"), install(t, "azd")
	c := cache.New(cache.Options{})
	az.prints(t, azOutput("of-az", "", time.Hour), "", 0)
	azd.prints(t, `{"token": "of-azd", "expiresOn": "`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`, "", 0)
	for range 2 {
		for _, id := range []string{"", tenant, "contoso.onmicrosoft.com"} {
			if got := get(t, newLogin(t, devlogin.AzureCLI, devlogin.Config{TenantID: id, Cache: c}).
				TokenSource(scope)); got != "of-az" {
				t.Errorf("got %s, want that of az", got)
			}
			if got := get(t, newLogin(t, devlogin.AzureDeveloperCLI, devlogin.Config{TenantID: id, Cache: c}).
				TokenSource(scope)); got != "of-azd" {
				t.Errorf("got %s, want that of azd", got)
			}
		}
	}
	if n, m := len(az.runs(t)), len(azd.runs(t)); n != 3 || m != 3 {
		t.Errorf("got %d runs of az and %d of azd, want 3 each", n, m)
	}
}
