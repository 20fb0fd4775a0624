package cli

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/internal/redact"
	"github.com/entratoken/entra/internal/tokenproxy"
)

// options are the flags and arguments of a command.
type options struct {
	tenant, client, cloud, region string
	scopes                        []string
	ca                            string
	timeout                       time.Duration
	json, raw                     bool
	assertion                     string // only of the command token
	identity                      string

	secretFile, secretEnv     string
	secretStdin               bool
	certificate, key          string
	passwordFile, passwordEnv string
	sendChain, rs256          bool
	federatedFile, managed    string
	github, azureProxy        bool
}

// errUsage reports wrong usage that was already printed.
var errUsage = errors.New("usage")

// parse reads the arguments of a command.
func (s *System) parse(command string, args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("entra "+command, flag.ContinueOnError)
	f.SetOutput(io.Discard) // it would print the arguments unescaped
	f.StringVar(&o.tenant, "tenant", "", "")
	f.StringVar(&o.client, "client", "", "")
	f.StringVar(&o.cloud, "cloud", "", "")
	f.StringVar(&o.region, "region", "", "")
	f.StringVar(&o.ca, "ca", "", "")
	f.DurationVar(&o.timeout, "timeout", 60*time.Second, "")
	f.BoolVar(&o.json, "json", false, "")
	f.StringVar(&o.secretFile, "secret-file", "", "")
	f.StringVar(&o.secretEnv, "secret-env", "", "")
	f.BoolVar(&o.secretStdin, "secret-stdin", false, "")
	f.StringVar(&o.certificate, "certificate", "", "")
	f.StringVar(&o.key, "key", "", "")
	f.StringVar(&o.passwordFile, "password-file", "", "")
	f.StringVar(&o.passwordEnv, "password-env", "", "")
	f.BoolVar(&o.sendChain, "send-chain", false, "")
	f.BoolVar(&o.rs256, "rs256", false, "")
	f.StringVar(&o.federatedFile, "federated-token-file", "", "")
	f.BoolVar(&o.github, "github", false, "")
	f.BoolVar(&o.azureProxy, "azure-proxy", false, "")
	f.StringVar(&o.managed, "managed-identity", "", "")
	f.StringVar(&o.identity, "identity", "", "")
	if command == "token" {
		f.BoolVar(&o.raw, "raw", false, "")
		f.StringVar(&o.assertion, "assertion", "", "")
	}
	for _, a := range args {
		if name := strings.TrimLeft(a, "-"); name != a {
			switch name, _, _ = strings.Cut(name, "="); name {
			case "secret", "client-secret", "password", "token":
				return nil, s.usageError(command, "-"+name+
					" is not accepted, because other users can see the command line and the shell saves it; "+
					"use -secret-file, -secret-stdin or -secret-env, and replace the secret that you typed")
			}
		}
		if a == "--" {
			break
		}
	}
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(s.Stderr, usageOf(command))
			return nil, err
		}
		fmt.Fprintf(s.Stderr, "%s\n%s", redact.Text(err.Error(), 200), usageOf(command))
		return nil, errUsage
	}
	o.scopes = f.Args()
	if problem := o.conflict(); problem != "" {
		return nil, s.usageError(command, problem)
	}
	return o, nil
}

func (s *System) usageError(command, problem string) error {
	fmt.Fprintf(s.Stderr, "entra %s: %s\n", command, problem)
	return errUsage
}

// conflict describes flags that cannot be used together, or returns "".
func (o *options) conflict() string {
	var given []string
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"-secret-file", o.secretFile != ""}, {"-secret-env", o.secretEnv != ""}, {"-secret-stdin", o.secretStdin},
		{"-certificate", o.certificate != ""}, {"-federated-token-file", o.federatedFile != ""}, {"-github", o.github},
		{"-managed-identity", o.managed != ""},
	} {
		if k.set {
			given = append(given, k.name)
		}
	}
	switch {
	case looksLikeSecret(o.secretFile) || looksLikeSecret(o.passwordFile):
		return "-secret-file and -password-file take the name of a file, but this looks like a secret; replace the " +
			"secret, because other users can read the command line"
	case o.secretEnv != "" && !variable.MatchString(o.secretEnv) || o.passwordEnv != "" &&
		!variable.MatchString(o.passwordEnv):
		return "-secret-env and -password-env take the name of an environment variable, but this is not such a name; " +
			"if it is a secret, replace it, because other users can read the command line"
	case len(given) > 1:
		return strings.Join(given, " and ") + " select different credentials; give one"
	case o.identity != "" && (len(given) > 0 || o.tenant != "" || o.client != "" || o.region != "" || o.ca != ""):
		return "-identity needs neither an app registration nor its credential; leave out -tenant, -client, -region, -ca " +
			"and the flags of credentials"
	case o.identity != "" && o.assertion != "":
		return "-identity and -assertion cannot be combined: a managed identity does not act for users"
	case o.certificate == "" && (o.key != "" || o.passwordFile != "" || o.passwordEnv != "" || o.sendChain || o.rs256):
		return "-key, -password-file, -password-env, -send-chain and -rs256 need -certificate"
	case o.passwordFile != "" && o.passwordEnv != "":
		return "-password-file and -password-env cannot be combined"
	case o.raw && o.json:
		return "-raw prints only the token and -json everything else; give one"
	case o.secretStdin && o.assertion == "-":
		return "-secret-stdin and -assertion - both read standard input; use a file for one"
	case o.assertion == "" && len(o.scopes) > 1:
		return "a token for the app itself has one scope; give one"
	case o.timeout <= 0:
		return "-timeout must be positive"
	}
	return ""
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// looksLikeSecret reports whether a file name looks like a secret of Entra, which has a tilde
// and no slash.
func looksLikeSecret(name string) bool {
	return len(name) >= 30 && strings.Contains(name, "~") && !strings.ContainsAny(name, `/\`)
}

// clouds are the names that -cloud accepts in addition to a host.
var clouds = map[string]entra.Cloud{
	"public": entra.CloudPublic, "usgov": entra.CloudUSGovernment, "china": entra.CloudChina,
	"bleu": entra.CloudBleu, "delos": entra.CloudDelos, "govsg": entra.CloudGovSG,
}

// graphs are the URLs of Microsoft Graph in each cloud.
//
// Source: "National cloud deployments" in the documentation of Microsoft Graph.
var graphs = map[entra.Cloud]string{
	entra.CloudUSGovernment: "https://graph.microsoft.us", entra.CloudChina: "https://microsoftgraph.chinacloudapi.cn",
	"login-us.microsoftonline.com": "https://graph.microsoft.us",
}

func (s *System) cloud(o *options) entra.Cloud {
	name := o.cloud
	if name == "" {
		name = s.env("AZURE_AUTHORITY_HOST")
	}
	if c, ok := clouds[strings.ToLower(name)]; ok {
		return c
	}
	name = strings.TrimSuffix(name, "/") // Azure's tools use a URL
	return entra.Cloud(strings.TrimPrefix(name, "https://"))
}

func (o *options) scope(cloud entra.Cloud) string {
	if len(o.scopes) > 0 {
		return o.scopes[0]
	}
	graph := "https://graph.microsoft.com"
	if g, ok := graphs[entra.Cloud(cloud.Host())]; ok {
		graph = g
	}
	return graph + "/.default"
}

// roots returns the certificate authorities to trust, or nil for those of the system.
func (o *options) roots() (*x509.CertPool, error) {
	if o.ca == "" {
		return nil, nil
	}
	pem, err := readFile(o.ca, maxCA)
	if err != nil {
		return nil, fmt.Errorf("reading the file of -ca failed: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("the file of -ca, %s, has no PEM certificate", o.ca)
	}
	return pool, nil
}

func (s *System) transport(o *options) (http.RoundTripper, error) {
	if s.Transport != nil {
		return s.Transport, nil
	}
	if o.azureProxy {
		if proxy, err := tokenproxy.New(s.getenv); proxy != nil || err != nil {
			return proxy, err
		}
	}
	pool, err := o.roots()
	if err != nil {
		return nil, err
	}
	return httprecord.Transport(pool), nil
}
