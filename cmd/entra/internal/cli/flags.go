package cli

import (
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/cmd/entra/internal/plain"
	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

// options are what both commands take.
type options struct {
	tenant, client, cloud, region string
	scopes                        []string
	ca                            string
	timeout                       time.Duration
	json, raw                     bool
	assertion                     string // token alone

	secretFile, secretEnv     string
	secretStdin               bool
	certificate, key          string
	passwordFile, passwordEnv string
	sendChain, rs256          bool
	federatedFile, managed    string
	github                    bool
}

// errUsage is a command that was called wrongly, which has been said already.
var errUsage = errors.New("usage")

// parse reads the arguments of a command.
func (s *System) parse(command string, args []string) (*options, error) {
	o := &options{}
	f := flag.NewFlagSet("entra "+command, flag.ContinueOnError)
	f.SetOutput(io.Discard) // it repeats what was typed as it is
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
	f.StringVar(&o.managed, "managed-identity", "", "")
	if command == "token" {
		f.BoolVar(&o.raw, "raw", false, "")
		f.StringVar(&o.assertion, "assertion", "", "")
	}
	for _, a := range args {
		if name := strings.TrimLeft(a, "-"); name != a {
			switch name, _, _ = strings.Cut(name, "="); name {
			case "secret", "client-secret", "password", "token":
				return nil, s.wrong(command, "-"+name+" is not taken on the command line, where every user of the machine and the shell's history can read it; "+
					"use -secret-file, -secret-stdin or -secret-env, and renew what was just typed")
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
		fmt.Fprintf(s.Stderr, "%s\n%s", plain.Text(err.Error(), 200), usageOf(command))
		return nil, errUsage
	}
	o.scopes = f.Args()
	if problem := o.problem(); problem != "" {
		return nil, s.wrong(command, problem)
	}
	return o, nil
}

func (s *System) wrong(command, problem string) error {
	fmt.Fprintf(s.Stderr, "entra %s: %s\n", command, problem)
	return errUsage
}

// problem says which flags do not go together.
func (o *options) problem() string {
	var kinds []string
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"-secret-file", o.secretFile != ""}, {"-secret-env", o.secretEnv != ""}, {"-secret-stdin", o.secretStdin},
		{"-certificate", o.certificate != ""}, {"-federated-token-file", o.federatedFile != ""}, {"-github", o.github}, {"-managed-identity", o.managed != ""},
	} {
		if k.set {
			kinds = append(kinds, k.name)
		}
	}
	switch {
	case looksSecret(o.secretFile) || looksSecret(o.passwordFile):
		return "-secret-file and -password-file take the name of a file, and that looks like a secret itself; renew it, since the command line is no secret"
	case o.secretEnv != "" && !variable.MatchString(o.secretEnv) || o.passwordEnv != "" && !variable.MatchString(o.passwordEnv):
		return "-secret-env and -password-env take the name of a variable, and that is none; if it is a secret itself, renew it, since the command line is no secret"
	case len(kinds) > 1:
		return strings.Join(kinds, " and ") + " are credentials of one app; give one"
	case o.certificate == "" && (o.key != "" || o.passwordFile != "" || o.passwordEnv != "" || o.sendChain || o.rs256):
		return "-key, -password-file, -password-env, -send-chain and -rs256 are about a certificate; give it with -certificate"
	case o.passwordFile != "" && o.passwordEnv != "":
		return "-password-file and -password-env say the same; give one"
	case o.raw && o.json:
		return "-raw prints the token alone and -json everything but it; give one"
	case o.secretStdin && o.assertion == "-":
		return "-secret-stdin and -assertion - read the same input; put one of them into a file"
	case o.assertion == "" && len(o.scopes) > 1:
		return "an app gets a token for one API at a time; give one scope"
	case o.timeout <= 0:
		return "-timeout must be positive"
	}
	return ""
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// looksSecret tells a secret of Entra's, which has a tilde and no slash, from a file's name.
func looksSecret(name string) bool {
	return len(name) >= 30 && strings.Contains(name, "~") && !strings.ContainsAny(name, `/\`)
}

// clouds are the names that -cloud takes besides a host.
var clouds = map[string]entra.Cloud{
	"public": entra.CloudPublic, "usgov": entra.CloudUSGovernment, "china": entra.CloudChina,
	"bleu": entra.CloudBleu, "delos": entra.CloudDelos, "govsg": entra.CloudGovSG,
}

// graphs are Microsoft Graph in each cloud ("National cloud deployments" in the
// documentation of Microsoft Graph).
var graphs = map[entra.Cloud]string{
	entra.CloudUSGovernment: "https://graph.microsoft.us", entra.CloudChina: "https://microsoftgraph.chinacloudapi.cn",
}

func (s *System) cloud(o *options) entra.Cloud {
	name := o.cloud
	if name == "" {
		name = s.env("AZURE_AUTHORITY_HOST")
	}
	if c, ok := clouds[strings.ToLower(name)]; ok {
		return c
	}
	name = strings.TrimSuffix(name, "/") // tools write the authority as an address
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

// trusted returns the certificates to trust, nil for the system's.
func (o *options) trusted() (*x509.CertPool, error) {
	if o.ca == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(o.ca)
	if err != nil {
		return nil, fmt.Errorf("-ca cannot be read: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-ca %s has no certificate in PEM", o.ca)
	}
	return pool, nil
}

// transport returns what makes the requests.
func (s *System) transport(o *options) (roundTripper, error) {
	if s.Transport != nil {
		return s.Transport, nil
	}
	pool, err := o.trusted()
	if err != nil {
		return nil, err
	}
	return wire.Transport(pool), nil
}
