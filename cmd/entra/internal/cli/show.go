package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/jwt"
	"github.com/entratoken/entra/cmd/entra/internal/plain"
	"github.com/entratoken/entra/obo"
)

// order is that in which claims are shown: for whom, from whom, about whom, what for, when.
// Others follow by name.
var order = []string{
	"aud", "iss", "tid", "appid", "azp", "app_displayname", "idtyp", "oid", "sub", "name", "preferred_username", "upn",
	"roles", "scp", "appidacr", "azpacr", "acr", "acrs", "amr", "xms_cc", "ver", "iat", "nbf", "exp",
}

// show prints a report for people.
func (s *System) show(r *report) {
	p := s.printer()
	kind := "app-only (client credentials)"
	if r.Flow == obo.FlowName {
		kind = "for a user (on behalf of)"
	}
	p.line("token", kind+", for "+plain.Text(strings.Join(r.Scopes, " "), 400))
	now := time.Now()
	p.line("life", fmt.Sprintf("%s, until %s; replaced from %s on", r.Ends.Sub(r.Obtained).Round(time.Second), r.Ends.Format(time.DateTime+"Z"), r.RefreshAt.Format(time.DateTime+"Z")))
	p.line("from", r.Authority)
	if r.Region != "" {
		p.line("", "in region "+r.Region)
	}
	credential := r.Credential
	if r.Thumbprint != "" {
		credential += ", thumbprint " + r.Thumbprint
	}
	if r.CertEnds != nil {
		credential += fmt.Sprintf(", good until %s (%d days)", r.CertEnds.UTC().Format(time.DateOnly), int(r.CertEnds.Sub(now).Hours()/24))
	}
	p.line("by", "app "+r.ClientID+", "+plain.Text(credential, 400))
	p.requests(r.Requests)
	if r.Opaque != "" {
		p.line("claims", "the token cannot be read: "+r.Opaque)
		return
	}
	p.line("claims", "decoded for display; nothing about them is verified")
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
			outcome = "no answer"
		}
		kind := q.Kind
		if kind == "" {
			kind = "other"
		}
		p.wrapped(fmt.Sprintf("%-10s%-5s", head, q.Method), 15, fmt.Sprintf("%s %s: %s in %d ms", q.Host, kind, outcome, q.Millis))
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
	wide := 0
	for _, n := range names {
		wide = max(wide, min(len(n), 30))
	}
	for _, n := range names {
		head := fmt.Sprintf("  %-*s  ", wide, plain.Text(n, 60))
		p.wrapped(head, len(head), value(claims, n))
	}
}

// value is a claim as it is shown.
func value(claims map[string]any, name string) string {
	switch name {
	case "iat", "nbf", "exp", "auth_time", "xms_tcdt":
		if t := jwt.Time(claims, name); !t.IsZero() {
			return fmt.Sprintf("%v (%s)", claims[name], t.Format(time.DateTime+"Z"))
		}
	}
	if text, ok := claims[name].(string); ok {
		return plain.Text(text, 1000)
	}
	b, err := json.Marshal(claims[name])
	if err != nil {
		return "?"
	}
	return plain.Text(string(b), 2000)
}
