package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/entratoken/entra/entratest"
)

// state has the keys in the directory of -state, which survive restarts.
type state struct {
	ca      tls.Certificate
	signing tls.Certificate
	seal    []byte
}

// readState reads the files in dir and creates those that are missing.
func readState(dir string) (st state, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return st, err
	}
	if st.ca, err = storedCertificate(filepath.Join(dir, "ca"), entratest.NewCA); err != nil {
		return st, err
	}
	if st.signing, err = storedCertificate(filepath.Join(dir, "signing"), entratest.NewSigningKey); err != nil {
		return st, err
	}
	path := filepath.Join(dir, "seal.key")
	st.seal, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		st.seal = make([]byte, 32)
		rand.Read(st.seal)
		err = os.WriteFile(path, st.seal, 0o600)
	}
	if err == nil && len(st.seal) != 32 {
		err = fmt.Errorf("%s does not have 32 bytes; delete it to create a new key", path)
	}
	return st, err
}

// storedCertificate reads a certificate and its key from the files base.pem and
// base-key.pem. If they do not exist, it writes those that create returns.
func storedCertificate(base string, create func() tls.Certificate) (tls.Certificate, error) {
	certFile, keyFile := base+".pem", base+"-key.pem"
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	if !errors.Is(err, fs.ErrNotExist) {
		return cert, err
	}
	cert = create()
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		return cert, err
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return cert, err
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})
	return cert, os.WriteFile(certFile, public, 0o644)
}
