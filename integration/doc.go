// Package integration tests package entratest with third-party clients over TLS on loopback: identity libraries for Go,
// JavaScript and Python, proxies, and a real browser. Only their authority, trusted CA and credentials are configured.
// docs/entratest.md has a table of the clients. The package also tests this project's clients with third-party
// software, such as keys in a PKCS #11 token (SoftHSM).
//
// The module is separate, so that github.com/entratoken/entra does not depend on these clients. This package consists
// of tests. `make integration` installs the programs that they need and runs them.
package integration
