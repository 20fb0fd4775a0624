// Package entratest is a fake Microsoft Entra ID for tests: a whole estate of
// tenants, apps and users behind one [http.Handler] that issues signed tokens
// and refuses what Entra refuses.
//
// A [Config] describes the estate; [Sample] is one ready to use. [NewServer]
// runs it. Nothing listens and no goroutine runs until a test asks for it, so
// a Server needs no closing and works inside a testing/synctest bubble.
package entratest
