package entra_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
)

// A rotation is a secret that another system replaces from time to time.
type rotation struct {
	read func(context.Context) (string, error) // reads the secret from the vault

	mu      sync.Mutex // guards current
	current entra.Credential
}

// load reads the secret the first time, and again after Entra has rejected the current one.
// If another request has already replaced the rejected one, load returns its replacement.
func (r *rotation) load(ctx context.Context, rejected entra.Credential) (entra.Credential, error) {
	r.mu.Lock()
	current := r.current
	r.mu.Unlock()
	if !current.Equal(rejected) {
		return current, nil
	}
	secret, err := r.read(ctx)
	if err != nil {
		return entra.Credential{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current = entra.Secret(secret)
	return r.current, nil
}

// The secret is replaced while the program runs.
func ExampleCredentialFunc() {
	server := entratest.NewServer(entratest.Sample())
	daemon := server.App("daemon")
	vault := "daemon-secret"
	secret := rotation{read: func(context.Context) (string, error) {
		fmt.Println("reading the vault")
		return vault, nil
	}}
	client, err := entra.New(entra.Config{
		TenantID: daemon.TenantID, ClientID: daemon.ClientID, HTTPClient: server.Client(),
		Credential: entra.CredentialFunc(secret.load),
	})
	if err != nil {
		panic(err)
	}
	source := clientcreds.TokenSource(client, "api://api-b/.default")
	tok, err := source.Token()
	fmt.Println(tok != nil, err)

	vault = "tomorrow's"
	server.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.ExpiredSecrets = []string{vault}, a.Secrets })
	source.Invalidate(tok)
	tok, err = source.Token()
	fmt.Println(tok != nil, err, server.Count(entratest.Match{AADSTS: 7000222}))
	// Output:
	// reading the vault
	// true <nil>
	// reading the vault
	// true <nil> 1
}

// A new secret precedes the old one while both may be in use.
func ExampleCredentialChain() {
	server := entratest.NewServer(entratest.Sample())
	daemon := server.App("daemon")
	client, err := entra.New(entra.Config{
		TenantID: daemon.TenantID, ClientID: daemon.ClientID, HTTPClient: server.Client(),
		Credential: entra.CredentialChain(entra.Secret("not-yet-registered"), entra.Secret("daemon-secret")),
	})
	if err != nil {
		panic(err)
	}
	tok, err := clientcreds.TokenSource(client, "api://api-b/.default").Token()
	fmt.Println(tok != nil, err, server.TokenRequests())
	// Output:
	// true <nil> 2
}

// A key in a hardware module, and an app that trusts the subject and issuer of its certificate.
func ExampleCertificate_signer() {
	cert, key := openModule() // any crypto.Signer: PKCS #11, a TPM, a cloud's key service
	trusted := x509.NewCertPool()
	trusted.AddCert(cert)
	cfg := entratest.Sample()
	cfg.Apps[0].TrustedSubjects = []entratest.TrustedSubject{{Subject: "daemon.example", Roots: trusted}}
	server := entratest.NewServer(cfg)

	client, err := entra.New(entra.Config{
		TenantID: cfg.Apps[0].TenantID, ClientID: cfg.Apps[0].ClientID, HTTPClient: server.Client(),
		Credential: entra.Certificate([]*x509.Certificate{cert}, key, &entra.CertificateOptions{SendChain: true}),
	})
	if err != nil {
		panic(err)
	}
	tok, err := clientcreds.TokenSource(client, "api://api-b/.default").Token()
	fmt.Println(tok != nil, err)
	// Output:
	// true <nil>
}

func openModule() (*x509.Certificate, crypto.Signer) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "daemon.example"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return cert, struct{ crypto.Signer }{key}
}
