package entra

import (
	"context"
	"log/slog"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"

	"github.com/entratoken/entra/cache"
)

// attempts are those that one exchange makes, with one credential after the other, until
// Entra accepts one: each is a run of the grant's Fetch on a new MSAL client. It is used
// by one goroutine at a time.
//
// Entra authenticates the client before it looks at the grant (RFC 6749, section 4.1.3), so
// that what is good once, such as a code, is still good after a refusal.
type attempts struct {
	client  *Client
	grant   *Grant
	forUser bool // a user's token is wanted, not the app's own
	claims  string
	rt      *refreshToken

	depth int  // of Reloading credentials that are loaded by others
	spare bool // there is another credential to try after the one at hand

	response *TokenResponse // of the attempt that was accepted
}

// all makes the attempts.
func (a *attempts) all(ctx context.Context) *Error {
	failed, _ := a.client.credential.use(ctx, a)
	return failed
}

// make is one attempt with a credential that is always the same.
func (a *attempts) make(ctx context.Context, id string, cred confidential.Credential) (*Error, verdict) {
	x := &exchange{forUser: a.forUser, spare: a.spare}
	if failed := a.prove(x, id); failed != nil {
		return failed, refused
	}
	return a.run(ctx, x, cred)
}

// prove says what the app will prove itself with in an exchange, and returns the refusal
// to give in place of it if Entra does not accept that.
func (a *attempts) prove(x *exchange, id string) *Error {
	x.proof = proof{authority: a.client.authority, id: id}
	if !a.forUser {
		x.proof.region = a.client.region.known() // may learn of a new credential later, or sooner
	}
	var refusal *Error
	refusal, x.finding = a.client.gates.pass(x.proof)
	return refusal
}

// run is one attempt. Its MSAL client is thrown away: MSAL's own caches grow without
// bound, are searched in full, and decide by themselves when to refresh.
func (a *attempts) run(ctx context.Context, x *exchange, cred confidential.Credential) (*Error, verdict) {
	defer func() { // also if Fetch panics
		if x.finding && x.answer == nil {
			a.client.gates.nothing(x.proof)
		}
	}()
	ctx = context.WithValue(ctx, exchangeKey{}, x)
	var region string // MSAL would take any grant there, but only the app's own is served in regions
	if !a.forUser {
		var failed *Error
		if region, failed = a.client.region.get(ctx); failed != nil {
			return failed, settled
		}
	}
	app, err := a.client.app(cred, a.rt, region)
	if err != nil {
		return refuse("invalid_request", "MSAL does not accept the configuration of the client"), settled
	}
	resp, err := a.grant.Fetch(ctx, &TokenRequest{a.grant, a.claims, app, x})
	if x.answer != nil {
		if _, failed := readToken(x.answer, x.redactor, x.requestID); failed != nil {
			if failed.refusesCredential() {
				if failed.namesCredential() {
					a.client.gates.refusal(x.proof, failed)
				}
				return failed, refused
			}
			// The grant and its user are looked at when the client is known (RFC 6749, section 5.2).
			if failed.Code == "invalid_grant" || failed.InteractionRequired() {
				a.client.gates.accepted(x.proof)
			}
			return failed, settled
		}
		a.client.gates.accepted(x.proof)
	}
	if failed := x.check(ctx, a.grant, resp, err); failed != nil {
		return failed, x.verdict
	}
	a.response = resp
	return nil, settled
}

// again tells that another attempt is made, and why.
func (a *attempts) again(ctx context.Context, failed *Error) {
	if l := a.client.logger; l != nil {
		key := cache.Key{Authority: a.client.authority, ClientID: a.client.clientID, Flow: a.grant.Flow, Subject: a.grant.Subject, Session: a.grant.Session}
		l.LogAttrs(ctx, slog.LevelWarn, "entra: a credential does not work, trying another",
			slog.String("key", key.String()), slog.String("scopes", strings.Join(a.grant.scopes(), " ")), slog.Any("error", failed))
	}
}
