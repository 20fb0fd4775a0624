package credentials

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// WorkloadIdentityOptions configures [WorkloadIdentity].
type WorkloadIdentityOptions struct {
	// TokenFile is the file in which Kubernetes renews the token. Defaults to the value of
	// the environment variable AZURE_FEDERATED_TOKEN_FILE.
	TokenFile string
	// Logger logs that a new token was loaded (level Info), and that the changed file cannot
	// be used or the token has expired (Warn). If nil, nothing is logged.
	Logger *slog.Logger
}

// WorkloadIdentity returns a credential whose client assertion is the token of a
// Kubernetes service account, or any other token in a file. The app registration trusts
// the cluster's issuer and the service account in a federated credential. The file is read
// again when it changes. If opts is nil, the defaults are used, which are right in a pod
// with Azure Workload Identity.
//
// The error is an [*entra.Error] with the code "invalid_client". It names the file and the
// problem. [FromEnvironment] also reads the IDs of the app and the tenant from the pod's
// environment.
//
// Source: "Microsoft Entra Workload ID on Azure Kubernetes Service".
func WorkloadIdentity(opts *WorkloadIdentityOptions) (entra.Credential, error) {
	o := orZero(opts)
	path := o.TokenFile
	if path == "" {
		if path = os.Getenv("AZURE_FEDERATED_TOKEN_FILE"); path == "" {
			return entra.Credential{}, invalid("AZURE_FEDERATED_TOKEN_FILE is not set; " +
				"the pod needs the label azure.workload.identity/use: \"true\" and a service account that the app trusts, " +
				"or set WorkloadIdentityOptions.TokenFile")
		}
	}
	f := &file{kind: "federated token", paths: []string{path}, logger: o.Logger}
	f.parse = func(_ context.Context, contents [][]byte) (version, error) {
		token := strings.TrimSpace(string(contents[0]))
		if token == "" {
			return version{}, invalid("the federated token file %q is empty", path)
		}
		claims, ok := parseClaims(token)
		if !ok {
			return version{}, invalid("the federated token file %q does not contain a JWT", path)
		}
		v := version{credential: staticAssertion(token), info: entra.CredentialInfo{Kind: f.kind}}
		claims.describe(&v.info)
		if !claims.expiry.IsZero() {
			v.attrs = []slog.Attr{slog.Time("not_after", claims.expiry.UTC().Truncate(time.Second))}
		}
		return v, nil
	}
	return f.open()
}
