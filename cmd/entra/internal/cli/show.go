package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/managedidentity"
	"github.com/entratoken/entra/obo"
)

// order is the order of claims: audience, issuer, client and user, permissions, others,
// times. Further claims follow in alphabetical order.
var order = []string{
	"aud", "iss", "tid", "appid", "azp", "app_displayname", "idtyp", "oid", "sub", "name", "preferred_username", "upn",
	"roles", "scp", "appidacr", "azpacr", "acr", "acrs", "amr", "xms_cc", "ver", "iat", "nbf", "exp",
}

// show prints a report as text.
func (s *System) show(r *report) {
	p := s.printer()
	flow := "app-only (client credentials)"
	switch r.Flow {
	case obo.FlowName:
		flow = "for a user (on behalf of)"
	case managedidentity.FlowName:
		flow = "of a managed identity"
	}
	p.line("token", flow+", for "+redact.Text(strings.Join(r.Scopes, " "), 400))
	lifetime := fmt.Sprintf("%s, expires %s", r.Expires.Sub(r.Obtained).Round(time.Second),
		r.Expires.Format(time.DateTime+"Z"))
	if !r.RefreshAt.IsZero() {
		lifetime += fmt.Sprintf(", refreshed from %s on", r.RefreshAt.Format(time.DateTime+"Z"))
	}
	p.line("lifetime", lifetime)
	p.line("from", r.Authority)
	if r.Region != "" {
		p.line("", "in region "+r.Region)
	}
	credential := r.Credential
	if r.Thumbprint != "" {
		credential += ", thumbprint " + r.Thumbprint
	}
	if r.CertExpires != nil {
		days := int(time.Until(*r.CertExpires).Hours() / 24)
		credential += fmt.Sprintf(", expires %s (%d days)", r.CertExpires.UTC().Format(time.DateOnly), days)
	}
	if r.ClientID != "" {
		p.line("client", r.ClientID+", "+redact.Text(credential, 400))
	}
	if r.Identity != "" {
		p.line("identity", redact.Text(r.Identity, 300))
	}
	p.requests(r.Requests)
	if r.Opaque != "" {
		p.line("claims", "the token cannot be decoded: "+r.Opaque)
		return
	}
	p.line("claims", "decoded for display, not verified")
	p.claims(r.Claims)
}

func (p *printer) requests(list []request) {
	for i, q := range list {
		head := ""
		if i == 0 {
			head = "requests"
		}
		outcome := fmt.Sprint(q.Status)
		if q.Status == 0 {
			outcome = "no response"
		}
		kind := q.Kind
		if kind == "" {
			kind = "other"
		}
		p.wrapped(fmt.Sprintf("%-10s%-5s", head, q.Method), 15, fmt.Sprintf("%s %s: %s in %d ms", q.Host, kind, outcome,
			q.Millis))
	}
}

func (p *printer) claims(claims map[string]any) {
	names := slices.SortedFunc(maps.Keys(claims), func(a, b string) int {
		i, j := slices.Index(order, a), slices.Index(order, b)
		switch {
		case i >= 0 && j >= 0:
			return i - j
		case i >= 0:
			return -1
		case j >= 0:
			return 1
		case a < b:
			return -1
		}
		return 1
	})
	width := 0
	for _, n := range names {
		width = max(width, min(len(n), 30))
	}
	for _, n := range names {
		head := fmt.Sprintf("  %-*s  ", width, redact.Text(n, 60))
		p.wrapped(head, len(head), claimText(claims, n))
	}
}

// claimText returns the text of a claim.
func claimText(claims map[string]any, name string) string {
	switch name {
	case "iat", "nbf", "exp", "auth_time", "xms_tcdt":
		if t := jwt.Time(claims, name); !t.IsZero() {
			return fmt.Sprintf("%v (%s)", claims[name], t.Format(time.DateTime+"Z"))
		}
	}
	if text, ok := claims[name].(string); ok {
		return redact.Text(text, 1000)
	}
	b, err := json.Marshal(claims[name])
	if err != nil {
		return "?"
	}
	return redact.Text(string(b), 2000)
}
