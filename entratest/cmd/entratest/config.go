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

// configFile is the JSON form of an [entratest.Config]. Durations are strings
// such as "75m". encoding/json matches names without regard to case, so that
// clientId is ClientID.
type configFile struct {
	Host      string
	Lifetime  string // lifetime of every access token
	RefreshIn string // refresh_in of every token response
	Tenants   []entratest.Tenant
	Apps      []appFile
	Users     []entratest.User
}

// appFile replaces the fields of App that JSON cannot represent. Certificates and
// keys are in PEM.
type appFile struct {
	entratest.App
	Certificates    []string
	TrustedSubjects []struct{ Subject, Roots string }
	Federated       []struct{ Issuer, Subject, Audience, Key string }
}

// readConfig reads a configuration file. An unknown field is an error, because it
// is probably misspelled.
func readConfig(path string) (entratest.Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return entratest.Config{}, err
	}
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	var file configFile
	if err := d.Decode(&file); err != nil {
		return entratest.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	cfg, err := file.config()
	if err != nil {
		return entratest.Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return cfg, nil
}

func (file *configFile) config() (entratest.Config, error) {
	cfg := entratest.Config{Host: file.Host, Tenants: file.Tenants, Users: file.Users}
	if file.Lifetime != "" {
		lifetime, err := time.ParseDuration(file.Lifetime)
		if err != nil {
			return cfg, fmt.Errorf("lifetime: %w", err)
		}
		cfg.Lifetime = func() time.Duration { return lifetime }
	}
	if file.RefreshIn != "" {
		refreshIn, err := time.ParseDuration(file.RefreshIn)
		if err != nil {
			return cfg, fmt.Errorf("refreshIn: %w", err)
		}
		cfg.RefreshIn = func(time.Duration) time.Duration { return refreshIn }
	}
	for _, a := range file.Apps {
		app, err := a.app()
		if err != nil {
			return cfg, fmt.Errorf("app %q: %w", a.Name, err)
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	return cfg, nil
}

// app returns the App with its certificates and keys.
func (a *appFile) app() (entratest.App, error) {
	app := a.App
	for _, text := range a.Certificates {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return app, errors.New("a certificate is not in PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return app, err
		}
		app.Certificates = append(app.Certificates, cert)
	}
	for _, t := range a.TrustedSubjects {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(t.Roots)) {
			return app, fmt.Errorf("the roots of the trusted subject %q are not in PEM", t.Subject)
		}
		app.TrustedSubjects = append(app.TrustedSubjects, entratest.TrustedSubject{Subject: t.Subject, Roots: roots})
	}
	for _, f := range a.Federated {
		block, _ := pem.Decode([]byte(f.Key))
		if block == nil {
			return app, fmt.Errorf("the key of the federated issuer %q is not in PEM", f.Issuer)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return app, err
		}
		app.Federated = append(app.Federated, entratest.FederatedCredential{
			Issuer: f.Issuer, Subject: f.Subject, Audience: f.Audience, Key: key,
		})
	}
	return app, nil
}
