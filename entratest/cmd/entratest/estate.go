package main

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/entratoken/entra/entratest"
)

// estateFile is the JSON of an estate. Its fields are those of
// [entratest.Config], keys and certificates in PEM, durations as in "75m".
type estateFile struct {
	Host      string       `json:"host"`
	Lifetime  string       `json:"lifetime"`  // of every access token; "": 60 to 90 minutes
	RefreshIn string       `json:"refreshIn"` // of every answer; "": none
	Tenants   []tenantFile `json:"tenants"`
	Apps      []appFile    `json:"apps"`
	Users     []userFile   `json:"users"`
}

type tenantFile struct {
	ID     string `json:"id"`
	Domain string `json:"domain"`
	Name   string `json:"name"`
}

type appFile struct {
	Name              string           `json:"name"`
	ClientID          string           `json:"clientId"`
	TenantID          string           `json:"tenantId"`
	ObjectID          string           `json:"objectId"`
	MultiTenant       bool             `json:"multiTenant"`
	Public            bool             `json:"public"`
	Secrets           []string         `json:"secrets"`
	ExpiredSecrets    []string         `json:"expiredSecrets"`
	Certificates      []string         `json:"certificates"`
	TrustedSubjects   []subjectFile    `json:"trustedSubjects"`
	Federated         []federatedFile  `json:"federated"`
	AppIDURI          string           `json:"appIdUri"`
	Scopes            []string         `json:"scopes"`
	AdminScopes       []string         `json:"adminScopes"`
	Roles             []string         `json:"roles"`
	RedirectURIs      []string         `json:"redirectUris"`
	LogoutURL         string           `json:"logoutUrl"`
	TokenVersion      int              `json:"tokenVersion"`
	Permissions       []permissionFile `json:"permissions"`
	Required          []permissionFile `json:"required"`
	KnownClients      []string         `json:"knownClients"`
	RequireMFA        bool             `json:"requireMfa"`
	RequireAssignment bool             `json:"requireAssignment"`
	ContinuousAccess  bool             `json:"continuousAccess"`
	OmitIDType        bool             `json:"omitIdType"`
	OptionalClaims    []string         `json:"optionalClaims"`
	GroupClaims       bool             `json:"groupClaims"`
	IDTokenGrant      bool             `json:"idTokenGrant"`
}

type subjectFile struct {
	Subject string `json:"subject"`
	Roots   string `json:"roots"`
}

type federatedFile struct {
	Issuer   string `json:"issuer"`
	Subject  string `json:"subject"`
	Audience string `json:"audience"`
	Key      string `json:"key"`
}

type permissionFile struct {
	Resource string   `json:"resource"`
	Scopes   []string `json:"scopes"`
	Roles    []string `json:"roles"`
}

type userFile struct {
	Username string              `json:"username"`
	Password string              `json:"password"`
	TenantID string              `json:"tenantId"`
	ObjectID string              `json:"objectId"`
	Name     string              `json:"name"`
	Email    string              `json:"email"`
	Roles    map[string][]string `json:"roles"`
	Groups   []string            `json:"groups"`
	Guest    map[string]string   `json:"guest"`
	MFA      bool                `json:"mfa"`
	Admin    bool                `json:"admin"`
	Disabled bool                `json:"disabled"`
}

// readEstate reads an estate. A field that is none of the above is an error: it
// is a typo more often than not.
func readEstate(path string) (entratest.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return entratest.Config{}, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var e estateFile
	if err := d.Decode(&e); err != nil {
		return entratest.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	cfg, err := e.config()
	if err != nil {
		return entratest.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func (e *estateFile) config() (entratest.Config, error) {
	cfg := entratest.Config{Host: e.Host}
	if e.Lifetime != "" {
		life, err := time.ParseDuration(e.Lifetime)
		if err != nil {
			return cfg, fmt.Errorf("lifetime: %w", err)
		}
		cfg.Lifetime = func() time.Duration { return life }
	}
	if e.RefreshIn != "" {
		in, err := time.ParseDuration(e.RefreshIn)
		if err != nil {
			return cfg, fmt.Errorf("refreshIn: %w", err)
		}
		cfg.RefreshIn = func(time.Duration) time.Duration { return in }
	}
	for _, t := range e.Tenants {
		cfg.Tenants = append(cfg.Tenants, entratest.Tenant(t))
	}
	for _, u := range e.Users {
		cfg.Users = append(cfg.Users, entratest.User(u))
	}
	for _, a := range e.Apps {
		app, err := a.app()
		if err != nil {
			return cfg, fmt.Errorf("app %q: %w", a.Name, err)
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	return cfg, nil
}

func (a *appFile) app() (entratest.App, error) {
	app := entratest.App{
		Name: a.Name, ClientID: a.ClientID, TenantID: a.TenantID, ObjectID: a.ObjectID, MultiTenant: a.MultiTenant,
		Public: a.Public, Secrets: a.Secrets, ExpiredSecrets: a.ExpiredSecrets, AppIDURI: a.AppIDURI,
		Scopes: a.Scopes, AdminScopes: a.AdminScopes, Roles: a.Roles, RedirectURIs: a.RedirectURIs, LogoutURL: a.LogoutURL,
		TokenVersion: a.TokenVersion, KnownClients: a.KnownClients, RequireMFA: a.RequireMFA,
		RequireAssignment: a.RequireAssignment, ContinuousAccess: a.ContinuousAccess, OmitIDType: a.OmitIDType,
		OptionalClaims: a.OptionalClaims, GroupClaims: a.GroupClaims, IDTokenGrant: a.IDTokenGrant,
	}
	for _, p := range a.Permissions {
		app.Permissions = append(app.Permissions, entratest.Permission(p))
	}
	for _, p := range a.Required {
		app.Required = append(app.Required, entratest.Permission(p))
	}
	for _, text := range a.Certificates {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return app, errors.New("a certificate is no PEM")
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return app, err
		}
		app.Certificates = append(app.Certificates, c)
	}
	for _, t := range a.TrustedSubjects {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(t.Roots)) {
			return app, fmt.Errorf("the roots of %q are no PEM", t.Subject)
		}
		app.TrustedSubjects = append(app.TrustedSubjects, entratest.TrustedSubject{Subject: t.Subject, Roots: roots})
	}
	for _, f := range a.Federated {
		block, _ := pem.Decode([]byte(f.Key))
		if block == nil {
			return app, fmt.Errorf("the key of %q is no PEM", f.Issuer)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return app, err
		}
		app.Federated = append(app.Federated, entratest.FederatedCredential{Issuer: f.Issuer, Subject: f.Subject, Audience: f.Audience, Key: key})
	}
	return app, nil
}
