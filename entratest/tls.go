package entratest

import (
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

// StartTLS serves s on a free port of 127.0.0.1, for other processes and for
// libraries that do not accept an [http.Client]. It returns the URL of the
// authority without a path, the CA of its certificate, and a function that stops
// the listener. stop closes open connections at once and may be called twice.
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
		Handler:           s,
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
// [Server] with an [http.Server] of your own.
func LocalCertificate(hosts ...string) (cert tls.Certificate, ca *x509.Certificate) {
	now := time.Now()
	root := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "entratest"},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(0, 1, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		Subject:      pkix.Name{CommonName: "localhost"},
		NotBefore:    root.NotBefore,
		NotAfter:     root.NotAfter,
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
	rootKey := mustKey()
	leafKey := mustKey()
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, rootKey.Public(), rootKey)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, leafKey.Public(), rootKey)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	issuer, err := x509.ParseCertificate(rootDER)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return tls.Certificate{Certificate: [][]byte{leafDER, rootDER}, PrivateKey: leafKey}, issuer
}

func mustKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return key
}
