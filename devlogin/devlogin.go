// Package devlogin acquires tokens with a developer's own login in Azure CLI or Azure Developer CLI. It is for programs
// on a developer's machine. The tokens are those of the developer, with the developer's permissions.
//
//	login, err := devlogin.AzureCLI(devlogin.Config{TenantID: "11111111-1111-1111-1111-111111111111"})
//	vault := login.TokenSource("https://vault.azure.net/.default").HTTPClient()
//	vault.Timeout = 30 * time.Second // a client of net/http has none by itself
//	resp, err := vault.Get("https://contoso.vault.azure.net/secrets/orders?api-version=7.4")
//
// Select a login by an explicit setting, such as a flag. Do not use it as a fallback: a program in production that
// lacks its credential would then act as the person who logged in on the machine.
//
// # Tokens
//
// Only the first call of Token runs az or azd, and all callers share the result. Later calls return the cached token.
// Azure CLI and azd return a new token only in the last five minutes of the old one, so it is refreshed then, in the
// background. Tokens stay in the process, even if Config.Cache has a store. After a login as another user, restart the
// program.
//
// # Failures
//
// Errors are [*entra.Error] values. If az or azd is not installed, the error has the address of the installation guide.
// If there is no login, the login is for another tenant, or Entra requires multifactor authentication or claims, it has
// the command to run. InteractionRequired reports true if there is no login, and for those requirements of Entra.
//
// The command is found in PATH and runs without a shell. Scopes and tenants with unusual characters are rejected. A
// command that does not return is stopped after 20 seconds. Output of more than 1 MiB is an error.
//
// Sources: "az account" in the reference of Azure CLI, "azd auth token" in that of Azure Developer CLI, and
// AzureCLICredential and AzureDeveloperCLICredential of Microsoft's azidentity.
package devlogin

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/issuer"
	"github.com/entratoken/entra/internal/redact"
)

// FlowName is the [entra.Grant.Flow] of this package's tokens.
const FlowName = "developer_login"

// Config configures a login. The zero Config selects the default tenant of the login.
type Config struct {
	// TenantID is the directory (tenant) ID, a GUID, or a verified domain. If empty, az or azd selects the
	// tenant.
	TenantID string
	// Cache caches the tokens, which do not go to its store. If nil, the login uses a private cache.
	Cache *cache.Cache
	// Logger logs the events of the tokens as entra.Config.Logger does. If nil, nothing is logged.
	Logger *slog.Logger
}

// A Login is a developer's login in a program. It must be created with [AzureCLI] or [AzureDeveloperCLI] and is safe
// for concurrent use.
type Login struct {
	program *program
	tenant  string // "" for the default
	client  *entra.Client
	running chan struct{} // a semaphore: the programs do not support concurrent runs
}

// AzureCLI returns the login of "az login". It does not run az. The error is an [*entra.Error] with the code
// "invalid_request".
func AzureCLI(cfg Config) (*Login, error) { return newLogin(&azureCLI, cfg) }

// AzureDeveloperCLI returns the login of "azd auth login". It does not run azd. The error is an [*entra.Error] with the
// code "invalid_request".
func AzureDeveloperCLI(cfg Config) (*Login, error) { return newLogin(&azureDeveloperCLI, cfg) }

// A program prints tokens of a developer's login.
type program struct {
	name, command, install string
	args                   func(scope, tenant, claims string) []string
	parse                  func([]byte) (printed, error)
	login                  func(scope, tenant, claims string) string // the command that the developer must run
	claims                 bool                                      // args pass claims
}

// printed is a token that a program has printed.
type printed struct {
	token, tenant string // tenant is "" if it is unknown
	expiry        time.Time
}

var azureCLI = program{
	name: "Azure CLI", command: "az", install: "https://aka.ms/install-azure-cli",
	args: func(scope, tenant, _ string) []string {
		return optional([]string{"account", "get-access-token", "--output", "json", "--scope", scope}, "--tenant", tenant)
	},
	parse: parseAzureCLI,
	login: func(scope, tenant, claims string) string {
		args := optional([]string{"az", "login"}, "--tenant", tenant)
		if claims != "" {
			return strings.Join(append(args, "--claims-challenge", claims), " ")
		}
		return strings.Join(append(args, "--scope", scope), " ")
	},
}

var azureDeveloperCLI = program{
	name: "Azure Developer CLI", command: "azd", install: "https://aka.ms/azd-install", claims: true,
	args: func(scope, tenant, claims string) []string {
		args := []string{"auth", "token", "--output", "json", "--no-prompt", "--scope", scope}
		return optional(optional(args, "--tenant-id", tenant), "--claims", claims)
	},
	parse: parseAzureDeveloperCLI,
	login: func(_, tenant, _ string) string {
		return strings.Join(optional([]string{"azd", "auth", "login"}, "--tenant-id", tenant), " ")
	},
}

func optional(args []string, flag, value string) []string {
	if value == "" {
		return args
	}
	return append(args, flag, value)
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]{0,62}(\.[A-Za-z0-9][A-Za-z0-9-]{0,62})+$`)

func newLogin(p *program, cfg Config) (*Login, error) {
	if cfg.TenantID != "" && !guid.Valid(cfg.TenantID) && !domainName.MatchString(cfg.TenantID) {
		return nil, failure("invalid_request", "Config.TenantID is neither a GUID nor a domain")
	}
	if cfg.Cache == nil {
		cfg.Cache = cache.New(cache.Options{})
	}
	if err := cfg.Cache.Validate(); err != nil {
		return nil, failure("invalid_request", "Config.Cache is invalid: %v", err)
	}
	return &Login{
		program: p, tenant: cfg.TenantID, running: make(chan struct{}, 1),
		client: entra.ForIssuer(issuer.Issuer{
			Name: p.name, Identity: "tenant=" + strings.ToLower(cfg.TenantID), Cache: cfg.Cache, Logger: cfg.Logger,
			RetryIn: func(error, int, float64) (time.Duration, bool) { return 0, false }, // the programs retry
			Rejects: func(error) bool { return false },
		}),
	}, nil
}

func failure(code, format string, args ...any) *entra.Error {
	return &entra.Error{Code: code, Description: fmt.Sprintf(format, args...)}
}

// Format prints the program and the tenant for every verb.
func (l *Login) Format(f fmt.State, _ rune) {
	if l == nil || l.program == nil {
		fmt.Fprint(f, "devlogin.Login{}")
		return
	}
	fmt.Fprintf(f, "devlogin.Login{%s tenant=%s}", l.program.name, cmp.Or(l.tenant, "default"))
}

// validScope matches a scope, which becomes an argument of a program.
var validScope = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]{0,499}$`)

// The programs return a new token only in the last five minutes of the old one.
const refreshBefore = 4 * time.Minute

// TokenSource returns a source of tokens for one API. scope is the API's default scope, such as
// "https://vault.azure.net/.default", or one permission. With a scope that has unusual characters, the source's methods
// return an error with the code "invalid_scope".
func (l *Login) TokenSource(scope string) *entra.TokenSource {
	return l.client.TokenSource(entra.Grant{
		Flow:  FlowName,
		Scope: scope,
		Fetch: func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
			if !validScope.MatchString(scope) {
				return nil, failure("invalid_scope", "%q is not a scope of an API", redact.Text(scope, 100))
			}
			var claims string
			if r.Claims() != "" {
				claims = base64.StdEncoding.EncodeToString([]byte(r.Claims()))
			}
			t, err := l.token(ctx, scope, claims)
			if err != nil {
				return nil, err
			}
			response := &entra.TokenResponse{AccessToken: t.token, ExpiresIn: time.Until(t.expiry)}
			if response.ExpiresIn > 2*refreshBefore {
				response.RefreshIn = response.ExpiresIn - refreshBefore
			}
			return response, nil
		},
	})
}

// token runs the program.
func (l *Login) token(ctx context.Context, scope, claims string) (printed, error) {
	p := l.program
	if claims != "" && !p.claims {
		return printed{}, failure("interaction_required", "the API requires claims, such as those of multifactor "+
			"authentication; run: %s", p.login(scope, l.tenant, claims))
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	select {
	case l.running <- struct{}{}:
		defer func() { <-l.running }()
	case <-ctx.Done():
		return printed{}, p.timedOut(ctx)
	}
	stdout, stderr, err := run(ctx, p.command, p.args(scope, l.tenant, claims)...)
	switch {
	case errors.Is(err, exec.ErrNotFound) || errors.Is(err, exec.ErrDot):
		return printed{}, failure("invalid_client", "%s is not installed, or %s is not in PATH; install it: %s", p.name,
			p.command, p.install)
	case ctx.Err() != nil:
		return printed{}, p.timedOut(ctx)
	case errors.Is(err, errTooLong):
		return printed{}, failure(entra.CodeInvalidResponse, "%s printed more than %d bytes", p.name, maxOutput)
	case err != nil:
		return printed{}, l.failed(scope, claims, stderr, err)
	}
	t, err := p.parse(stdout)
	switch {
	case err != nil || t.token == "":
		return printed{}, failure(entra.CodeInvalidResponse, "%s did not print a token; update it: %s", p.name, p.install)
	case guid.Valid(l.tenant) && t.tenant != "" && !strings.EqualFold(t.tenant, l.tenant):
		return printed{}, failure(entra.CodeInvalidResponse, "%s printed a token of another tenant, %s; run: %s", p.name,
			redact.Text(t.tenant, 100), p.login(scope, l.tenant, ""))
	}
	return t, nil
}

func (p *program) timedOut(ctx context.Context) *entra.Error {
	e := failure(entra.CodeRequestFailed, "%s did not return in time", p.name)
	e.Err = ctx.Err()
	return e
}

var errorNumber = regexp.MustCompile(`AADSTS([0-9]{4,8})\b`)

// failed returns the error for a program that exited with an error.
func (l *Login) failed(scope, claims, stderr string, err error) *entra.Error {
	p := l.program
	text := redact.Text(messageOf(stderr), 300)
	if text == "" {
		text = redact.Text(err.Error(), 100) // its exit status
	}
	e := failure("invalid_client", "%s failed: %s", p.name, text)
	for _, m := range errorNumber.FindAllStringSubmatch(text, 4) {
		n, _ := strconv.Atoi(m[1]) // the pattern has at most 8 digits
		e.AADSTS = append(e.AADSTS, n)
	}
	login := p.login(scope, l.tenant, claims)
	lower := strings.ToLower(stderr)
	switch {
	case strings.Contains(lower, "unknown flag: --claims"):
		e.Description = fmt.Sprintf("the API requires claims, which this version of %s does not support; update it to "+
			"1.18.1 or later: %s", p.name, p.install)
	case len(e.AADSTS) > 0 && isTenantError(e):
		e.Description += fmt.Sprintf("; the login does not belong to the tenant %s; run: %s",
			cmp.Or(l.tenant, "of the login"), login)
	case claims != "" || len(e.AADSTS) > 0:
		e.Code = "interaction_required"
		e.Description += "; run: " + login
	case strings.Contains(lower, "az login") || strings.Contains(lower, "azd auth login") ||
		strings.Contains(lower, "not logged in"):
		e.Code = "login_required"
		e.Description = fmt.Sprintf("there is no login in %s; run: %s", p.name, login)
	}
	return e
}

// isTenantError reports whether e says that the tenant does not exist, or that the user is not a member of it.
func isTenantError(e *entra.Error) bool {
	return e.Has(90002) || e.Has(50020) || e.Has(500207) || e.Has(700016)
}

// messageOf returns the message in the standard error of a program. azd prints JSON.
func messageOf(stderr string) string {
	for line := range strings.Lines(stderr) {
		var m struct {
			Error string
			Data  struct{ Message string }
		}
		if json.Unmarshal([]byte(line), &m) == nil {
			if text := cmp.Or(m.Error, m.Data.Message); strings.TrimSpace(text) != "" {
				return text
			}
		}
	}
	return stderr
}

// parseAzureCLI parses the output of az. Versions before 2.54 print the local time alone.
func parseAzureCLI(b []byte) (t printed, err error) {
	var r struct {
		AccessToken, Tenant string
		Unix                int64  `json:"expires_on"`
		Local               string `json:"expiresOn"`
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return t, err
	}
	t = printed{token: r.AccessToken, tenant: r.Tenant, expiry: time.Unix(r.Unix, 0)}
	if r.Unix == 0 {
		t.expiry, err = time.ParseInLocation("2006-01-02 15:04:05.999999", r.Local, time.Local)
	}
	return t, err
}

// parseAzureDeveloperCLI parses the output of azd.
func parseAzureDeveloperCLI(b []byte) (t printed, err error) {
	var r struct{ Token, ExpiresOn string }
	if err := json.Unmarshal(b, &r); err != nil {
		return t, err
	}
	t.token = r.Token
	t.expiry, err = time.Parse(time.RFC3339, r.ExpiresOn)
	return t, err
}
