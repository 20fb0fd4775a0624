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
	"testing"
	"time"

	"github.com/entratoken/entra/entratest"
)

// What entratest.Sample documents, under short names, and what newFake adds to it.
const (
	tenant = entratest.SampleTenant

	daemonID     = "aaaaaaaa-0000-4000-8000-00000000000d"
	daemonSecret = "daemon-secret"
	webappID     = "aaaaaaaa-0000-4000-8000-0000000000ee"
	webappSecret = "webapp-secret"
	apiAID       = "aaaaaaaa-0000-4000-8000-00000000000a"
	apiASecret   = "api-a-secret"
	apiBID       = "aaaaaaaa-0000-4000-8000-00000000000b"

	certID      = "aaaaaaaa-0000-4000-8000-0000000000ce" // signs with one certificate's key
	certSNIID   = "aaaaaaaa-0000-4000-8000-0000000000c5" // signs with any key certified for its name
	federatedID = "aaaaaaaa-0000-4000-8000-0000000000fe" // acts by another issuer's tokens

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

// A fake is the sample estate on a loopback listener, with three more daemons: each proves itself
// in another way, and each has the role Orders.Read.All of api-b. Tests may change the estate before
// it runs.
type fake struct {
	*entratest.Server
	url    string            // the authority without a tenant, https
	host   string            // its host and port
	client *http.Client      // trusts its certificate and no other
	caFile string            // who issued that certificate, as PEM
	leaf   *x509.Certificate // the certificate

	key       *rsa.PrivateKey     // of the certificates, and of the federated issuer
	cert      []*x509.Certificate // registered at the app certID
	certChain []*x509.Certificate // for sniName, issued by an authority that the app certSNIID trusts
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

// reach notes where the fake is and makes a client that trusts it.
func (f *fake) reach(t *testing.T, address string, pool *x509.CertPool) {
	t.Helper()
	f.url, f.host = address, must[*url.URL](t)(url.Parse(address)).Host
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(transport.CloseIdleConnections)
	f.client = &http.Client{Transport: transport, Timeout: time.Minute}
}

// issuer is the issuer of version 2 tokens of the sample's tenant.
func (f *fake) issuer() string { return f.url + "/" + tenant + "/v2.0" }

// authority is what MSAL libraries call the sample's tenant.
func (f *fake) authority() string { return f.url + "/" + tenant }

// serverChain is how a server's certificate leads to one in the pool. Programs in other languages
// want that one as a file, and a pool doesn't hand out what it has.
func serverChain(t *testing.T, host string, pool *x509.CertPool) []*x509.Certificate {
	t.Helper()
	conn, err := tls.Dial("tcp", host, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().VerifiedChains[0]
}

// listen opens a loopback port for an app of a test and gives its origin, which uses the name
// localhost because that is how the app's redirect URI is registered.
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

// must gives the value of a call that has to work: must[T](t)(call()).
func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}
