package integration_test

import (
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// Values that entratest.Sample documents, and those that newFake adds.
const (
	tenant = entratest.SampleTenant

	daemonID     = "aaaaaaaa-0000-4000-8000-00000000000d"
	daemonSecret = "daemon-secret"
	webappID     = "aaaaaaaa-0000-4000-8000-0000000000ee"
	webappSecret = "webapp-secret"
	apiAID       = "aaaaaaaa-0000-4000-8000-00000000000a"
	apiASecret   = "api-a-secret"
	apiBID       = "aaaaaaaa-0000-4000-8000-00000000000b"

	certID      = "aaaaaaaa-0000-4000-8000-0000000000ce" // authenticates with a registered certificate
	certSNIID   = "aaaaaaaa-0000-4000-8000-0000000000c5" // authenticates with any certificate for its subject name
	federatedID = "aaaaaaaa-0000-4000-8000-0000000000fe" // authenticates with tokens of another issuer

	alice         = "alice@contoso.onmicrosoft.com"
	alicePassword = "alice-password"
	aliceID       = "aaaaaaaa-1111-4000-8000-00000000a11c"
	aliceName     = "Alice Adams"

	bob         = "bob@contoso.onmicrosoft.com"
	bobPassword = "bob-password"
	bobID       = "aaaaaaaa-1111-4000-8000-000000000b0b"

	appScope    = "api://api-b/.default"
	apiAScope   = "api://api-a/access_as_user"
	ordersScope = "api://api-b/Orders.Read"

	federatedIssuer  = "https://cluster.contoso.example"
	federatedSubject = "system:serviceaccount:orders:daemon"
	sniName          = "daemon.contoso.example"
)

// fake is the sample configuration on a loopback listener, with three more daemons. Each authenticates in another way
// and has the role Orders.Read.All of api-b. Tests may change the configuration before it starts.
type fake struct {
	*entratest.Server
	url    string            // of the authority, without a tenant; https
	host   string            // its host and port
	client *http.Client      // trusts its certificate and no other
	caFile string            // PEM file of the CA that issued that certificate
	leaf   *x509.Certificate // the server certificate
	tests  sync.Map          // *entratest.Test by *testing.T

	key       *rsa.PrivateKey     // for the certificates and the federated issuer
	cert      []*x509.Certificate // registered for the app certID
	certChain []*x509.Certificate // for sniName, issued by a CA that the app certSNIID trusts
}

func newFake(t *testing.T, changes ...func(*entratest.Config)) *fake {
	t.Helper()
	f := &fake{}
	var roots *x509.CertPool
	f.key, f.cert, f.certChain, roots = makeCertificates(t)

	estate := entratest.Sample()
	orders := []entratest.Permission{{Resource: "api://api-b", Roles: []string{"Orders.Read.All"}}}
	estate.Apps = append(estate.Apps,
		entratest.App{
			Name: "daemon with a certificate", ClientID: certID, TenantID: tenant,
			Certificates: f.cert, Permissions: orders,
		},
		entratest.App{
			Name: "daemon with a subject name", ClientID: certSNIID, TenantID: tenant,
			TrustedSubjects: []entratest.TrustedSubject{{Subject: sniName, Roots: roots}}, Permissions: orders,
		},
		entratest.App{
			Name: "daemon with a workload identity", ClientID: federatedID, TenantID: tenant,
			Federated: []entratest.FederatedCredential{
				{Issuer: federatedIssuer, Subject: federatedSubject, Key: &f.key.PublicKey},
			},
			Permissions: orders,
		},
	)
	for _, change := range changes {
		change(&estate)
	}
	f.Server = entratest.NewServer(estate)

	address, pool, stop := f.StartTLS()
	t.Cleanup(stop)
	f.reach(t, address, pool)
	chain := serverChain(t, f.host, pool)
	f.leaf = chain[0]
	f.caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: chain[len(chain)-1].Raw})
	if err := os.WriteFile(f.caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return f
}

// reach sets the address of f and creates a client that trusts it.
func (f *fake) reach(t *testing.T, address string, pool *x509.CertPool) {
	t.Helper()
	f.url, f.host = address, must[*url.URL](t)(url.Parse(address)).Host
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, Timeout: time.Minute}
}

// issuer returns the issuer of version 2 tokens of the sample tenant.
func (f *fake) issuer() string { return f.url + "/" + tenant + "/v2.0" }

// authority returns the URL of the sample tenant for MSAL libraries.
func (f *fake) authority() string { return f.url + "/" + tenant }

// serverChain returns the chain from the certificate of a server to its root in the pool. Programs in other languages
// need the root as a file, and a pool does not return its certificates.
func serverChain(t *testing.T, host string, pool *x509.CertPool) []*x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", host, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().VerifiedChains[0]
}

// listen opens a loopback port for an app of a test. It returns the origin with the name localhost, as in the
// registered redirect URI.
func listen(t *testing.T) (net.Listener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return l, "http://localhost:" + port
}

// must returns the value of a call that must succeed: must[T](t)(call()).
func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
