package entra

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/entratoken/entra/internal/externalid"
	"github.com/entratoken/entra/internal/guid"
	"github.com/entratoken/entra/internal/neterr"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/retry"
	"github.com/entratoken/entra/internal/safecall"
)

const (
	discoveryTTL      = 24 * time.Hour   // how long a document is used before it is requested again
	discoveryRetry    = time.Minute      // how long a stale document is used after a failed request
	discoveryTimeout  = 10 * time.Second // of one request
	discoveryTotal    = 25 * time.Second // of a request and its retries, even after its caller has left
	discoveryMinCount = 1000             // documents that are always cached
)

// A discovery caches OpenID Connect discovery documents (OpenID Connect Discovery 1.0,
// section 4), which each MSAL client requests again. Concurrent requests for one
// document are sent once, and a stale document is used if it cannot be replaced. Without one, a failed request is
// retried, whether its caller still waits or not: others may share it, and at most two follow.
type discovery struct {
	transport  *msalTransport
	sessions   func() int // sessions in the token cache; each tenant in use has one
	externalID bool       // the authority is an external tenant's
	flight     singleflight.Group

	mu        sync.Mutex // guards documents
	documents *simplelru.LRU[string, document]
}

type document struct {
	response *response
	useUntil time.Time
}

func newDiscovery(t *msalTransport, sessions func() int, externalID bool) *discovery {
	documents, _ := simplelru.NewLRU[string, document](math.MaxInt, nil) // store evicts; fails only for sizes below 1
	return &discovery{transport: t, sessions: sessions, externalID: externalID, documents: documents}
}

// get returns the document that req requests.
func (d *discovery) get(req *http.Request) (*response, *Error) {
	key := strings.ToLower(req.URL.String())
	if doc, ok := d.lookup(key); ok && time.Now().Before(doc.useUntil) {
		return doc.response, nil
	}
	ctx := req.Context()
	done := d.flight.DoChan(key, func() (any, error) {
		if doc, ok := d.lookup(key); ok && time.Now().Before(doc.useUntil) { // another flight finished in between
			return doc.response, nil
		}
		_, stale := d.lookup(key)
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTotal)
		defer cancel()
		retries := d.transport.budget.Start(retry.Sleep)
		for {
			resp, err := d.fetch(ctx, req)
			if err == nil || stale || !retries.Again(ctx, err.passing(false)) {
				return d.store(key, resp, err)
			}
		}
	})
	select {
	case r := <-done:
		resp, _ := r.Val.(*response)
		if resp == nil {
			return nil, r.Err.(*Error)
		}
		return resp, nil
	case <-ctx.Done():
		text := "the discovery request to " + req.URL.Host + " timed out"
		return nil, &Error{Code: CodeRequestFailed, Description: text, Err: ctx.Err()}
	}
}

// fetch requests a document and parses it. A transport may hang or panic, and a panic in a
// goroutine of singleflight would end the program.
func (d *discovery) fetch(ctx context.Context, req *http.Request) (*response, *Error) {
	ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
	defer cancel()
	resp, err := safecall.Do(ctx, nil, func(ctx context.Context) (*response, error) {
		resp, failed := d.transport.send(req.Clone(ctx))
		if failed == nil {
			resp, failed = d.parse(req.URL, resp)
		}
		if failed != nil {
			return nil, failed
		}
		return resp, nil
	})
	if err == nil {
		return resp, nil
	}
	if failed, ok := errors.AsType[*Error](err); ok {
		return nil, failed
	}
	failed := errorf(CodeRequestFailed, "discovery request to %s failed: %s", req.URL.Host, err)
	if failed.Err = neterr.Cause(err); failed.Err != nil { // not a panic
		failed.connection = connectionFailed
	}
	return nil, failed
}

// store caches a document. After a failed request it extends the use of the stale one.
func (d *discovery) store(key string, resp *response, failed *Error) (any, error) {
	ttl := discoveryTTL
	if failed != nil {
		stale, ok := d.lookup(key)
		if !ok {
			return nil, failed
		}
		resp, ttl = stale.response, discoveryRetry
	}
	limit := max(discoveryMinCount, d.sessions())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.documents.Add(key, document{resp, time.Now().Add(ttl)})
	for d.documents.Len() > limit {
		d.documents.RemoveOldest()
	}
	return resp, nil
}

func (d *discovery) lookup(key string) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.documents.Get(key)
}

// parse validates the document at u and reduces it to the members that MSAL reads, since
// each MSAL client parses it again.
func (d *discovery) parse(u *url.URL, resp *response) (*response, *Error) {
	var doc struct {
		Issuer                string `json:"issuer"`
		AuthorizationEndpoint string `json:"authorization_endpoint"`
		TokenEndpoint         string `json:"token_endpoint"`
	}
	isJSON := json.Unmarshal(resp.body, &doc) == nil
	switch {
	case resp.status == http.StatusOK && isJSON &&
		doc.Issuer != "" && doc.AuthorizationEndpoint != "" && doc.TokenEndpoint != "":
	case resp.status != http.StatusOK && isJSON:
		return nil, parseErrorResponse(resp, redact.Redactor{}, "")
	default:
		e := errorf(CodeInvalidResponse, "the discovery response of %s is %s", u.Host, notOAuth(resp))
		e.StatusCode = resp.status
		return nil, e
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !d.externalID && microsoftCloud(u.Host) == "" && externalid.Tenant(lowerHost(doc.Issuer)) != "" {
		return nil, errorf("invalid_request", "%s is a custom URL domain of External ID; "+
			"set Config.Cloud to entra.ExternalIDCloud(%[1]q)", u.Host)
	}
	if d.externalID {
		id := externalid.Tenant(lowerHost(doc.Issuer))
		if id == "" || guid.Valid(tenant) && !strings.EqualFold(tenant, id) {
			return nil, errorf(CodeInvalidResponse, "the discovery document of %s "+
				"names the issuer of another tenant", u.Host)
		}
		// MSAL requires an issuer on the authority's host and does not know External ID's.
		doc.Issuer = "https://" + u.Host + "/" + id + "/v2.0"
	}
	for _, endpoint := range []string{doc.TokenEndpoint, doc.AuthorizationEndpoint, doc.Issuer} {
		e, err := url.Parse(endpoint)
		if err != nil {
			return nil, errorf(CodeInvalidResponse, "the discovery document of %s contains an invalid URL", u.Host)
		}
		if e.Scheme != u.Scheme || e.Host != u.Host || e.User != nil { // u itself is allowed
			if failed := d.transport.allow(e); failed != nil {
				return nil, failed
			}
		}
		// The endpoints of a tenant that was named by its ID must be that tenant's. For a
		// domain the document contains the ID.
		prefix := "/" + strings.ToLower(tenant) + "/"
		path := strings.ToLower(e.Path)
		if guid.Valid(tenant) && (!strings.HasPrefix(path, prefix) || strings.Contains(path, "..")) {
			return nil, errorf(CodeInvalidResponse, "the discovery document of tenant %s "+
				"names a URL of another tenant", tenant)
		}
	}
	body, _ := json.Marshal(doc) // strings always marshal
	return &response{status: resp.status, body: body}, nil
}
