package credentials

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/managedidentity"
)

// FileOptions configures [FromFile].
type FileOptions struct {
	// Env holds the environment variables in the form "name=value", like os.Environ. If a
	// name occurs twice, the last value is used. If nil, os.Environ is used.
	Env []string
	// Logger logs credentials of the list that cannot be used (level Warn). It also becomes the Logger of the returned
	// configuration and of its credentials. If nil, nothing is logged.
	Logger *slog.Logger
	// HTTPClient becomes the HTTPClient of the returned configuration, and sends the requests to Key Vault. If nil,
	// default clients are used.
	HTTPClient *http.Client
	// KeyVaultSource acquires the tokens for Key Vault. If nil, they are those of the managed identity that
	// ManagedIdentityClientId of the entry selects, or else of the system-assigned one.
	KeyVaultSource *entra.TokenSource
}

// FromFile returns the configuration of an app from a JSON file in the format of Microsoft.Identity.Web, so that
// programs in Go and in .NET can share it. section names the object in the file, usually "AzureAd". The names of
// nested objects are joined by colons. If section is empty, the whole file is the object. If opts is nil, the defaults
// are used.
//
//	{
//	  "AzureAd": {
//	    "Instance": "https://login.microsoftonline.com/",
//	    "TenantId": "11111111-1111-1111-1111-111111111111",
//	    "ClientId": "22222222-2222-2222-2222-222222222222",
//	    "ClientCredentials": [
//	      { "SourceType": "SignedAssertionFilePath" },
//	      { "SourceType": "Path", "CertificateDiskPath": "orders.pfx" }
//	    ]
//	  }
//	}
//
// As in .NET, names are compared without regard to case, comments and trailing commas are allowed, and an environment
// variable overrides a value. The variable is the path of the value with two underscores between names:
// AzureAd__TenantId, or AzureAd__ClientCredentials__0__ClientSecret. Variables that are empty count as not set.
//
//   - Instance and TenantId: the cloud, as a URL, and the tenant. Authority can replace them: it is the URL of the
//     cloud, followed by the tenant. Without Instance, the cloud is the public one.
//   - ClientId: the app. Required.
//   - ClientCredentials: the credentials of the app. Several become an [entra.CredentialChain]. One that
//     cannot be used when FromFile is called, such as a missing file, is left out if another remains. An
//     entry with Skip is ignored.
//   - ClientCertificates, a list of the same form, and ClientSecret are the older ways. Only one of the three may
//     be set.
//   - SendX5C: true to send the chain of certificates.
//   - AzureRegion: the region (see [entra.Config]). "TryAutoDetect" means [entra.DetectRegion].
//   - ClientCapabilities: a list, such as ["cp1"].
//
// The SourceType of a credential is one of these:
//
//   - ClientSecret, with ClientSecret,
//   - Path, with CertificateDiskPath and CertificatePassword (see [CertificateFile]),
//   - Base64Encoded, with Base64EncodedValue and CertificatePassword (see [ParseCertificate]),
//   - KeyVault, with KeyVaultUrl, KeyVaultCertificateName and ManagedIdentityClientId (see [KeyVaultCertificate]); as
//     in .NET, the private key is downloaded,
//   - SignedAssertionFilePath, with SignedAssertionFileDiskPath, or AZURE_FEDERATED_TOKEN_FILE if it is empty (see
//     [WorkloadIdentity]),
//   - SignedAssertionFromManagedIdentity, with ManagedIdentityClientId, and TokenExchangeUrl as the audience if
//     it is not that of the cloud (see [ManagedIdentity]).
//
// The other types need Windows or other packages, and are errors. Keys that configure the sign-in or the validation of
// tokens, such as CallbackPath and Audience, are ignored. Any other key is an error, and so is a variable
// for one.
//
// The error is an [*entra.Error] with the code "invalid_client". It names the file or variable, and the key.
// [entra.New] validates the IDs, the cloud, the region and the secret.
//
// Sources: "Credentials overview for Microsoft.Identity.Web" in Microsoft's documentation, and the types
// CredentialDescription and CredentialSource of Microsoft.Identity.Abstractions.
func FromFile(path, section string, opts *FileOptions) (entra.Config, error) {
	o := orZero(opts)
	if o.Env == nil {
		o.Env = os.Environ()
	}
	data, err := readConfig(path)
	if err != nil {
		return entra.Config{}, err
	}
	s := &settings{path: path, section: section, values: map[string]setting{}}
	if err := s.parse(data); err != nil {
		return entra.Config{}, err
	}
	s.override(o.Env)
	if len(s.values) == 0 {
		return entra.Config{}, invalid("the file %q has no section %q", path, section)
	}
	if err := s.checkNames(); err != nil {
		return entra.Config{}, err
	}
	cfg, err := s.config(&o)
	if err != nil {
		return entra.Config{}, err
	}
	return cfg, nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable("configuration", path, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable("configuration", path, err)
	}
	if len(data) > maxFile {
		return nil, invalid("the configuration file %q is larger than %d bytes", path, maxFile)
	}
	return bytes.TrimPrefix(data, byteOrderMark), nil
}

// settings are the values of a section as .NET's configuration has them: a flat map, in which the names of nested
// objects and the indexes of lists are joined by colons.
type settings struct {
	path    string             // of the file
	section string             // "AzureAd"
	values  map[string]setting // by the path in the section in lower case: "clientcredentials:0:sourcetype"
}

type setting struct {
	name     string // as it is written: "AzureAd:ClientCredentials:0:SourceType"
	variable string // the environment variable, or ""
	value    string
}

// String returns the name of the setting for errors.
func (s setting) String() string {
	if s.variable != "" {
		return "the environment variable " + s.variable
	}
	return s.name
}

// maxNesting bounds the nesting of objects and lists.
const maxNesting = 32

func (s *settings) parse(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(withoutComments(data)))
	d.UseNumber()
	err := s.read(d, "", 0)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		err = invalid("the file %q has text after its JSON", s.path)
	}
	if e, ok := err.(*entra.Error); ok {
		return e
	}
	// The decoder's text may repeat the file.
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the file %q is empty or truncated: its JSON ends too early", s.path)
	}
	line := 1 + bytes.Count(data[:min(int(d.InputOffset()), len(data))], []byte("\n"))
	return invalid("the file %q is not JSON (near line %d)", s.path, line)
}

// read adds the next value of d, which has the given name.
func (s *settings) read(d *json.Decoder, name string, depth int) error {
	if depth > maxNesting {
		return invalid("the file %q is nested more than %d levels deep", s.path, maxNesting)
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		if token == nil {
			return nil
		}
		return s.add(name, fmt.Sprint(token))
	}
	for i := 0; d.More(); i++ {
		member := strconv.Itoa(i)
		if delim == '{' {
			token, err := d.Token()
			if err != nil {
				return err
			}
			member, _ = token.(string)
		}
		if err := s.read(d, strings.TrimPrefix(name+":"+member, ":"), depth+1); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing delimiter
	return err
}

// add adds a value of the file, unless it belongs to another section.
func (s *settings) add(name, value string) error {
	rest, ok := s.cutSection(name)
	if !ok {
		return nil
	}
	key := strings.ToLower(rest)
	if _, ok := s.values[key]; ok {
		return invalid("the file %q has two values for %s; names are compared without regard to case", s.path, name)
	}
	s.values[key] = setting{name: name, value: value}
	return nil
}

// cutSection returns the part of a name after the section, and reports whether the name belongs to it.
func (s *settings) cutSection(name string) (rest string, ok bool) {
	if s.section == "" {
		return name, true
	}
	prefix := s.section + ":"
	if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
		return "", false
	}
	return name[len(prefix):], true
}

// override replaces values by those of environment variables.
func (s *settings) override(env []string) {
	if s.section == "" {
		return // every variable would belong to it
	}
	for _, pair := range env {
		variable, value, _ := strings.Cut(pair, "=")
		name := strings.ReplaceAll(variable, "__", ":")
		if rest, ok := s.cutSection(name); ok && strings.TrimSpace(value) != "" {
			s.values[strings.ToLower(rest)] = setting{name: name, variable: variable, value: value}
		}
	}
}

// get returns a value without the white space around it.
func (s *settings) get(key string) string {
	return strings.TrimSpace(s.values[strings.ToLower(key)].value)
}

// name returns the name of a value for errors.
func (s *settings) name(key string) string {
	if v, ok := s.values[strings.ToLower(key)]; ok {
		return v.String()
	}
	return strings.TrimPrefix(s.section+":"+key, ":")
}

func (s *settings) invalid(key, format string, args ...any) error {
	return invalid("the file %q: %s %s", s.path, s.name(key), fmt.Sprintf(format, args...))
}

func (s *settings) bool(key string) (bool, error) {
	switch strings.ToLower(s.get(key)) {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	}
	return false, s.invalid(key, "is neither true nor false")
}

// list returns the paths of the elements of a list, in order, such as "ClientCredentials:0".
func (s *settings) list(key string) (paths []string) {
	for k := range s.values {
		if rest, ok := strings.CutPrefix(k, strings.ToLower(key)+":"); ok {
			index, _, _ := strings.Cut(rest, ":")
			paths = append(paths, key+":"+index)
		}
	}
	slices.SortFunc(paths, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	return slices.Compact(paths)
}

func (s *settings) config(o *FileOptions) (cfg entra.Config, err error) {
	cfg = entra.Config{
		TenantID: s.get("TenantId"), ClientID: s.get("ClientId"), Region: regionOf(s.get("AzureRegion")),
		Logger: o.Logger, HTTPClient: o.HTTPClient,
	}
	for _, key := range s.list("ClientCapabilities") {
		cfg.Capabilities = append(cfg.Capabilities, s.get(key))
	}
	if cfg.Cloud, err = s.authority(&cfg); err != nil {
		return cfg, err
	}
	for key, value := range map[string]string{"ClientId": cfg.ClientID, "TenantId": cfg.TenantID} {
		if value == "" {
			return cfg, s.invalid(key, "is missing")
		}
	}
	cfg.Credential, err = s.credentials(cfg.Cloud, o)
	return cfg, err
}

// authority returns the cloud. An Authority also sets the tenant.
func (s *settings) authority(cfg *entra.Config) (entra.Cloud, error) {
	key := "Instance"
	address := s.get(key)
	if authority := s.get("Authority"); authority != "" {
		if address != "" {
			return "", s.invalid("Authority", "and Instance are both set; keep one")
		}
		key = "Authority"
		base, path, ok := strings.Cut(strings.TrimPrefix(authority, "https://"), "/")
		address = "https://" + base
		tenant := strings.TrimSuffix(strings.TrimSuffix(path, "/"), "/v2.0")
		if ok && tenant != "" {
			if cfg.TenantID != "" {
				return "", s.invalid("Authority", "contains a tenant, but TenantId is set, too; keep one")
			}
			cfg.TenantID = tenant
		}
		if !strings.HasPrefix(authority, "https://") || strings.Contains(tenant, "/") {
			return "", s.invalid("Authority", "is not an authority, such as https://login.microsoftonline.com/TENANT")
		}
	}
	cloud, ok := cloudFromURL(address)
	if !ok {
		return "", s.invalid(key, "is not the URL of an authority; "+
			"it must be https with a host and without a path, such as https://login.microsoftonline.com/")
	}
	return cloud, nil
}

// credentials returns the credential of the app: one, or a chain of several.
func (s *settings) credentials(cloud entra.Cloud, o *FileOptions) (entra.Credential, error) {
	sendChain, err := s.bool("SendX5C")
	if err != nil {
		return entra.Credential{}, err
	}
	secret := s.get("ClientSecret")
	entries, older := s.list("ClientCredentials"), s.list("ClientCertificates")
	ways := 0
	for _, set := range []bool{secret != "", len(entries) > 0, len(older) > 0} {
		if set {
			ways++
		}
	}
	if ways > 1 {
		return entra.Credential{}, s.invalid("ClientCredentials",
			"and the older ClientSecret and ClientCertificates exclude each other; keep one")
	}
	if secret != "" {
		return entra.Secret(secret), nil
	}
	var usable []entra.Credential
	var failures []error
	for _, entry := range append(entries, older...) {
		skip, err := s.bool(entry + ":Skip")
		if err != nil {
			return entra.Credential{}, err
		}
		if skip {
			continue
		}
		if c, err := s.credential(entry, cloud, sendChain, o); err != nil {
			failures = append(failures, err)
		} else {
			usable = append(usable, c)
		}
	}
	switch {
	case len(usable) == 0 && len(failures) == 0:
		return entra.Credential{}, s.invalid("ClientCredentials", "has no credential")
	case len(usable) == 0 && len(failures) == 1:
		return entra.Credential{}, failures[0]
	case len(usable) == 0:
		return entra.Credential{}, s.invalid("ClientCredentials", "has no usable credential: %s", joined(failures))
	}
	if len(failures) > 0 && o.Logger != nil {
		o.Logger.Warn("entra: a credential of the configuration file cannot be used and is left out",
			slog.String("error", joined(failures)))
	}
	if len(usable) == 1 {
		return usable[0], nil
	}
	return entra.CredentialChain(usable...), nil
}

func joined(errs []error) string {
	var texts []string
	for _, err := range errs {
		texts = append(texts, text(err))
	}
	return strings.Join(texts, "; ")
}

// credential returns the credential of one entry of a list.
func (s *settings) credential(
	entry string, cloud entra.Cloud, sendChain bool, o *FileOptions,
) (entra.Credential, error) {
	var err error
	var c entra.Credential
	key := func(name string) string { return entry + ":" + name }
	required := func(name string) string {
		value := s.get(key(name))
		if value == "" && err == nil {
			err = s.invalid(key(name), "is missing")
		}
		return value
	}
	password := s.values[strings.ToLower(key("CertificatePassword"))].value // with its white space
	switch source := required("SourceType"); {
	case err != nil:
	case strings.EqualFold(source, "ClientSecret"):
		if secret := required("ClientSecret"); err == nil {
			c = entra.Secret(secret)
		}
	case strings.EqualFold(source, "Path"):
		opts := CertificateFileOptions{SendChain: sendChain, Password: fixedPassword(password), Logger: o.Logger}
		if file := required("CertificateDiskPath"); err == nil {
			c, err = CertificateFile(file, &opts)
		}
	case strings.EqualFold(source, "Base64Encoded"):
		if value := required("Base64EncodedValue"); err == nil {
			c, err = decodeCertificate(value, password, sendChain)
		}
	case strings.EqualFold(source, "KeyVault"):
		address, name := required("KeyVaultUrl"), required("KeyVaultCertificateName")
		if err == nil {
			c, err = keyVaultEntry(address, name, s.get(key("ManagedIdentityClientId")), cloud, sendChain, o)
		}
	case strings.EqualFold(source, "SignedAssertionFilePath"):
		c, err = WorkloadIdentity(&WorkloadIdentityOptions{
			TokenFile: s.get(key("SignedAssertionFileDiskPath")), Logger: o.Logger,
		})
	case strings.EqualFold(source, "SignedAssertionFromManagedIdentity"):
		c, err = ManagedIdentity(&ManagedIdentityOptions{
			ClientID: s.get(key("ManagedIdentityClientId")),
			Audience: cmp.Or(s.get(key("TokenExchangeUrl")), AudienceFor(cloud)),
		})
	default:
		err = s.invalid(key("SourceType"), "is not supported; use ClientSecret, Path, Base64Encoded, KeyVault, "+
			"SignedAssertionFilePath or SignedAssertionFromManagedIdentity")
	}
	if err != nil {
		return c, prefixError(s.name(entry), err)
	}
	return c, nil
}

func keyVaultEntry(
	address, name, identity string, cloud entra.Cloud, sendChain bool, o *FileOptions,
) (entra.Credential, error) {
	source := o.KeyVaultSource
	if source == nil {
		id, err := managedidentity.New(managedidentity.Config{ClientID: identity, Logger: o.Logger})
		if err != nil {
			return entra.Credential{}, invalid("the managed identity for Key Vault: %s", text(err))
		}
		source = id.TokenSource("https://" + vaultDomain(cloud) + "/.default")
	}
	return KeyVaultCertificate(source, address, name, &KeyVaultOptions{
		Download: true, SendChain: sendChain, Cloud: cloud, HTTPClient: o.HTTPClient, Logger: o.Logger,
	})
}

func decodeCertificate(value, password string, sendChain bool) (entra.Credential, error) {
	data, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return entra.Credential{}, invalid("Base64EncodedValue is not base64")
	}
	certs, key, err := ParseCertificate(data, password)
	if err != nil {
		return entra.Credential{}, err
	}
	return entra.Certificate(certs, key, &entra.CertificateOptions{SendChain: sendChain}), nil
}

// sectionKeys are the names of a section. Those of the last lines configure parts of Microsoft.Identity.Web that have
// no counterpart in an [entra.Config].
var sectionKeys = strings.Fields(`
	Instance TenantId ClientId Authority AzureRegion SendX5C
	ClientCapabilities ClientCredentials ClientCertificates ClientSecret
	AllowWebApiToBeAuthorizedByACL Audience Audiences CallbackPath Domain EnablePiiLogging Scopes SignedOutCallbackPath
	TokenDecryptionCredentials TokenDecryptionCertificates WithSpaAuthCode`)

// credentialKeys are the names of an entry in a list of credentials. Those of the last two lines belong to sources that
// are not supported.
var credentialKeys = strings.Fields(`
	SourceType Skip ClientSecret CertificateDiskPath CertificatePassword Base64EncodedValue SignedAssertionFileDiskPath
	ManagedIdentityClientId TokenExchangeUrl KeyVaultUrl KeyVaultCertificateName
	CertificateStorePath CertificateDistinguishedName CertificateThumbprint
	CustomSignedAssertionProviderName CustomSignedAssertionProviderData DecryptKeysAuthenticationOptions`)

// checkNames returns an error that names the keys that are unknown.
func (s *settings) checkNames() error {
	var unknown []string
	for _, v := range s.values {
		rest, _ := s.cutSection(v.name)
		names := strings.Split(rest, ":")
		name, known := names[0], sectionKeys
		if len(names) > 2 && contains([]string{"ClientCredentials", "ClientCertificates"}, name) {
			name, known = names[2], credentialKeys
		}
		if contains(known, name) {
			continue
		}
		text := v.String()
		for _, k := range known {
			if distance(normalize(name), normalize(k)) <= 2 {
				text += " (did you mean " + k + "?)"
				break
			}
		}
		unknown = append(unknown, text)
	}
	if len(unknown) == 0 {
		return nil
	}
	slices.Sort(unknown)
	return invalid("the file %q has keys that are not supported: %s", s.path, strings.Join(unknown, ", "))
}

func contains(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// withoutComments returns JSON in which spaces replace comments and trailing commas, which the files of .NET may have.
// Positions and line breaks stay the same.
func withoutComments(data []byte) []byte {
	out := bytes.Clone(data)
	comma := -1 // the position of a comma after which no value has begun
	for i := 0; i < len(out); i++ {
		switch c := out[i]; {
		case c == '"':
			comma = -1
			for i++; i < len(out) && out[i] != '"'; i++ {
				if out[i] == '\\' {
					i++
				}
			}
		case c == '/' && bytes.HasPrefix(out[i:], []byte("//")):
			i = blank(out, i, end(out, i, "\n")) - 1
		case c == '/' && bytes.HasPrefix(out[i:], []byte("/*")):
			i = blank(out, i, end(out, i+2, "*/")+2) - 1
		case c == ',':
			comma = i
		case (c == '}' || c == ']') && comma >= 0:
			out[comma], comma = ' ', -1
		case c != ' ' && c != '\t' && c != '\r' && c != '\n':
			comma = -1
		}
	}
	return out
}

// end returns the position of the first mark in data at or after i, or the length of data.
func end(data []byte, i int, mark string) int {
	if i < len(data) {
		if n := bytes.Index(data[i:], []byte(mark)); n >= 0 {
			return i + n
		}
	}
	return len(data)
}

// blank replaces data[from:to] by spaces, apart from line breaks, and returns the position after it.
func blank(data []byte, from, to int) int {
	to = min(to, len(data))
	for i := from; i < to; i++ {
		if data[i] != '\n' {
			data[i] = ' '
		}
	}
	return to
}
