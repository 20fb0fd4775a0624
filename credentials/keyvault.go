package credentials

import (
	"context"
	"crypto"
	"crypto/fips140"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/retry"
)

// KeyVaultOptions configures [KeyVaultCertificate].
type KeyVaultOptions struct {
	// Download controls whether the private key is downloaded with the certificate. The vault
	// must have been configured to export it. By default the key stays in the vault, which
	// signs the assertion of each token request. An API with many users should use Download,
	// because each of its users costs a token request, and vaults throttle.
	Download bool
	// SendChain sends the certificate with each request (x5c), for apps that trust the subject
	// name and issuer of certificates. Such apps accept a renewed certificate that is not
	// registered. The chain of issuers is only sent with Download, because a vault returns it
	// with the private key.
	SendChain bool
	// RS256 signs with RS256 instead of PS256, for old authorities. It is an error if
	// GODEBUG=fips140=only prohibits SHA-1.
	RS256 bool
	// Cloud is the cloud of the vault. Defaults to the public cloud.
	Cloud entra.Cloud
	// HTTPClient sends the requests to the vault. Its CheckRedirect and Jar are not used. If
	// nil, a client with time-outs and the proxy of the environment is used.
	HTTPClient *http.Client
	// Logger receives a record when a new version is loaded (level Info), and when the vault
	// cannot be read and the loaded version stays in use (Warn). If nil, nothing is logged.
	Logger *slog.Logger
}

// vaultRefresh is how long a certificate of a vault is used before the vault is read again.
const vaultRefresh = 30 * time.Minute

// KeyVaultCertificate returns a certificate credential that is read from Azure Key Vault. If
// opts is nil, the defaults are used.
//
// vaultURL is the URL of the vault, such as "https://contoso.vault.azure.net", and name is the
// name of the certificate. source acquires the tokens for the vault, usually those of a
// managed identity:
//
//	identity, err := managedidentity.New(managedidentity.Config{})
//	source := identity.TokenSource("https://vault.azure.net/.default")
//	certificate, err := credentials.KeyVaultCertificate(source, "https://contoso.vault.azure.net", "orders", nil)
//
// The identity needs the roles Key Vault Reader and Key Vault Crypto User on the vault. With
// Download it needs the role Key Vault Certificate User instead. In a vault with access
// policies it needs the permissions "get" for certificates and "sign" for keys, or with
// Download the permission "get" for secrets.
//
// The latest version of the certificate is read when a token is first requested from Entra. If
// a token is needed more than 30 minutes later, the vault is read again in the background. If
// Entra rejects a version, the vault is read at once. While the vault cannot be read, the loaded
// version stays in use. If Entra rejects a new version, because the app registration does not
// have it yet, the previous version is used.
//
// KeyVaultCertificate makes no network requests. Its error is an [*entra.Error] with the code
// "invalid_client". The vault must be in the domain of the cloud, or on loopback for tests, and
// source must be for the vaults of that cloud. Other errors name the role or permission that is
// missing, or say that the certificate was not found, is disabled or has expired.
//
// Sources: "Azure Key Vault REST API reference", and "Provide access to Key Vault keys,
// certificates, and secrets with Azure role-based access control".
func KeyVaultCertificate(
	source *entra.TokenSource, vaultURL, name string, opts *KeyVaultOptions,
) (entra.Credential, error) {
	o := orZero(opts)
	v, err := newVault(source, vaultURL, o.Cloud, o.HTTPClient)
	switch {
	case err != nil:
		return entra.Credential{}, err
	case !vaultObject.MatchString(name):
		return entra.Credential{}, invalid("the name of a certificate in Key Vault has 1 to 127 letters, digits and hyphens")
	case o.RS256 && fips140.Enforced():
		return entra.Credential{}, invalid("KeyVaultOptions.RS256 needs the certificate's SHA-1 thumbprint, " +
			"but this program prohibits SHA-1 (GODEBUG=fips140=only); use PS256")
	}
	c := &vaultCertificate{vault: v, name: name, options: o}
	c.callback = callback{kind: "certificate in Azure Key Vault", get: c.get}
	return c.callback.credential(), nil
}

// vaultCertificate is a credential for the latest version of a certificate in a vault.
type vaultCertificate struct {
	vault    *vault
	name     string
	options  KeyVaultOptions
	callback callback
	latest   *entra.Credential // of the version in use; only newCredential uses it, one call at a time
}

// get reads the latest version.
func (c *vaultCertificate) get(ctx context.Context) (value, error) {
	read := c.certificate
	if c.options.Download {
		read = c.secret
	}
	v, err := read(ctx)
	current := c.callback.current.Load()
	if err == nil && current != nil && time.Now().Before(v.chain[0].NotBefore) {
		err = c.invalid("is not valid before %s; until then the previous version is used",
			v.chain[0].NotBefore.UTC().Format(time.RFC3339))
	}
	if err != nil {
		if current != nil && c.options.Logger != nil {
			c.options.Logger.WarnContext(ctx, "entra: reading the certificate failed; the previous version stays in use",
				slog.String("vault", c.vault.host()), slog.String("certificate", c.name), slog.Any("error", err))
		}
		return value{}, err
	}
	return value{
		text:          func() string { return v.id },
		newCredential: func() entra.Credential { return c.newCredential(v) },
		refreshAt:     time.Now().Add(vaultRefresh),
	}, nil
}

// newCredential returns the credential of a version. The app registration may not have a version that the vault has
// just created, so the previous one follows it.
func (c *vaultCertificate) newCredential(v vaultVersion) entra.Credential {
	cred := entra.Certificate(v.chain, v.key, &entra.CertificateOptions{
		SendChain: c.options.SendChain, RS256: c.options.RS256,
	})
	previous := c.latest
	c.latest = &cred
	if previous == nil {
		return cred
	}
	info := cred.Info()
	if c.options.Logger != nil {
		c.options.Logger.Info("entra: new version of the certificate loaded", slog.String("vault", c.vault.host()),
			slog.String("certificate", c.name), slog.String("thumbprint", info.Thumbprint),
			slog.Time("not_after", info.NotAfter))
	}
	return entra.CredentialChain(cred, *previous).WithInfo(func() entra.CredentialInfo { return info })
}

// A vaultVersion is one version of a certificate.
type vaultVersion struct {
	id    string              // of the version
	chain []*x509.Certificate // the certificate, and those of its issuers if they are known
	key   crypto.Signer
}

// vaultAttributes are the attributes of an object in a vault.
type vaultAttributes struct{ Enabled *bool }

func (a vaultAttributes) disabled() bool { return a.Enabled != nil && !*a.Enabled }

// certificate reads the certificate. Its key stays in the vault.
func (c *vaultCertificate) certificate(ctx context.Context) (v vaultVersion, err error) {
	var r struct {
		ID, KID    string
		Cer        []byte
		Attributes vaultAttributes
	}
	if err := c.vault.call(ctx, &readCertificateOperation, c.name, "/certificates/"+c.name, nil, &r); err != nil {
		return v, err
	}
	if r.Attributes.disabled() {
		return v, c.invalid("is disabled; enable its latest version")
	}
	cert, parseErr := x509.ParseCertificate(r.Cer)
	if parseErr != nil {
		return v, c.invalid("cannot be parsed (%s)", parseError(parseErr))
	}
	public, ok := cert.PublicKey.(*rsa.PublicKey)
	if !ok {
		return v, c.invalid("has a key that is not an RSA key; Entra accepts only RSA keys")
	}
	if time.Now().After(cert.NotAfter) {
		return v, c.expired(cert)
	}
	// The vault names the key. It must be one of its own.
	kid, parseErr := url.Parse(r.KID)
	if parseErr != nil || !strings.EqualFold(kid.Host, c.vault.host()) || !vaultKeyPath.MatchString(kid.Path) {
		return v, c.invalid("has a key that is not in the same vault")
	}
	key := &vaultKey{vault: c.vault, name: c.name, path: kid.Path, public: public}
	return vaultVersion{versionID(r.ID, cert), []*x509.Certificate{cert}, key}, nil
}

// secret reads the certificate with its private key.
func (c *vaultCertificate) secret(ctx context.Context) (v vaultVersion, err error) {
	var r struct {
		ID, Value, ContentType string
		Attributes             vaultAttributes
	}
	if err := c.vault.call(ctx, &readSecretOperation, c.name, "/secrets/"+c.name, nil, &r); err != nil {
		return v, err
	}
	if r.Attributes.disabled() {
		return v, c.invalid("is disabled; enable its latest version")
	}
	data := []byte(r.Value)
	switch r.ContentType {
	case "application/x-pkcs12":
		if data, err = base64.StdEncoding.DecodeString(r.Value); err != nil {
			return v, c.invalid("has a secret that is not base64")
		}
	case "application/x-pem-file":
	default:
		return v, c.invalid("is a secret with the content type %q; certificates have application/x-pkcs12 or "+
			"application/x-pem-file", redacted(r.ContentType))
	}
	var b bundle
	if b, err = (parser{}).parse(data); err != nil || len(b.keys) == 0 {
		reason := "there is no RSA private key"
		if err != nil {
			reason = text(err)
		} else if b.keyErr != nil {
			reason = text(b.keyErr)
		}
		return v, c.invalid("cannot be used; if the vault does not export its private key, "+
			"do not set KeyVaultOptions.Download: %s", reason)
	}
	leaf := leafFor(b.certs, b.keys[0])
	if leaf == nil {
		return v, c.invalid("does not match its private key")
	}
	if time.Now().After(leaf.NotAfter) {
		return v, c.expired(leaf)
	}
	return vaultVersion{versionID(r.ID, leaf), chainFrom(leaf, b.certs), b.keys[0]}, nil
}

// versionID returns a text that differs for each version. The certificate is part of it, since the vault is not trusted
// to change the ID.
func versionID(id string, cert *x509.Certificate) string { return id + "\n" + string(cert.Raw) }

func (c *vaultCertificate) expired(cert *x509.Certificate) error {
	return c.invalid("expired at %s; renew it, and add the new version to the app registration",
		cert.NotAfter.UTC().Format(time.RFC3339))
}

func (c *vaultCertificate) invalid(format string, args ...any) error {
	return invalid("the certificate %q in %s %s", c.name, c.vault.host(), fmt.Sprintf(format, args...))
}

var (
	vaultObject  = regexp.MustCompile(`^[0-9A-Za-z-]{1,127}$`)
	vaultKeyPath = regexp.MustCompile(`^/keys/[0-9A-Za-z-]{1,127}/[0-9A-Za-z]{1,64}$`)
)

// A vaultKey signs with a key that stays in the vault.
type vaultKey struct {
	vault  *vault
	name   string // of the certificate
	path   string // of the version of the key, such as "/keys/orders/0123"
	public *rsa.PublicKey
}

// Public returns the public key.
func (k *vaultKey) Public() crypto.PublicKey { return k.public }

// Sign signs a SHA-256 digest with RSASSA-PSS or RSASSA-PKCS1-v1_5.
func (k *vaultKey) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	request := struct {
		Alg   string `json:"alg"`
		Value string `json:"value"`
	}{"RS256", base64.RawURLEncoding.EncodeToString(digest)}
	pss, isPSS := opts.(*rsa.PSSOptions)
	if isPSS {
		request.Alg = "PS256"
	}
	var r struct{ Value string }
	retrier := k.vault.budget.Start(retry.Sleep)
	for {
		failure, err := failureOf(k.vault.call(ctx, &signOperation, k.name, k.path+"/sign", request, &r))
		if err == nil {
			break
		}
		if !retrier.Again(ctx, failure) {
			return nil, err
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(r.Value, "="))
	if err == nil && isPSS {
		err = rsa.VerifyPSS(k.public, crypto.SHA256, digest, signature, pss)
	} else if err == nil {
		err = rsa.VerifyPKCS1v15(k.public, crypto.SHA256, digest, signature)
	}
	if err != nil {
		return nil, invalid("the signature of %s is not one of the certificate %q", k.vault.host(), k.name)
	}
	return signature, nil
}
