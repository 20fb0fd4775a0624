package credentials

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra"
)

// WorkloadIdentityConfig says where the token of a Kubernetes service account is. Its
// zero value is right in a pod that Azure Workload Identity has prepared.
type WorkloadIdentityConfig struct {
	// TokenFile is the file in which Kubernetes renews the token. Zero: the value of
	// AZURE_FEDERATED_TOKEN_FILE.
	TokenFile string
	// Logger is told when what the file has become cannot be used, and when the token has
	// ended since nothing renews it (level Warn), and of each new token (Info). Zero:
	// silent.
	Logger *slog.Logger
}

// WorkloadIdentity is the token of a Kubernetes service account, or any other that is
// kept in a file, as a client assertion: the app registration trusts the cluster's issuer
// and the service account in a federated credential. The file is read anew when it
// changes.
//
// The error, an [*entra.Error] with the code "invalid_client", names the file and says
// what is wrong with it. [FromEnvironment] takes the app's and the tenant's ID from the pod,
// too.
//
// Source: "Microsoft Entra Workload ID on Azure Kubernetes Service".
func WorkloadIdentity(cfg WorkloadIdentityConfig) (entra.Credential, error) {
	path := cfg.TokenFile
	if path == "" {
		if path = os.Getenv("AZURE_FEDERATED_TOKEN_FILE"); path == "" {
			return entra.Credential{}, refuse("the environment has no AZURE_FEDERATED_TOKEN_FILE; " +
				`the pod needs the label azure.workload.identity/use: "true" and the service account that the app trusts, or name the file in the configuration`)
		}
	}
	f := &files{kind: "federated token", paths: []string{path}, logger: cfg.Logger}
	f.parse = func(_ context.Context, contents [][]byte) (version, error) {
		token := strings.TrimSpace(string(contents[0]))
		if token == "" {
			return version{}, refuse("the federated token file %q is empty", path)
		}
		exp, ok := jwtExpiry(token)
		if !ok {
			return version{}, refuse("the federated token file %q holds no JWT", path)
		}
		v := version{credential: assertion(token), notAfter: exp}
		if !exp.IsZero() {
			v.attrs = []slog.Attr{slog.Time("not_after", exp.UTC().Truncate(time.Second))}
		}
		return v, nil
	}
	return f.open()
}
