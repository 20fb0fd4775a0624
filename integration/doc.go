// Package integration tests package entratest with foreign clients over TLS on loopback: identity libraries for Go,
// JavaScript and Python, proxies, and a real browser. Only their authority, trusted CA and credentials are configured.
// docs/entratest.md has a table of the clients. It also tests this project's clients with foreign software, such as
// keys in a PKCS #11 token (SoftHSM).
//
// It is a module of its own so that github.com/entratoken/entra does not depend on these clients. It consists of tests.
// `make integration` installs the programs that they need and runs them.
package integration
