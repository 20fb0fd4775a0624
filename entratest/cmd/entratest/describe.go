package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"

	"github.com/entratoken/entra/entratest"
)

// description is the JSON object in the first line of the output.
type description struct {
	Authority string              `json:"authority"`
	CAFile    string              `json:"caFile"`
	Tenants   []tenantDescription `json:"tenants"`
	Apps      []appDescription    `json:"apps"`
	Users     []userDescription   `json:"users"`
}

type tenantDescription struct {
	ID     string `json:"id"`
	Domain string `json:"domain"`
}

type appDescription struct {
	Name         string   `json:"name"`
	ClientID     string   `json:"clientId"`
	Secret       string   `json:"secret"`
	TenantID     string   `json:"tenantId"`
	AppIDURI     string   `json:"appIdUri"`
	RedirectURIs []string `json:"redirectUris"`
	Scopes       []string `json:"scopes"`
	Roles        []string `json:"roles"`
}

type userDescription struct {
	Username string `json:"username"`
	Password string `json:"password"`
	TenantID string `json:"tenantId"`
	OID      string `json:"oid"`
}

func describe(cfg entratest.Config, authority, caFile string) description {
	d := description{
		Authority: authority, CAFile: caFile,
		Tenants: []tenantDescription{}, Apps: []appDescription{}, Users: []userDescription{},
	}
	for _, t := range cfg.Tenants {
		d.Tenants = append(d.Tenants, tenantDescription{t.ID, t.Domain})
	}
	for _, a := range cfg.Apps {
		app := appDescription{
			Name: a.Name, ClientID: a.ClientID, TenantID: a.TenantID, AppIDURI: a.AppIDURI,
			RedirectURIs: list(a.RedirectURIs), Scopes: list(a.Scopes), Roles: list(a.Roles),
		}
		if len(a.Secrets) > 0 {
			app.Secret = a.Secrets[0]
		}
		d.Apps = append(d.Apps, app)
	}
	for _, u := range cfg.Users {
		d.Users = append(d.Users, userDescription{u.Username, u.Password, u.TenantID, u.ObjectID})
	}
	return d
}

// printEnv writes the environment variables of an app as shell commands.
// SSL_CERT_FILE replaces the system's CAs, for Go and OpenSSL.
func (d description) printEnv(w io.Writer, app string) error {
	i := slices.IndexFunc(d.Apps, func(a appDescription) bool { return a.Name == app })
	if i < 0 {
		return fmt.Errorf("unknown app %q", app)
	}
	a := d.Apps[i]
	for _, v := range [][2]string{
		{"AZURE_AUTHORITY_HOST", d.Authority}, {"AZURE_TENANT_ID", a.TenantID}, {"AZURE_CLIENT_ID", a.ClientID},
		{"AZURE_CLIENT_SECRET", a.Secret}, {"SSL_CERT_FILE", d.CAFile},
	} {
		if _, err := fmt.Fprintf(w, "export %s='%s'\n", v[0], strings.ReplaceAll(v[1], "'", `'\''`)); err != nil {
			return err
		}
	}
	return nil
}

// list returns l, or an empty list if l is nil, so that JSON has [] and not null.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// logger returns a function that writes one line per request to w.
func logger(w io.Writer, cfg entratest.Config) func(entratest.Request) {
	apps := map[string]string{}
	for _, a := range cfg.Apps {
		apps[a.ClientID] = a.Name
	}
	var mu sync.Mutex // guards w
	return func(r entratest.Request) {
		line := fmt.Sprintf("%s %3d %-4s %s", r.Time.Format("15:04:05.000"), r.Status, r.Method, r.Path)
		if r.GrantType != "" {
			line += " " + r.GrantType
		}
		if name := apps[r.ClientID]; name != "" {
			line += " by " + name
		}
		if r.AADSTS != 0 {
			line += fmt.Sprintf(": %s AADSTS%d", r.Error, r.AADSTS)
		}
		if r.Injected {
			line += " (injected)"
		}
		// A path may have line breaks and control characters.
		line = strings.Map(func(c rune) rune {
			if !unicode.IsPrint(c) {
				return '?'
			}
			return c
		}, line)
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, line)
	}
}
