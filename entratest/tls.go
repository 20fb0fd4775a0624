package entratest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// StartTLS serves s on a free port of 127.0.0.1, for libraries that do not accept an
// [http.Client]. It returns the URL of the authority without a path, the CA of its
// certificate, and a function that stops the listener. stop closes open connections at
// once and may be called twice. A CertPool cannot be written to a file: if another
// process must trust the CA, use [LocalCertificate].
//
// Documents and issuers contain that URL. A version 2 token requested there has
// the issuer https://127.0.0.1:<port>/<tenant ID>/v2.0. StartTLS panics if it
// cannot listen.
func (s *Server) StartTLS() (url string, ca *x509.CertPool, stop func()) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("entratest: " + err.Error())
	}
	cert, issuer := LocalCertificate()
	ca = x509.NewCertPool()
	ca.AddCert(issuer)
	srv := &http.Server{
		Handler:           s.Console(context.Background()),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // tests break handshakes on purpose
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
	}
	go srv.ServeTLS(l, "", "")
	return "https://" + l.Addr().String(), ca, func() { srv.Close() }
}

// LocalCertificate returns a new server certificate and the certificate of the
// CA that issued it. It is valid for one month, for localhost, for the loopback
// addresses, and for hosts, which are names or IP addresses. Use it to serve a
// [Server] with an [http.Server] of your own, for example for a process that reads the
// CA from a file.
func LocalCertificate(hosts ...string) (cert tls.Certificate, ca *x509.Certificate) {
	root := newCA(0, 1)
	return issueCertificate(root, 0, 1, hosts), root.Leaf
}

// NewCA returns a new certificate authority for [IssueCertificate]. It is valid for ten
// years. Its key can impersonate any host to clients that trust it.
func NewCA() tls.Certificate { return newCA(10, 0) }

// IssueCertificate returns a new server certificate of a CA that [NewCA] returned, so
// that clients can trust one CA across restarts. It is valid for one year and for the
// same names as that of [LocalCertificate].
func IssueCertificate(ca tls.Certificate, hosts ...string) tls.Certificate {
	return issueCertificate(ca, 1, 0, hosts)
}

func newCA(years, months int) tls.Certificate {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber:          newSerial(),
		Subject:               pkix.Name{CommonName: "entratest"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(years, months, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	key := mustKey()
	return mustCertificate(root, root, key, key)
}

func issueCertificate(ca tls.Certificate, years, months int, hosts []string) tls.Certificate {
	root, err := x509.ParseCertificate(ca.Certificate[0])
	if err != nil {
		panic("entratest: " + err.Error())
	}
	now := time.Now()
	leaf := &x509.Certificate{
		SerialNumber: newSerial(),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.AddDate(years, months, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else if host != "" {
			leaf.DNSNames = append(leaf.DNSNames, host)
		}
	}
	cert := mustCertificate(leaf, root, mustKey(), ca.PrivateKey)
	cert.Certificate = append(cert.Certificate, ca.Certificate[0])
	return cert
}

// mustCertificate returns the certificate of key that parent and its key sign.
func mustCertificate(
	template, parent *x509.Certificate, key crypto.Signer, signer crypto.PrivateKey,
) tls.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// newSerial returns a random serial number. Browsers reject two certificates of one CA
// with the same.
func newSerial() *big.Int {
	var b [16]byte
	rand.Read(b[:])
	b[0] &= 0x7f
	return new(big.Int).SetBytes(b[:])
}

func mustKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return key
}
