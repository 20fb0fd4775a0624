package doctor

import (
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// A Question is what a token was asked with.
type Question struct {
	App        entra.Config
	Credential Credential
	Scope      string
	Assertion  *wire.Assertion // nil if none was sent
	Reached    bool            // the authority has answered something
}

// Explain returns what an error says, and what to do about it, "" if that is all.
func Explain(err error, q Question) (text, advice string) {
	return describe(err), adviceFor(asError(err), facts{
		tenant: q.App.TenantID, client: q.App.ClientID, cloud: q.App.Cloud.Host(), region: q.App.Region,
		resource: strings.TrimSuffix(q.Scope, "/.default"), cred: q.Credential, assertion: q.Assertion, reached: q.Reached,
	})
}
