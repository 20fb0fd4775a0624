package credentials

import (
	"context"
	"errors"
	"time"

	"github.com/entratoken/entra"
)

// Audience is what tokens of other issuers that act as an app are usually made for, in
// the public cloud. An app's federated credential names it.
const Audience = "api://AzureADTokenExchange"

// assertionFresh is how long an assertion is used at most until its source is asked for
// another one.
const assertionFresh = time.Hour

// AssertionFunc is a client assertion by another issuer, which the app registration trusts
// as a federated credential, and which a callback returns: a JWT. Its issuer's token
// service may be slow or limit how often it is asked, so an assertion is held: for four
// fifths of its life, but an hour at most, it is simply used, then get is asked for another
// one in the background, and from a minute before its end (for a life under ten minutes:
// the last tenth) it is used no more. How long it lives is read from its exp; one without
// is not held. When Entra refuses an assertion it is dropped, and get is asked at once.
//
// One call of get is made at a time, however many requests wait for it, and it must return
// when its context ends, after 20 seconds at most. Its error becomes the Err of an
// [*entra.Error]; if it is an [*entra.Error] that is Temporary, so is that one.
//
// The assertion must not depend on what it is wanted for. One that the app signs itself does,
// since its audience is the token endpoint: return that in [entra.Assertion].
func AssertionFunc(get func(context.Context) (string, error)) entra.Credential {
	return newAssertion(func(ctx context.Context) (string, time.Time, error) {
		if get == nil {
			return "", time.Time{}, refuse("the callback for the client assertion is missing")
		}
		s, err := get(ctx)
		return s, time.Time{}, err
	})
}

// newAssertion is a client assertion that get returns, perhaps with its end. What the
// assertion says itself of its end counts if that is earlier.
func newAssertion(get func(context.Context) (string, time.Time, error)) entra.Credential {
	return (&asked{
		what: "client assertion",
		make: func(s string) (entra.Credential, error) { return assertion(s), nil },
		get: func(ctx context.Context) (answer, error) {
			s, end, err := get(ctx)
			if err != nil {
				return answer{}, err
			}
			exp, ok := jwtExpiry(s)
			if !ok {
				return answer{}, errors.New("what was returned as a client assertion is no JWT")
			}
			if end.IsZero() || !exp.IsZero() && exp.Before(end) {
				end = exp
			}
			a := answer{text: func() string { return s }}
			a.askAfter, a.until = lifeOf(time.Now(), end)
			return a, nil
		},
	}).credential()
}

// lifeOf decides how long an assertion is used that ends at end.
func lifeOf(now, end time.Time) (askAfter, until time.Time) {
	life := end.Sub(now)
	if end.IsZero() || life <= 0 { // Entra's clock decides whether it is good
		return now, now
	}
	return now.Add(min(life*4/5, assertionFresh)), end.Add(-min(life/10, time.Minute))
}

// assertion is a credential that is one client assertion.
func assertion(s string) entra.Credential {
	return entra.Assertion(func(context.Context, entra.AssertionRequest) (string, error) { return s, nil })
}
