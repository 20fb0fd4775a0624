// Package tokenproxy sends token requests through the proxy of identity bindings in Azure Kubernetes Service.
//
// Sources: "Identity bindings" in Microsoft's documentation of AKS, and WorkloadIdentityCredential of azidentity 1.15,
// which defines the variables.
package tokenproxy

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sync"

	"github.com/entratoken/entra/internal/httpclient"
)

// The environment variables that AKS sets in a pod.
const (
	Variable = "AZURE_KUBERNETES_TOKEN_PROXY" // the URL of the proxy
	caFile   = "AZURE_KUBERNETES_CA_FILE"     // its certificate authorities, in a file that may change
	caData   = "AZURE_KUBERNETES_CA_DATA"     // the same as PEM
	sniName  = "AZURE_KUBERNETES_SNI_NAME"    // the name in its certificate
)

// maxFile bounds the size of the file of certificate authorities.
const maxFile = 1 << 20

// New returns a transport that sends each request to the proxy, with the path and the query of its URL and its Host
// header. If Variable is not set, New returns nil.
func New(getenv func(string) string) (http.RoundTripper, error) {
	address, file, data := getenv(Variable), getenv(caFile), getenv(caData)
	if address == "" {
		for _, name := range []string{caFile, caData, sniName} {
			if getenv(name) != "" {
				return nil, fmt.Errorf("%s is set but %s is not", name, Variable)
			}
		}
		return nil, nil
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New(Variable + " is not an https URL without user information, query and fragment")
	}
	if file != "" && data != "" {
		return nil, errors.New(caFile + " and " + caData + " are both set; only one may be")
	}
	t := &transport{url: u, file: file, name: getenv(sniName)}
	if file != "" {
		_, err = t.current()
	} else {
		err = t.connect([]byte(data))
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// transport is the transport that [New] returns.
type transport struct {
	url        *url.URL
	file, name string

	mu   sync.Mutex // guards the fields below
	ca   []byte     // the certificate authorities of next, as PEM
	next *http.Transport
}

// RoundTrip implements [http.RoundTripper].
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	next, err := t.current()
	if err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	out := req.Clone(req.Context())
	if out.Host == "" {
		out.Host = req.URL.Host
	}
	out.URL = t.url.JoinPath(req.URL.EscapedPath())
	out.URL.RawQuery = req.URL.RawQuery
	return next.RoundTrip(out)
}

// CloseIdleConnections closes connections that are not in use.
func (t *transport) CloseIdleConnections() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		t.next.CloseIdleConnections()
	}
}

// current returns the connections to the proxy. It makes new ones if the file of certificate authorities has changed.
// While the file is missing or half written, the previous ones stay in use.
func (t *transport) current() (*http.Transport, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == "" {
		return t.next, nil
	}
	ca, err := readFile(t.file)
	if err == nil && (t.next == nil || !bytes.Equal(ca, t.ca)) {
		err = t.connect(ca)
	}
	if t.next == nil {
		return nil, err
	}
	return t.next, nil
}

// connect makes connections that trust the certificate authorities in ca, or those of the system if ca is empty and
// there is no file.
func (t *transport) connect(ca []byte) error {
	var pool *x509.CertPool
	if len(ca) > 0 || t.file != "" {
		pool = x509.NewCertPool()
		if !pool.AppendCertsFromPEM(ca) {
			return fmt.Errorf("%s or %s has no PEM certificate", caFile, caData)
		}
	}
	next := httpclient.Transport()
	if next.TLSClientConfig == nil {
		next.TLSClientConfig = &tls.Config{}
	}
	next.TLSClientConfig.RootCAs, next.TLSClientConfig.ServerName = pool, t.name
	if t.next != nil {
		t.next.CloseIdleConnections()
	}
	t.next, t.ca = next, ca
	return nil
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the file in %s: %w", caFile, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the file in %s: %w", caFile, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("the file in %s is larger than %d bytes", caFile, maxFile)
	}
	return b, nil
}
