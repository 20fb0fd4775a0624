package credentials

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/tokenproxy"
)

// WorkloadIdentityOptions configures [WorkloadIdentity].
type WorkloadIdentityOptions struct {
	// TokenFile is the file in which Kubernetes renews the token. Defaults to the value of
	// the environment variable AZURE_FEDERATED_TOKEN_FILE.
	TokenFile string
	// EnableAzureProxy sends token requests through the proxy of identity bindings in Azure
	// Kubernetes Service if the environment variable AZURE_KUBERNETES_TOKEN_PROXY is set, as the
	// option of the same name in azidentity does. It then trusts the certificate authorities in
	// AZURE_KUBERNETES_CA_FILE, which may change, or AZURE_KUBERNETES_CA_DATA, and expects the
	// name in AZURE_KUBERNETES_SNI_NAME. By default these variables are not used, and an error of
	// Entra about the token says so.
	EnableAzureProxy bool
	// Logger receives a record when a new token is loaded (level Info), when the changed file
	// cannot be used, and when the token has expired (Warn). If nil, nothing is logged.
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
	return workloadIdentity(os.Getenv, orZero(opts))
}

func workloadIdentity(getenv func(string) string, o WorkloadIdentityOptions) (entra.Credential, error) {
	path := o.TokenFile
	if path == "" {
		if path = getenv("AZURE_FEDERATED_TOKEN_FILE"); path == "" {
			return entra.Credential{}, invalid("AZURE_FEDERATED_TOKEN_FILE is not set; " +
				"the pod needs the label azure.workload.identity/use: \"true\" and a service account that the app trusts, " +
				"or set WorkloadIdentityOptions.TokenFile")
		}
	}
	f := &file{kind: "federated token", paths: []string{path}, logger: o.Logger}
	var proxy http.RoundTripper
	if o.EnableAzureProxy {
		var err error
		if proxy, err = tokenproxy.New(getenv); err != nil {
			return entra.Credential{}, invalid("cannot use the proxy of identity bindings: %s", redacted(err.Error()))
		}
	} else if getenv(tokenproxy.Variable) != "" {
		f.hint = tokenproxy.Variable + " is set but not used; if the cluster uses identity bindings, set EnableAzureProxy"
	}
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
		v.info.Warning = f.hint
		if !claims.expiry.IsZero() {
			v.attrs = []slog.Attr{slog.Time("not_after", claims.expiry.UTC().Truncate(time.Second))}
		}
		return v, nil
	}
	cred, err := f.open()
	if err != nil || proxy == nil {
		return cred, err
	}
	return cred.WithTransport(proxy), nil
}
