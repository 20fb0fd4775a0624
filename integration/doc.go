// Package integration runs clients that this project did not write against package entratest over
// TLS on loopback: other Go identity libraries, MSAL for Node.js, and a real browser. They are
// changed in nothing but the authority, the CA to trust and the credentials. And it runs this project's
// own clients with what only other people's software has: keys in a PKCS #11 token (SoftHSM).
//
// It is a module of its own so that none of these clients becomes a requirement of
// github.com/entratoken/entra. All of it is in the tests; `make integration` installs what they
// need and runs them.
package integration
