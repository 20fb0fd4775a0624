package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/cmd/entra/internal/doctor"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/managedidentity"
	"github.com/entratoken/entra/obo"
)

// report describes a token without containing it.
type report struct {
	Flow        string         `json:"flow"`
	Authority   string         `json:"authority"`
	ClientID    string         `json:"client_id,omitempty"`
	Credential  string         `json:"credential,omitempty"`
	Identity    string         `json:"identity,omitempty"` // the value of -identity
	Thumbprint  string         `json:"certificate_thumbprint,omitempty"`
	CertExpires *time.Time     `json:"certificate_expires,omitempty"`
	Region      string         `json:"region,omitempty"`
	Scopes      []string       `json:"scopes"`
	Obtained    time.Time      `json:"obtained"`
	RefreshAt   time.Time      `json:"refresh_at,omitzero"`
	Expires     time.Time      `json:"expires"`
	Requests    []request      `json:"requests"`
	Claims      map[string]any `json:"claims,omitempty"` // nil if the token cannot be decoded
	Opaque      string         `json:"opaque,omitempty"` // why the token cannot be decoded
	Verified    bool           `json:"claims_verified"`  // always false
}

type request struct {
	Method string `json:"method"`
	Host   string `json:"host"`
	Kind   string `json:"kind,omitempty"`
	Status int    `json:"status"`
	Millis int64  `json:"took_ms"`
}

// failure describes an error.
type failure struct {
	Code          string    `json:"code"`
	AADSTS        []int     `json:"aadsts,omitempty"`
	Description   string    `json:"description"`
	Advice        string    `json:"advice,omitempty"`
	CorrelationID string    `json:"correlation_id,omitempty"`
	TraceID       string    `json:"trace_id,omitempty"`
	Requests      []request `json:"requests"`
}

func (s *System) token(ctx context.Context, o *options) int {
	if o.identity != "" {
		return s.identityToken(ctx, o)
	}
	transport, err := s.transport(o)
	if err != nil {
		fmt.Fprintln(s.Stderr, "entra token:", redact.Text(err.Error(), 300))
		return Usage
	}
	recorder := &httprecord.Recorder{Base: transport}
	cfg, err := s.app(o)
	var facts doctor.Credential
	if err == nil {
		cfg.Credential, facts, err = s.open(o, cfg, recorder)
	}
	var source *entra.TokenSource
	var client *entra.Client
	if err == nil {
		cfg.HTTPClient = httpClient(recorder)
		client, err = entra.New(cfg)
	}
	if err == nil {
		source, err = s.source(o, client)
	}
	var tok *oauth2.Token
	if err == nil {
		tok, err = source.TokenContext(ctx)
	}
	if err != nil {
		a := doctor.Attempt{App: cfg, Credential: facts, Scope: o.scope(cfg.Cloud), Requests: recorder.Requests()}
		return s.failed(o, err, a)
	}
	if o.raw {
		fmt.Fprintln(s.Stdout, tok.AccessToken)
		return Success
	}
	r := report{
		Flow: clientcreds.FlowName, Authority: "https://" + client.Cloud().Host() + "/" + client.TenantID(),
		ClientID:   client.ClientID(),
		Credential: facts.Origin(), Thumbprint: facts.Thumbprint, Region: client.Region(), Scopes: source.Scopes(),
		Requests: requests(recorder.Requests()),
	}
	if o.assertion != "" {
		r.Flow, r.Region = obo.FlowName, ""
	}
	if facts.Thumbprint != "" {
		r.CertExpires = &facts.NotAfter
	}
	return s.reportToken(o, r, source, tok)
}

// identityToken prints a token of the managed identity that -identity selects.
func (s *System) identityToken(ctx context.Context, o *options) int {
	scope := o.scope(s.cloud(o))
	var source *entra.TokenSource
	var tok *oauth2.Token
	identity, err := managedidentity.New(s.identity(o))
	if err == nil {
		source = identity.TokenSource(scope)
		tok, err = source.TokenContext(ctx)
	}
	if err != nil {
		f := failure{Requests: []request{}}
		f.Description, f.Advice = doctor.ExplainIdentity(err)
		return s.noToken(o, err, f)
	}
	if o.raw {
		fmt.Fprintln(s.Stdout, tok.AccessToken)
		return Success
	}
	return s.reportToken(o, report{
		Flow: managedidentity.FlowName, Authority: "managed identity (" + identity.Source() + ")",
		Identity: o.identity,
		Scopes:   source.Scopes(), Requests: []request{},
	}, source, tok)
}

// reportToken completes a report of a token and prints it.
func (s *System) reportToken(o *options, r report, source *entra.TokenSource, tok *oauth2.Token) int {
	if info, ok := source.Cached(); ok {
		r.Obtained, r.RefreshAt, r.Expires = info.ObtainedAt.UTC(), info.RefreshAt.UTC(), info.ExpiresAt.UTC()
	}
	var err error
	if _, r.Claims, err = jwt.Decode(tok.AccessToken); err != nil {
		r.Opaque = err.Error()
	}
	if o.json {
		s.encode(r)
		return Success
	}
	s.show(&r)
	return Success
}

// source returns the token source that the flags select.
func (s *System) source(o *options, c *entra.Client) (*entra.TokenSource, error) {
	if o.assertion == "" {
		scope := o.scope(c.Cloud())
		if err := clientcreds.Check(c, scope); err != nil {
			return nil, err
		}
		return clientcreds.TokenSource(c, scope), nil
	}
	var assertion string
	var err error
	if o.assertion == "-" {
		assertion, err = s.stdin()
	} else {
		assertion, err = readSmall(o.assertion)
		assertion = strings.TrimSpace(assertion)
	}
	if err != nil {
		return nil, &entra.Error{Code: "invalid_request", Description: "reading the assertion failed: " +
			redact.Text(err.Error(), 200)}
	}
	scopes := o.scopes
	if len(scopes) == 0 {
		scopes = []string{o.scope(c.Cloud())}
	}
	return obo.TokenSource(c, assertion, scopes...), nil
}

func requests(recorded []httprecord.Request) []request {
	list := []request{}
	for _, q := range recorded {
		list = append(list, request{q.Method, redact.Text(q.Host, 200), q.Kind, q.Status, q.Took.Milliseconds()})
	}
	return list
}

// failed prints why no token was acquired.
func (s *System) failed(o *options, err error, a doctor.Attempt) int {
	f := failure{Requests: requests(a.Requests)}
	f.Description, f.Advice = doctor.Explain(err, a)
	return s.noToken(o, err, f)
}

// noToken completes the description of an error and prints it.
func (s *System) noToken(o *options, err error, f failure) int {
	f.Code = "failed"
	var e *entra.Error
	if errors.As(err, &e) {
		f.Code, f.AADSTS = redact.Text(e.Code, 100), e.AADSTS
		f.CorrelationID, f.TraceID = redact.Text(e.CorrelationID, 100), redact.Text(e.TraceID, 100)
	}
	if o.json {
		s.encode(struct {
			Error failure `json:"error"`
		}{f})
		return Failure
	}
	p := s.printer()
	p.w = s.Stderr
	p.wrapped("no token  ", 10, f.Code+": "+f.Description)
	if f.Advice != "" {
		p.line("", f.Advice)
	}
	if f.CorrelationID != "" {
		p.line("", requestIDs(f.CorrelationID, f.TraceID))
	}
	p.requests(f.Requests)
	if o.identity == "" {
		p.line("", `"entra doctor" checks the configuration step by step.`)
	}
	return Failure
}
