package verify

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/retry"
	"github.com/entratoken/entra/internal/safecall"
)

const (
	// groupsMaxAge is the age at which the result of a lookup stops being used. It bounds how long a user
	// who left a group is admitted.
	groupsMaxAge = 5 * time.Minute
	// groupsTimeout bounds a lookup, with its token and its retries.
	groupsTimeout = 10 * time.Second
	// After a failure, callers get its error for minGroupsPause, or for the Retry-After of Graph up to maxGroupsPause.
	minGroupsPause, maxGroupsPause = time.Second, time.Minute
	// freshGraphToken is the age below which a token that Graph rejected is not replaced, since Graph may reject every
	// token. It bounds the token requests for a tenant to 15 in an hour.
	freshGraphToken = 4 * time.Minute
	// maxGroupRequests and maxTenantGroupRequests bound the requests in progress for all tenants and for one tenant, so
	// that a tenant whose lookups do not return leaves room for others.
	maxGroupRequests, maxTenantGroupRequests = 1024, 64
	// maxGroupLookups is the number of results that are cached.
	maxGroupLookups = 10_000
	// maxCheckedGroups is the maximum number of groups in a request to Graph ("Check member groups" in the
	// documentation of Microsoft Graph).
	maxCheckedGroups = 20
	// maxGroupsSize is the maximum size of a response in bytes.
	maxGroupsSize = 64 << 10
)

// graphHosts are the hosts of Microsoft Graph by the host of the authority ("Microsoft Graph national cloud
// deployments" in Microsoft's documentation, and the environments of its PowerShell module).
var graphHosts = map[string]string{
	entra.CloudPublic.Host():       "graph.microsoft.com",
	entra.CloudUSGovernment.Host(): "graph.microsoft.us",
	entra.CloudChina.Host():        "microsoftgraph.chinacloudapi.cn",
	entra.CloudBleu.Host():         "graph.svc.sovcloud.fr",
	entra.CloudDelos.Host():        "graph.svc.sovcloud.de",
	entra.CloudGovSG.Host():        "graph.svc.sovcloud.sg",
}

// Group returns a Rule that admits clients that act for a user who is in at least one of the groups, given by their
// object IDs (GUIDs). Apps that act for themselves are rejected. A group does not limit the client of the user, so
// combine Group with [Scope]. The error has [ReasonMissingGroup].
//
// Tokens have groups only if the app registration of the API requests the groups claim. A user in more than 200 groups
// gets a token without them ([Claims.GroupsOverage]). Group then looks up the given groups in Microsoft Graph if
// Config.GraphTokens is set, with the context of the call of [Verifier.Verify]. Nested groups count. A result is
// cached for five minutes. If the lookup fails, the caller is rejected with [ReasonGroupsUnavailable]. Without
// Config.GraphTokens, such a user is rejected with [ReasonGroupsOverage].
//
// Group panics if groups is empty or has an entry that is not a GUID. The name of a group is not an ID: it can change,
// and several groups can have it.
//
// Source: "Groups overage claim" in Microsoft's access token claims reference.
func Group(groups ...string) Rule {
	ids := slices.Sorted(slices.Values(mustBeGUIDs("Group", groups)))
	return func(t *Token) error {
		c := t.Claims()
		if c == nil {
			return reject(ReasonNotVerified)
		}
		_, isUser := c.User()
		switch {
		case !isUser:
			return missing(ReasonMissingGroup, ids)
		case c.Groups.HasAny(ids...):
			return nil
		case !c.GroupsOverage:
			return missing(ReasonMissingGroup, ids)
		case t.inGroup == nil:
			return reject(ReasonGroupsOverage)
		}
		member, err := t.inGroup(ids)
		if err == nil && !member {
			err = missing(ReasonMissingGroup, ids)
		}
		return err
	}
}

// RequireGroup returns middleware that applies the rule [Group], as [Require] does.
func RequireGroup(groups ...string) func(http.Handler) http.Handler {
	return Require(Group(groups...))
}

// groupLookups looks up in Microsoft Graph whether users are in groups.
type groupLookups struct {
	host   string
	tokens func(tenantID string) (*entra.TokenSource, error)
	client *http.Client
	calls  safecall.Limiter // of request, for all tenants
	budget *retry.Budget
	logger *slog.Logger

	mu          sync.Mutex // makes reading and writing of entries and of tenantCalls one step
	entries     *lru.Cache[groupKey, *groupLookup]
	tenantCalls *lru.Cache[string, safecall.Limiter] // of request, by tenant ID
	paused      *lru.Cache[string, pause]            // by tenant ID
}

// pause is a time in which no lookups of a tenant are sent, because a response had a Retry-After header or a lookup
// timed out. Callers get err instead.
type pause struct {
	until time.Time
	err   error
}

// groupKey identifies the question whether a user is in one of some groups.
type groupKey struct {
	user   User
	groups string // sorted, separated by spaces
}

// groupLookup is a lookup in flight or its result. The other fields are constant once done is closed.
type groupLookup struct {
	done   chan struct{}
	member bool
	err    error
	until  time.Time
}

// valid reports whether a caller may wait for l or use its result.
func (l *groupLookup) valid(now time.Time) bool {
	select {
	case <-l.done:
		return since(l.until, now) < 0
	default:
		return true
	}
}

// newGroupLookups returns nil if cfg does not allow lookups.
func newGroupLookups(r *rules, cfg Config, logger *slog.Logger) *groupLookups {
	if cfg.GraphTokens == nil {
		return nil
	}
	entries, _ := lru.New[groupKey, *groupLookup](maxGroupLookups) // fails only for sizes below 1
	paused, _ := lru.New[string, pause](maxKeyTenants)
	tenantCalls, _ := lru.New[string, safecall.Limiter](maxKeyTenants)
	return &groupLookups{
		paused: paused, tenantCalls: tenantCalls,
		host: r.graphHost, tokens: cfg.GraphTokens, client: cfg.HTTPClient,
		calls: make(safecall.Limiter, maxGroupRequests), budget: retry.NewBudget(), logger: logger, entries: entries,
	}
}

// setGraphHost sets the host of Microsoft Graph.
func (r *rules) setGraphHost(cfg Config) error {
	r.graphHost = cmp.Or(cfg.GraphHost, graphHosts[r.host])
	if r.graphHost == "" && r.cloud.ExternalID() {
		r.graphHost = graphHosts[entra.CloudPublic.Host()]
	}
	if cfg.GraphTokens != nil && r.graphHost == "" {
		return errors.New("Config.GraphHost is empty; set it to the host of Microsoft Graph in this cloud")
	}
	if u, err := url.Parse("https://" + cfg.GraphHost); err != nil || u.Host != cfg.GraphHost {
		return errors.New("Config.GraphHost is not a host, such as graph.microsoft.com")
	}
	return nil
}

// bind allows rules to look up the groups of t until ctx ends, if t has too many groups. It returns t.
func (g *groupLookups) bind(ctx context.Context, t *Token) *Token {
	if c := t.Claims(); g != nil && c != nil && c.GroupsOverage {
		if user, ok := c.User(); ok {
			t.inGroup = func(groups []string) (bool, error) { return g.inGroup(ctx, user, groups) }
		}
	}
	return t
}

// inGroup reports whether the user is in one of the groups. Callers with the same question share one lookup. It has a
// context of its own, so a caller that stops waiting does not cancel it.
func (g *groupLookups) inGroup(ctx context.Context, user User, groups []string) (bool, error) {
	l := g.join(user, groups)
	select {
	case <-l.done:
		return l.member, l.err
	case <-ctx.Done():
		return false, &Error{Reason: ReasonGroupsUnavailable, Err: ctx.Err()}
	}
}

func (g *groupLookups) join(user User, groups []string) *groupLookup {
	key := groupKey{user, strings.Join(groups, " ")}
	g.mu.Lock()
	defer g.mu.Unlock()
	if l, ok := g.entries.Get(key); ok && l.valid(time.Now()) {
		return l
	}
	l := &groupLookup{done: make(chan struct{})}
	g.entries.Add(key, l)
	go g.run(l, user, groups)
	return l
}

// run looks up the user's groups and stores the result in l.
func (g *groupLookups) run(l *groupLookup, user User, groups []string) {
	defer close(l.done)
	if p, ok := g.paused.Get(user.TenantID); ok && since(p.until, time.Now()) < 0 {
		l.err, l.until = p.err, p.until
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupsTimeout)
	defer cancel()
	for chunk := range slices.Chunk(groups, maxCheckedGroups) {
		retrier := g.budget.Start(retry.Sleep)
		l.member, l.err = g.requestSafely(ctx, user, chunk)
		for l.err != nil && retrier.Again(ctx, failure(l.err)) {
			l.member, l.err = g.requestSafely(ctx, user, chunk)
		}
		if l.member || l.err != nil {
			break
		}
	}
	l.until = time.Now().Add(groupsMaxAge)
	if l.err != nil {
		after := failure(l.err).RetryAfter
		wait := min(max(after, minGroupsPause), maxGroupsPause)
		l.until = time.Now().Add(wait)
		if after > 0 || errors.Is(l.err, context.DeadlineExceeded) {
			g.paused.Add(user.TenantID, pause{l.until, l.err})
		}
		g.logger.Warn("verify: failed to look up groups", "error", l.err, "tenant", user.TenantID, "retry_in", wait)
	}
}

// limiter returns the Limiter for the requests of a tenant. An evicted Limiter is replaced by an empty one, so it does
// not bound the requests of all tenants.
func (g *groupLookups) limiter(tenantID string) safecall.Limiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	l, ok := g.tenantCalls.Get(tenantID)
	if !ok {
		l = make(safecall.Limiter, maxTenantGroupRequests)
		g.tenantCalls.Add(tenantID, l)
	}
	return l
}

// requestSafely calls request, whose callbacks may panic and may not return when ctx ends. Until they return, they keep
// their places in the Limiter of the tenant and in g.calls.
func (g *groupLookups) requestSafely(ctx context.Context, user User, groups []string) (bool, error) {
	member, err := safecall.Do(ctx, g.limiter(user.TenantID), func(ctx context.Context) (bool, error) {
		select {
		case g.calls <- struct{}{}:
			defer func() { <-g.calls }()
		case <-ctx.Done():
			return false, ctx.Err()
		}
		return g.request(ctx, user, groups)
	})
	if _, ok := errors.AsType[*Error](err); ok || err == nil {
		return member, err
	}
	if ctx.Err() != nil {
		return false, g.networkError(err)
	}
	return false, &Error{Reason: ReasonGroupsUnavailable, Err: err}
}

// request sends a request for at most maxCheckedGroups groups. The URL is made from the configuration: the address in
// the token's _claim_sources is not used. Every error is an [*Error] with [ReasonGroupsUnavailable].
func (g *groupLookups) request(ctx context.Context, user User, groups []string) (bool, error) {
	source, err := g.tokens(user.TenantID)
	if err == nil && source == nil {
		err = errors.New("the TokenSource is nil")
	}
	if err != nil {
		return false, &Error{Reason: ReasonGroupsUnavailable, Err: fmt.Errorf("Config.GraphTokens: %w", err)}
	}
	tok, err := source.TokenContext(ctx)
	if err != nil {
		return false, &Error{Reason: ReasonGroupsUnavailable, Err: err}
	}
	body, err := json.Marshal(map[string][]string{"groupIds": groups})
	if err != nil {
		return false, g.networkError(err)
	}
	address := "https://" + g.host + "/v1.0/users/" + user.ObjectID + "/checkMemberGroups"
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return false, g.networkError(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	client := *g.client
	client.Transport = &entra.Transport{Source: source, Base: g.client.Transport}
	resp, err := client.Do(req)
	if err != nil {
		return false, g.networkError(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxGroupsSize+1))
	if err != nil {
		return false, g.networkError(err)
	}
	if resp.StatusCode != http.StatusOK {
		retryOnce := resp.StatusCode == http.StatusUnauthorized && replaceRejected(source, tok)
		return false, g.statusError(resp, retryOnce)
	}
	var result struct{ Value *[]string }
	if len(text) > maxGroupsSize || json.Unmarshal(text, &result) != nil || result.Value == nil {
		return false, &Error{Reason: ReasonGroupsUnavailable, Err: errors.New("the response of " + g.host + " is unusable: " +
			httpclient.DescribeBody(resp.StatusCode, resp.Header, len(text)))}
	}
	return slices.ContainsFunc(*result.Value, func(id string) bool {
		return slices.Contains(groups, strings.ToLower(id))
	}), nil
}

// replaceRejected drops tok from the cache after Graph rejected it, unless tok is new. It reports whether the next
// request has another token.
func replaceRejected(source *entra.TokenSource, tok *oauth2.Token) bool {
	info, ok := source.Cached()
	if ok && info.ExpiresAt.Equal(tok.Expiry) && time.Since(info.ObtainedAt) < freshGraphToken {
		return false
	}
	source.Invalidate(tok)
	return true
}

// statusError returns the error for a response that is not a success. If retryOnce is set, the request is sent again
// once.
func (g *groupLookups) statusError(resp *http.Response, retryOnce bool) error {
	text := g.host + " responded with HTTP status " + strconv.Itoa(resp.StatusCode)
	switch resp.StatusCode {
	case http.StatusForbidden:
		text += "; grant the app the permissions User.ReadBasic.All and GroupMember.Read.All of Microsoft Graph"
	case http.StatusNotFound:
		text += ", the user does not exist; Config.GraphTokens must return a source for the tenant that it is called with"
	}
	failed := retry.FromResponse(resp.StatusCode, resp.Header)
	if retryOnce {
		failed.Transient, failed.Once = true, true
	}
	return &Error{
		Reason: ReasonGroupsUnavailable, StatusCode: resp.StatusCode,
		Err: &requestError{text: text, failure: failed},
	}
}

// networkError returns the error for a request to Microsoft Graph that got no response.
func (g *groupLookups) networkError(err error) error {
	return networkError(ReasonGroupsUnavailable, g.host, err)
}
