package entra

import (
	"context"
	"encoding/json"
	"errors"
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
	"github.com/entratoken/entra/internal/safecall"
)

const (
	discoveryFresh   = 24 * time.Hour   // how long a document is used without asking again
	discoveryRetry   = time.Minute      // how long a stale one is, after a failure to get a new one
	discoveryTimeout = 10 * time.Second // of one request for a document that nobody waits for any more
	discoveryBound   = 1000             // documents; a multi-tenant app meets one for each tenant
)

// A discovery remembers OpenID Connect discovery documents (OpenID Connect Discovery,
// section 4), for which each of MSAL's clients asks anew. Requests for one document
// are made once, and a stale document is better than none.
type discovery struct {
	fetch   func(*http.Request) (*response, *Error)
	allowed func(*url.URL) *Error
	flight  singleflight.Group

	mu        sync.Mutex // guards documents
	documents *simplelru.LRU[string, document]
}

type document struct {
	response *response
	useUntil time.Time
}

func newDiscovery(fetch func(*http.Request) (*response, *Error), allowed func(*url.URL) *Error) *discovery {
	documents, _ := simplelru.NewLRU[string, document](discoveryBound, nil) // fails only for sizes below 1
	return &discovery{fetch: fetch, allowed: allowed, documents: documents}
}

func (d *discovery) get(req *http.Request) (*response, *Error) {
	key := strings.ToLower(req.URL.String())
	if doc, ok := d.fresh(key); ok {
		return doc, nil
	}
	ctx := req.Context()
	done := d.flight.DoChan(key, func() (any, error) {
		if doc, ok := d.fresh(key); ok { // a flight landed in between
			return doc, nil
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discoveryTimeout)
		defer cancel()
		resp, err := d.request(req.Clone(ctx))
		return d.store(key, resp, err)
	})
	select {
	case r := <-done:
		resp, _ := r.Val.(*response)
		if resp == nil {
			return nil, r.Err.(*Error)
		}
		return resp, nil
	case <-ctx.Done():
		return nil, &Error{Code: CodeRequestFailed, Description: "time ran out while asking " + req.URL.Host + " for its configuration", Err: ctx.Err()}
	}
}

// request fetches a document. A client's transport may panic or hang, and a panic in a goroutine of singleflight ends
// the program.
func (d *discovery) request(req *http.Request) (*response, *Error) {
	resp, err := safecall.Do(req.Context(), nil, func(context.Context) (*response, error) {
		resp, failed := d.fetch(req)
		if failed == nil {
			resp, failed = d.read(req.URL, resp)
		}
		if failed != nil {
			return nil, failed
		}
		return resp, nil
	})
	if failed, ok := errors.AsType[*Error](err); ok {
		return nil, failed
	}
	if err != nil {
		failed := errorf(CodeRequestFailed, "failed to request the configuration of %s: %s", req.URL.Host, err)
		failed.Err = neterr.Cause(err)
		return nil, failed
	}
	return resp, nil
}

// store remembers an answer, or for a while goes on with the stale one.
func (d *discovery) store(key string, resp *response, failed *Error) (any, error) {
	keep := discoveryFresh
	if failed != nil {
		doc, ok := d.lookup(key)
		if !ok {
			return nil, failed
		}
		resp, keep = doc.response, discoveryRetry
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.documents.Add(key, document{resp, time.Now().Add(keep)})
	return resp, nil
}

func (d *discovery) fresh(key string) (*response, bool) {
	doc, ok := d.lookup(key)
	return doc.response, ok && time.Now().Before(doc.useUntil)
}

func (d *discovery) lookup(key string) (document, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.documents.Get(key)
}

// read reduces an answer to what MSAL reads of it, since each of its clients reads it
// again, or says why it is no discovery document for u.
func (d *discovery) read(u *url.URL, resp *response) (*response, *Error) {
	var doc struct {
		Issuer                string `json:"issuer"`
		AuthorizationEndpoint string `json:"authorization_endpoint"`
		TokenEndpoint         string `json:"token_endpoint"`
	}
	isJSON := json.Unmarshal(resp.body, &doc) == nil
	switch {
	case resp.status == http.StatusOK && isJSON && doc.Issuer != "" && doc.AuthorizationEndpoint != "" && doc.TokenEndpoint != "":
	case resp.status != http.StatusOK && isJSON:
		return nil, readError(resp, redact.Redactor{}, "")
	default:
		e := errorf(CodeInvalidResponse, "%s answered the request for its configuration with %s; is a proxy in between?", u.Host, describe(resp))
		e.StatusCode = resp.status
		return nil, e
	}
	tenant, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if Cloud(u.Host).ExternalID() {
		id := externalid.Tenant(lowerHost(doc.Issuer))
		if id == "" || guid.Valid(tenant) && !strings.EqualFold(tenant, id) {
			return nil, errorf(CodeInvalidResponse, "the configuration of %s names an issuer that is not the tenant's own", u.Host)
		}
		// MSAL wants the issuer on the authority's host, and knows nothing of these.
		doc.Issuer = "https://" + u.Host + "/" + id + "/v2.0"
	}
	for _, endpoint := range []string{doc.TokenEndpoint, doc.AuthorizationEndpoint, doc.Issuer} {
		e, err := url.Parse(endpoint)
		if err != nil {
			return nil, errorf(CodeInvalidResponse, "the configuration of %s has an address that is none", u.Host)
		}
		if failed := d.allowed(e); failed != nil {
			return nil, failed
		}
		// The endpoints of a tenant asked for by its ID are that tenant's. One asked for
		// by a domain answers with its ID.
		if guid.Valid(tenant) && (!strings.HasPrefix(strings.ToLower(e.Path), "/"+strings.ToLower(tenant)+"/") || strings.Contains(e.Path, "..")) {
			return nil, errorf(CodeInvalidResponse, "the configuration of tenant %s names an address of another tenant", tenant)
		}
	}
	body, _ := json.Marshal(doc) // strings marshal
	return &response{status: resp.status, body: body}, nil
}
