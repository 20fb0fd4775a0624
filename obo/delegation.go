package obo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/purge"
)

// DelegationFlowName is the [entra.Grant.Flow] of the tokens of delegations.
const DelegationFlowName = "on_behalf_of_delegation"

// A Delegation lets an app act for one user after the request of that user has been served. [Begin]
// returns it, and [Resume] uses it. It can be stored as JSON, for example in the job that a worker
// runs.
//
// It contains no secret: the tokens are in the cache. It is useless without a client with the app's
// credential and that cache, or the cache's store and keys. But a worker acts for the user of each
// Delegation that it gets. Protect it from changes and from other users, as you protect the session
// of a signed-in user: keep it on the server, do not accept one from a caller, and check that its
// user owns the job. A Delegation whose fields were changed names an entry that does not exist.
type Delegation struct {
	ID            string    `json:"id"`              // random; names the entry in the cache
	ClientID      string    `json:"client_id"`       // the app
	TenantID      string    `json:"tenant_id"`       // tid of the user's token, in lower case as in verify.Claims
	ObjectID      string    `json:"object_id"`       // oid of the user's token, likewise
	HomeAccountID string    `json:"home_account_id"` // "<object ID>.<tenant ID>" of the user's home tenant
	CreatedAt     time.Time `json:"created_at"`
}

// ErrEnded is wrapped by the error of a source from [Resume] if the cache does not have the delegation.
// The delegation ended, was not used for cache.Options.DelegationTTL, or was evicted. It cannot be
// resumed, and the user must call the API again, which then begins a new one. The error is the same
// if the worker is misconfigured: if its store, cache.Options.Keys, cloud or client capabilities are
// not those with which the delegation was begun.
var ErrEnded = errors.New("obo: the delegation has ended")

// Begin begins a delegation for the user of t, a validated access token for this API. It exchanges t
// once for a token for scopes and for a refresh token, and stores both in the cache of c. From then
// on, nothing depends on t or its expiry. The tenant of c must be the ID of the tenant of t (see
// [entra.Client.WithTenant]).
//
// Each call sends a request and begins another delegation, for the same token too. Call Begin for a
// job that outlives the request, and [ForToken] for all other calls of the next API. ctx and
// [entra.TokenTimeout] bound the request. If the Delegation cannot be stored with its job, call [End].
// Otherwise its refresh token stays in the cache until cache.Options.DelegationTTL.
//
// The error is an [*entra.Error], which [WriteError] returns to the caller of the API. Its code is
// "temporarily_unavailable" if the cache's store failed. A delegation that other processes cannot
// resume is not begun, and Begin sends no request while the store fails.
func Begin(ctx context.Context, c *entra.Client, t Verified, scopes ...string) (Delegation, error) {
	if err := checkClient(c); err != nil {
		return Delegation{}, err
	}
	assertion := ""
	if t != nil {
		assertion = t.Raw()
	}
	claims, err := checkAssertion(assertion, c.TenantID())
	if err != nil {
		return Delegation{}, err
	}
	d := Delegation{
		ID: rand.Text(), ClientID: c.ClientID(), TenantID: strings.ToLower(claims.tenantID),
		ObjectID: strings.ToLower(claims.objectID), CreatedAt: time.Now().UTC().Truncate(time.Second),
	}
	if d.TenantID != c.TenantID() || !guid.ValidLower(d.ObjectID) {
		return Delegation{}, errorf("invalid_request",
			"the assertion does not name its user: tid or oid is missing or invalid")
	}
	g := d.grant()
	if err := setScopes(&g, scopes); err != nil {
		return Delegation{}, err
	}
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		return exchange(ctx, r, assertion, claims)
	}
	result, err := c.Exchange(ctx, g)
	if err != nil {
		return Delegation{}, err
	}
	d.HomeAccountID = strings.ToLower(result.HomeAccountID())
	if !d.valid() {
		return Delegation{}, errorf(entra.CodeInvalidResponse, "the response does not name the user's home account")
	}
	if !result.HasRefreshToken() {
		return Delegation{}, errorf(entra.CodeInvalidResponse,
			"the response lacks a refresh token, so the app cannot act for the user later")
	}
	if err := result.Store(ctx, c, d.HomeAccountID); err != nil {
		return Delegation{}, err
	}
	return d, nil
}

// Resume returns a source of tokens for the user of d. It works in any process whose client has the
// same app, tenant, cloud and capabilities, and a cache with the same store and keys. Without a store,
// only the process that called [Begin] can resume d. scopes may be for another API than those of Begin.
//
// Tokens are refreshed early, in the background, with the refresh token. Each token request extends
// the lifetime of d. The delegation ends after cache.Options.DelegationTTL without one, with [End],
// and when Entra reports that the refresh token has expired or was revoked, for example because an
// administrator revoked the user's sessions.
//
// The source's methods return an [*entra.Error]:
//
//   - If the user must act, InteractionRequired reports true. The user must call the API again. If the
//     delegation has ended, the error wraps [ErrEnded].
//   - If the cache's store fails, the code is "temporarily_unavailable" and Temporary reports true.
//   - If d is invalid, or c is a client for another app or tenant, the code is "invalid_request".
//   - Scopes that [TokenSource] rejects have the code "invalid_scope".
func Resume(c *entra.Client, d Delegation, scopes ...string) *entra.TokenSource {
	g := d.grant()
	invalid := setScopes(&g, scopes)
	failed := d.check(c)
	if failed == nil {
		failed = invalid
	}
	if failed != nil {
		// No cached token may be served either. All rejections with one text share an entry that is always empty.
		g.Subject, g.Session, g.Delegation, g.RefreshToken = "rejected", failed.Error(), false, false
	}
	g.Fetch = func(ctx context.Context, r *entra.TokenRequest) (*entra.TokenResponse, error) {
		if failed != nil {
			return nil, failed
		}
		resp, err := r.RefreshToken(ctx)
		switch e, ok := errors.AsType[*entra.Error](err); {
		case !ok:
		case e.Local() && e.Code == "login_required": // the cache has no refresh token
			return nil, &entra.Error{
				Code: e.Code, Err: ErrEnded,
				Description: "the delegation has ended, expired or was evicted, or it was begun with another store, " +
					"other keys of the cache, another cloud or other capabilities; the user must call the API again",
			}
		case revoked(e):
			// No process serves the tokens that are left. If the store fails, the cache ends them when it is back.
			_ = end(context.WithoutCancel(ctx), c, d)
		}
		return resp, err
	}
	return c.TokenSource(g)
}

// End ends d: its tokens are removed from the cache and its store, and all sources from [Resume] fail
// with [ErrEnded], in other processes within the time of [cache.Cache.Purge]. Tokens that were handed
// out stay valid until they expire. Ending a delegation that has ended is not an error.
//
// The error is an [*entra.Error]. Its code is "temporarily_unavailable" if the store failed. The
// delegation has then ended in this process, and ends in the others when the store is back, if this
// process still runs. Call End again to be sure. The code is "invalid_request" if d is invalid, or c
// is a client for another app or tenant.
func End(ctx context.Context, c *entra.Client, d Delegation) error {
	if err := d.check(c); err != nil {
		return err
	}
	return end(ctx, c, d)
}

func end(ctx context.Context, c *entra.Client, d Delegation) error {
	key := cache.Key{Flow: DelegationFlowName, Subject: d.HomeAccountID, Session: d.session(), Delegation: true}
	return purge.Session(ctx, c, c.TenantID(), key, "the delegation could not be removed from the store of the cache")
}

// revoked reports whether Entra has rejected the refresh token for good. It may reject other requests for
// reasons that concern one API, such as missing consent.
//
// Microsoft advises reacting to the OAuth code, because numbers change. A number that is missing here
// only means that later calls repeat the request after its back-off.
func revoked(e *entra.Error) bool {
	return e.Code == "invalid_grant" &&
		(e.SubError == "bad_token" || e.SubError == "token_expired" || slices.ContainsFunc([]int{
			50132,  // the session was revoked or has expired
			50133,  // the same, after a change of the password
			50173,  // the user's grants were revoked
			70008,  // the refresh token has expired or was revoked
			70043,  // the refresh token is too old for the sign-in frequency
			700082, // the refresh token was not used for too long
			700084, // the refresh token of a single-page app has expired
		}, e.Has))
}

// grant returns the part of the grant that [Begin] and [Resume] share.
func (d *Delegation) grant() entra.Grant {
	return entra.Grant{
		Flow: DelegationFlowName, Subject: d.HomeAccountID, Session: d.session(), RefreshToken: true, Delegation: true,
	}
}

// session returns the name of the session in the cache. All fields except for the subject of the session are part
// of it, so that a Delegation with another value in any field does not name an entry.
func (d *Delegation) session() string {
	return strings.Join([]string{
		d.ID, d.ClientID, d.TenantID, d.ObjectID, d.CreatedAt.UTC().Format(time.RFC3339Nano),
	}, " ")
}

// check returns an error if d is invalid or c may not use it.
func (d *Delegation) check(c *entra.Client) error {
	if err := checkClient(c); err != nil {
		return err
	}
	switch {
	case !d.valid():
		return errInvalidDelegation
	case d.ClientID != c.ClientID():
		return errorf("invalid_request", "the Delegation belongs to another app than the client")
	case d.TenantID != c.TenantID():
		return errorf("invalid_request", "the Delegation is from another tenant than the client; "+
			"use Client.WithTenant with its TenantID")
	}
	return nil
}

// checkClient returns an error if c cannot have delegations. A domain cannot be compared with the tenant of a token.
func checkClient(c *entra.Client) error {
	switch {
	case c == nil || c.ClientID() == "":
		return errorf("invalid_request", "the client must be created with entra.New")
	case !guid.ValidLower(c.TenantID()):
		return errorf("invalid_request", "the tenant of the client is not an ID; "+
			"use Client.WithTenant with the tid of the validated token or the TenantID of the Delegation")
	}
	return nil
}

var errInvalidDelegation = errorf("invalid_request",
	"the Delegation is empty or was damaged; it must come from obo.Begin")

// valid reports whether d can come from [Begin].
func (d *Delegation) valid() bool {
	uid, utid, _ := strings.Cut(d.HomeAccountID, ".")
	return len(d.ID) == len(rand.Text()) && strings.Trim(d.ID, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == "" &&
		guid.ValidLower(d.ClientID) && guid.ValidLower(d.TenantID) && guid.ValidLower(d.ObjectID) &&
		guid.ValidLower(uid) && guid.ValidLower(utid) && (utid != d.TenantID || uid == d.ObjectID) && !d.CreatedAt.IsZero()
}

// maxDelegation bounds the JSON of a Delegation in bytes. Begin's has about 350.
const maxDelegation = 4 << 10

// UnmarshalJSON decodes d and checks that it can come from [Begin]. It ignores members that it does not know. The
// error is an [*entra.Error] with the code "invalid_request".
func (d *Delegation) UnmarshalJSON(b []byte) error {
	type fields Delegation
	var f fields
	if len(b) > maxDelegation || json.Unmarshal(b, &f) != nil || !(*Delegation)(&f).valid() {
		return errInvalidDelegation
	}
	*d = Delegation(f)
	return nil
}

// Format prints the app and the user without the ID, for every verb. fmt does not call it for a
// Delegation in an unexported field of another type, so do not print such a value.
func (d Delegation) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "obo.Delegation{client=%s tid=%s oid=%s}", d.ClientID, d.TenantID, d.ObjectID)
}

// LogValue logs the app and the user without the ID.
func (d Delegation) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("client", d.ClientID), slog.String("tid", d.TenantID), slog.String("oid", d.ObjectID))
}
