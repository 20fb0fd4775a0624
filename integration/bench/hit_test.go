package bench_test

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/obo"
)

// both measures op in one goroutine, and in one per CPU.
func both(b *testing.B, name string, op func() error) {
	b.Run(name+"/serial", func(b *testing.B) {
		if err := op(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if err := op(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(name+"/parallel", func(b *testing.B) {
		if err := op(); err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				if err := op(); err != nil {
					b.Error(err)
					return
				}
			}
		})
	})
}

// BenchmarkHit measures a call for a cached token. time.Now and SHA-256 are the scale: a hit reads the monotonic clock,
// and the lookup of an assertion hashes it.
func BenchmarkHit(b *testing.B) {
	ctx := context.Background()
	both(b, "time.Now", func() error { _ = time.Now(); return nil })
	text := []byte(assertion(0))
	both(b, "sha256", func() error { sha256.Sum256(text); return nil })

	aws := newAWS((&endpoint{}).send)
	both(b, "aws", func() error { _, err := aws.Retrieve(ctx); return err })
	xoauth2 := newXOAuth2(func() error { return nil })
	both(b, "x-oauth2", func() error { _, err := xoauth2.Token(); return err })
	google := newGoogle((&endpoint{}).send)
	both(b, "google", func() error { _, err := google.Token(ctx); return err })
	azure := newAzidentity(b, &endpoint{})
	both(b, "azidentity", func() error { return getToken(ctx, azure, "") })
	for _, msal := range []struct {
		name   string
		tokens int
	}{{"msal-1", 1}, {"msal-100", 100}, {"msal-10000", 10_000}} {
		b.Run(msal.name, func(b *testing.B) {
			c, scopes := newMSALHolding(b, msal.tokens), []string{numbered(msal.tokens / 2)}
			both(b, "app", func() error { _, err := c.AcquireTokenByCredential(ctx, scopes); return err })
		})
	}
	msal, user, scopes := newMSAL(b, &endpoint{tokenSize: 1500}), assertion(0), []string{scope}
	both(b, "msal-obo", func() error { _, err := msal.AcquireTokenOnBehalfOf(ctx, user, scopes); return err })

	c := newEntra(b, &endpoint{tokenSize: 1500}, nil)
	both(b, "entra", tokenOf(clientcreds.TokenSource(c, scope)))
	copies := clientcreds.TokenSource(c, scope)
	both(b, "entra-token", func() error { _, err := copies.Token(); return err }) // a copy for each caller
	both(b, "entra-clientcreds",
		func() error { _, err := clientcreds.TokenSource(c, scope).TokenContext(ctx); return err })
	both(b, "entra-obo", func() error { _, err := obo.TokenSource(c, user, scope).TokenContext(ctx); return err })
}

// tokenOf returns a call of TokenContext on a source that is reused.
func tokenOf(s *entra.TokenSource) func() error {
	ctx := context.Background()
	return func() error { _, err := s.TokenContext(ctx); return err }
}
