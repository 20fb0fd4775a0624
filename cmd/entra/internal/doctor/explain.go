package doctor

import (
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// A Question is what a token was asked with, and what came of it.
type Question struct {
	App        entra.Config
	Credential Credential
	Scope      string
	Requests   []wire.Request
}

// Explain returns what an error says, and what to do about it, "" if that is all.
func Explain(err error, q Question) (text, advice string) {
	return describe(err), adviceFor(asError(err), q.facts())
}

func (q *Question) facts() facts {
	f := facts{
		tenant: q.App.TenantID, client: q.App.ClientID, cloud: q.App.Cloud.Host(), region: q.App.Region,
		resource: strings.TrimSuffix(q.Scope, "/.default"), cred: q.Credential,
	}
	f.asked = len(q.Requests) > 0
	for _, r := range q.Requests {
		if r.Kind == "discovery" {
			f.tried, f.reached = true, f.reached || r.Status != 0
		}
		if r.Kind == "token" {
			f.sent, f.assertion = true, r.Assertion
		}
		label, _, _ := strings.Cut(r.Host, ".")
		f.regionFailed = f.region != "" && label == f.region && r.Status == 0
	}
	return f
}
