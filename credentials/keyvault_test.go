package credentials_test

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/internal/testkit/keyvault"
	"github.com/entratoken/entra/managedidentity"
)

const (
	vaultHost  = "contoso.vault.azure.net"
	vaultURL   = "https://" + vaultHost
	vaultScope = "https://vault.azure.net/.default"
)

// A vaultWorld is a fake Entra, a vault, and a managed identity with the tokens "vault-token-1" and so on, of which the
// vault accepts the first.
type vaultWorld struct {
	*fakeEntra
	vault  *keyvault.Server
	source *entra.TokenSource
	issued *testkit.Recorder
}

func newVaultWorld(t testing.TB) *vaultWorld {
	t.Helper()
	testkit.NoPlatform(t)
	return openVaultWorld(t)
}

// openVaultWorld is newVaultWorld inside of a bubble, where the environment cannot be set.
func openVaultWorld(t testing.TB) *vaultWorld {
	t.Helper()
	w := &vaultWorld{fakeEntra: newFakeEntra(), vault: keyvault.New(vaultHost, tenantID, "vault-token-1")}
	var mu sync.Mutex
	issued := 0
	w.issued = testkit.NewRecorder(testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		issued++
		return testkit.PlatformToken(req, fmt.Sprintf("vault-token-%d", issued), 24*time.Hour), nil
	}))
	id, err := managedidentity.New(managedidentity.Config{HTTPClient: &http.Client{Transport: w.issued}})
	if err != nil {
		t.Fatal(err)
	}
	w.source = id.TokenSource(vaultScope)
	return w
}

// version returns a version of a certificate with a chain of one issuer.
func version(t *testing.T, name string, changes ...func(*x509.Certificate)) keyvault.Version {
	t.Helper()
	key := testkit.RSAKey(t)
	return keyvault.Version{ID: name, Certificate: testkit.Certificate(t, key, changes...), Key: key}
}

// register makes Entra trust certificates alone.
func (w *vaultWorld) register(certs ...*x509.Certificate) {
	w.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets, a.Certificates = nil, certs })
}

func (w *vaultWorld) credential(t *testing.T, opts credentials.KeyVaultOptions) entra.Credential {
	t.Helper()
	opts.HTTPClient = &http.Client{Transport: w.vault}
	c, err := credentials.KeyVaultCertificate(w.source, vaultURL, "orders", &opts)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// wantRequests checks the requests to the vault since the last call.
func (w *vaultWorld) wantRequests(t *testing.T, want ...string) {
	t.Helper()
	got, _ := w.vault.Take()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

const (
	readCertificate = "GET /certificates/orders?api-version=7.4 200"
	readSecret      = "GET /secrets/orders?api-version=7.4 200"
	signWithV1      = "POST /keys/orders/v1/sign?api-version=7.4 200"
	signWithV2      = "POST /keys/orders/v2/sign?api-version=7.4 200"
)

// The vault signs each assertion with the algorithm of the options. The certificate is read once.
func TestKeyVaultSignsAssertions(t *testing.T) {
	for _, test := range []struct {
		name string
		opts credentials.KeyVaultOptions
		alg  string
		x5c  int
	}{
		{"default", credentials.KeyVaultOptions{}, "PS256", 0},
		{"RS256", credentials.KeyVaultOptions{RS256: true}, "RS256", 0},
		{"chain", credentials.KeyVaultOptions{SendChain: true}, "PS256", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newVaultWorld(t)
			v1 := version(t, "v1")
			w.vault.Add("orders", v1)
			w.register(v1.Certificate)
			c := w.credential(t, test.opts)
			w.wantRequests(t)
			w.mustUse(t, c)
			assertion := w.sent("client_assertion")[0]
			h := header(t, assertion)
			if h.Alg != test.alg || len(h.X5C) != test.x5c || (h.X5T != "") != test.opts.RS256 {
				t.Errorf("got the header %+v", h)
			}
			signed := assertion[:strings.LastIndex(assertion, ".")]
			digest := sha256.Sum256([]byte(signed))
			requests, bodies := w.vault.Take()
			if want := []string{readCertificate, signWithV1}; !slices.Equal(requests, want) {
				t.Errorf("got %q, want %q", requests, want)
			}
			if want := []string{test.alg + " " + base64.RawURLEncoding.EncodeToString(digest[:])}; !slices.Equal(bodies, want) {
				t.Errorf("got %q, want %q", bodies, want)
			}
			w.mustUse(t, c)
			w.wantRequests(t, signWithV1)
			if n := len(w.issued.Sent()); n != 1 {
				t.Errorf("got %d requests for tokens of the identity, want 1", n)
			}
			wantInfo(t, c, entra.CredentialInfo{
				Kind: "certificate in Azure Key Vault", Thumbprint: thumbprint(v1.Certificate),
				Subject: "CN=daemon", Issuer: "CN=daemon", NotAfter: v1.Certificate.NotAfter,
			})
		})
	}
}

// A private key that is downloaded signs without further requests. PKCS#12 and PEM are read with their chains.
func TestKeyVaultDownloadsCertificates(t *testing.T) {
	for _, isPEM := range []bool{false, true} {
		t.Run(fmt.Sprintf("PEM %t", isPEM), func(t *testing.T) {
			dir := testFiles(t, "")
			w := newVaultWorld(t)
			certs, key, err := credentials.ParseCertificate(
				[]byte(read(t, dir, "leaf.crt")+read(t, dir, "between.crt")+read(t, dir, "leaf.key")), "")
			if err != nil {
				t.Fatal(err)
			}
			w.vault.Add("orders", keyvault.Version{
				ID: "v1", Certificate: certs[0], Chain: certs[1:], Key: key, PEM: isPEM,
			})
			w.register(certs[0])
			c := w.credential(t, credentials.KeyVaultOptions{Download: true, SendChain: true})
			w.mustUse(t, c)
			w.mustUse(t, c)
			w.wantRequests(t, readSecret)
			if h := header(t, w.sent("client_assertion")[1]); h.Alg != "PS256" || len(h.X5C) != 2 {
				t.Errorf("got the header %+v", h)
			}
			testkit.NoSecrets(t, c, "vault-token")
		})
	}
}

// A new version is noticed within the hour. While the app registration does not have it, the previous one is used.
func TestKeyVaultNewVersion(t *testing.T) {
	for _, download := range []bool{false, true} {
		t.Run(fmt.Sprintf("download %t", download), func(t *testing.T) {
			testkit.NoPlatform(t)
			synctest.Test(t, func(t *testing.T) {
				w := openVaultWorld(t)
				read, sign1, sign2 := readCertificate, []string{signWithV1}, []string{signWithV2}
				if download {
					read, sign1, sign2 = readSecret, nil, nil
				}
				var log testkit.Log
				v1, v2 := version(t, "v1"), version(t, "v2")
				w.vault.Add("orders", v1)
				w.register(v1.Certificate)
				c := w.credential(t, credentials.KeyVaultOptions{Download: download, Logger: log.Logger()})
				w.mustUse(t, c)
				w.vault.Take()
				w.vault.Add("orders", v2)

				time.Sleep(30*time.Minute - time.Second)
				w.mustUse(t, c)
				w.wantRequests(t, sign1...)
				time.Sleep(time.Second)
				w.mustUse(t, c) // with v1, and reads v2 in the background
				synctest.Wait()
				if got, _ := w.vault.Take(); len(got) != 1+len(sign1) || !slices.Contains(got, read) {
					t.Errorf("got %q, want %q and %q", got, read, sign1)
				}
				if lines := log.Lines(t); len(lines) != 1 || lines[0]["thumbprint"] != thumbprint(v2.Certificate) ||
					lines[0]["msg"] != "entra: new version of the certificate loaded" || lines[0]["vault"] != vaultHost {
					t.Errorf("got %v", lines)
				}
				if got := c.Info().Thumbprint; got != thumbprint(v2.Certificate) {
					t.Errorf("got the thumbprint %s, want that of v2", got)
				}
				posts := len(w.Posts())
				w.mustUse(t, c)
				if n := len(w.Posts()) - posts; n != 2 {
					t.Errorf("got %d requests to Entra, want one with v2 and one with v1", n)
				}
				w.wantRequests(t, slices.Concat(sign2, sign1)...)
				posts = len(w.Posts())
				w.mustUse(t, c)
				if n := len(w.Posts()) - posts; n != 1 {
					t.Errorf("got %d requests to Entra, want one with v1, which worked last", n)
				}
				w.vault.Take()
				w.register(v2.Certificate)
				w.mustUse(t, c)
				w.wantRequests(t, slices.Concat(sign1, sign2)...)
			})
		})
	}
}

// If Entra rejects a version, the vault is read at once.
func TestKeyVaultAfterRejection(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		w := openVaultWorld(t)
		v1, v2 := version(t, "v1"), version(t, "v2")
		w.vault.Add("orders", v1)
		w.register(v1.Certificate)
		c := w.credential(t, credentials.KeyVaultOptions{})
		w.mustUse(t, c)
		w.vault.Add("orders", v2)
		w.register(v2.Certificate)
		time.Sleep(time.Minute)
		w.vault.Take()
		w.mustUse(t, c)
		w.wantRequests(t, signWithV1, readCertificate, signWithV2)

		// Without a new version, the rejection is final, and a second one within a second does not read the vault.
		w.register()
		w.UpdateCredentials("daemon", func(a *entratest.App) { a.Secrets = []string{"another"} })
		time.Sleep(time.Minute)
		for range 2 {
			if e := testkit.Error(t, w.use(c)); e.Code != "invalid_client" || !e.Has(700027) {
				t.Errorf("got %v", e)
			}
		}
		w.wantRequests(t, signWithV2, signWithV1, readCertificate, signWithV2, signWithV1)
	})
}

// While the vault cannot be read, or has no version that is valid, the loaded version stays in use.
func TestKeyVaultFailuresKeepTheVersion(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		w := openVaultWorld(t)
		w.vault.Accept("", "vault-token-1", "vault-token-2") // the second may be acquired early
		v1 := version(t, "v1")
		w.vault.Add("orders", v1)
		w.register(v1.Certificate)
		var log testkit.Log
		c := w.credential(t, credentials.KeyVaultOptions{Logger: log.Logger()})
		w.mustUse(t, c)
		for _, test := range []struct {
			name    string
			prepare func()
			want    string
		}{
			{"removed", func() { w.vault.Remove("orders") },
				`the certificate "orders" in contoso.vault.azure.net was not found; check the name, or recover the ` +
					`certificate if it was deleted`},
			{"expired", func() {
				w.vault.Add("orders", version(t, "v3", testkit.Valid(time.Now().Add(-48*time.Hour), time.Now().Add(-time.Hour))))
			}, `the certificate "orders" in contoso.vault.azure.net expired at ` +
				time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `; renew it, and add the new version to the ` +
				`app registration`},
			{"not yet valid", func() {
				w.vault.Add("orders", version(t, "v4", testkit.Valid(time.Now().Add(time.Hour), time.Now().Add(48*time.Hour))))
			}, `the certificate "orders" in contoso.vault.azure.net is not valid before ` +
				time.Now().Add(4*time.Hour).UTC().Format(time.RFC3339) + `; until then the previous version is used`},
		} {
			time.Sleep(time.Hour)
			log.Take()
			test.prepare()
			w.vault.Add("unrelated", v1)
			w.vault.Intercept(func(rw http.ResponseWriter, r *http.Request) bool { // the key of v1 stays usable
				if r.Method == http.MethodPost {
					r.URL.Path = strings.Replace(r.URL.Path, "orders", "unrelated", 1)
				}
				return false
			})
			w.mustUse(t, c)
			synctest.Wait()
			w.mustUse(t, c)
			lines := log.Lines(t)
			failed, _ := lines[0]["error"].(map[string]any)
			if len(lines) != 1 || lines[0]["level"] != "WARN" || failed["description"] != test.want {
				t.Errorf("%s: got %v, want %s", test.name, lines, test.want)
			}
		}
	})
}

// However many callers start at once, the certificate is read once.
func TestKeyVaultColdCallersReadOnce(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		w := openVaultWorld(t)
		v1 := version(t, "v1")
		w.vault.Add("orders", v1)
		w.register(v1.Certificate)
		w.vault.Intercept(func(http.ResponseWriter, *http.Request) bool {
			time.Sleep(5 * time.Second)
			return false
		})
		c := w.credential(t, credentials.KeyVaultOptions{Download: true})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { w.mustUse(t, c) })
		}
		wg.Wait()
		w.wantRequests(t, readSecret)
	})
}

// Each failure names the missing role or permission, or the state of the certificate.
func TestKeyVaultErrors(t *testing.T) {
	const subject = `the certificate "orders" in contoso.vault.azure.net`
	forbidden := func(inner string) keyvault.Failure {
		return keyvault.Failure{Status: 403, Code: "Forbidden", Inner: inner, Message: "Caller is not authorized."}
	}
	type setup func(*vaultWorld)
	fail := func(operation string, f keyvault.Failure) setup {
		return func(w *vaultWorld) { w.vault.Fail(operation, f) }
	}
	responds := func(status int, contentType, body string) setup {
		return func(w *vaultWorld) {
			w.vault.Intercept(func(rw http.ResponseWriter, _ *http.Request) bool {
				rw.Header().Set("Content-Type", contentType)
				rw.WriteHeader(status)
				io.WriteString(rw, body)
				return true
			})
		}
	}
	add := func(change func(*keyvault.Version)) setup {
		return func(w *vaultWorld) {
			v := version(t, "v2")
			change(&v)
			w.vault.Add("orders", v)
		}
	}
	const loading = "failed to load the credential: "
	const signing = "the certificate's key failed to sign: "
	const aKey = `the key of the certificate "orders" in contoso.vault.azure.net`
	for _, test := range []struct {
		name     string
		download bool
		setup    setup
		want     string
		code     string
		status   int // of the error in the chain that has one
	}{
		{"role to read", false, fail("certificates", forbidden("ForbiddenByRbac")), loading +
			`the identity of the token may not use ` + subject + `; it needs the role "Key Vault Reader" ` +
			`(Microsoft.KeyVault/vaults/certificates/read)`, "invalid_client", 403},
		{"policy to read", false, fail("certificates", forbidden("AccessDenied")), loading +
			`the identity of the token may not use ` + subject + `; it needs the permission "get" for certificates in an ` +
			`access policy`, "invalid_client", 403},
		{"role to download", true, fail("secrets", forbidden("")), loading +
			`the identity of the token may not use ` + subject + `; it needs the role "Key Vault Certificate User" ` +
			`(Microsoft.KeyVault/vaults/secrets/getSecret/action), or the permission "get" for secrets in an access policy`,
			"invalid_client", 403},
		{"role to sign", false, fail("sign", forbidden("ForbiddenByRbac")), signing +
			`the identity of the token may not use ` + aKey + `; it needs the role "Key Vault Crypto User" ` +
			`(Microsoft.KeyVault/vaults/keys/sign/action)`, "invalid_client", 403},
		{"firewall", false, fail("certificates", forbidden("ForbiddenByFirewall")), loading +
			`contoso.vault.azure.net rejects requests from this network; add it to the firewall of the vault, or use a ` +
			`private endpoint`, "invalid_client", 403},
		{"not found", false, func(w *vaultWorld) { w.vault.Remove("orders") }, loading + subject +
			` was not found; check the name, or recover the certificate if it was deleted`, "invalid_client", 404},
		{"deleted", true, fail("secrets", keyvault.Failure{
			Status: 409, Code: "Conflict", Inner: "ObjectIsDeletedButRecoverable", Message: "Secret is deleted.",
		}), loading + subject + " has been deleted; recover it", "invalid_client", 409},
		{"disabled certificate", false, add(func(v *keyvault.Version) { v.Disabled = true }), loading + subject +
			" is disabled; enable its latest version", "invalid_client", 0},
		{"disabled secret", true, add(func(v *keyvault.Version) { v.Disabled = true }), loading + subject +
			" is disabled; enable its latest version", "invalid_client", 403},
		{"key expired", false, fail("sign", keyvault.Failure{
			Status: 403, Code: "Forbidden", Inner: "KeyExpired", Message: "Operation sign is not allowed on an expired key.",
		}), signing + aKey + " has expired; renew it", "invalid_client", 403},
		{"expired", true, add(func(v *keyvault.Version) {
			v.Certificate = testkit.Certificate(t, v.Key, testkit.Valid(time.Unix(0, 0), time.Unix(1e9, 0)))
		}), loading + subject + " expired at 2001-09-09T01:46:40Z; renew it, and add the new version to the app registration",
			"invalid_client", 0},
		{"not exported", true, add(func(v *keyvault.Version) { v.NotExported, v.PEM = true, true }), loading +
			subject + " cannot be used; if the vault does not export its private key, do not set " +
			"KeyVaultOptions.Download: there is no RSA private key", "invalid_client", 0},
		{"not exported PKCS#12", true, add(func(v *keyvault.Version) { v.NotExported = true }), loading +
			subject + " cannot be used; if the vault does not export its private key, do not set KeyVaultOptions.Download: " +
			"the data is a PKCS#12 (PFX) file that is corrupt or does not have one private key with its certificate; " +
			"export it again: openssl pkcs12 -export -inke...", "invalid_client", 0},
		{"not a certificate", true, responds(200, "application/json", `{"value":"top secret","contentType":"text/plain"}`),
			loading + subject + ` is a secret with the content type "text/plain"; certificates have application/x-pkcs12 ` +
				`or application/x-pem-file`, "invalid_client", 0},
		{"key elsewhere", false, func(w *vaultWorld) {
			cer := base64.StdEncoding.EncodeToString(version(t, "v1").Certificate.Raw)
			responds(200, "application/json", `{"kid":"https://other.vault.azure.net/keys/orders/v1","cer":"`+cer+`"}`)(w)
		}, loading + subject + " has a key that is not in the same vault", "invalid_client", 0},
		{"proxy", false, responds(200, "text/html", "<html>top secret"), loading +
			"contoso.vault.azure.net did not return a certificate but 16 bytes, text/html, status 200; check whether a " +
			"proxy sent it", "invalid_client", 200},
		{"echo", false, func(w *vaultWorld) {
			w.vault.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				rw.WriteHeader(http.StatusBadRequest)
				fmt.Fprintf(rw, `{"error":{"code":"BadParameter","message":"bad header %s"}}`, r.Header.Get("Authorization"))
				return true
			})
		}, loading + `contoso.vault.azure.net rejected the request for the certificate "orders": ` +
			`bad header Bearer [redacted]`, "invalid_client", 400},
		{"redirect", false, responds(302, "text/html", ""), loading + `contoso.vault.azure.net rejected the request for ` +
			`the certificate "orders" with 0 bytes, text/html, status 302`, "invalid_client", 302},
		{"throttled", false, fail("certificates", keyvault.Failure{
			Status: 429, Code: "Throttled", Message: "Too many requests.", RetryAfter: "30",
		}), loading + `contoso.vault.azure.net rejected the request for the certificate "orders": ` +
			`Too many requests.`, "temporarily_unavailable", 429},
		{"wrong signature", false, func(w *vaultWorld) {
			w.vault.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				fmt.Fprint(rw, `{"value":"AAAA"}`)
				return true
			})
		}, signing + `the signature of contoso.vault.azure.net is not one of the certificate "orders"`, "invalid_client", 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newVaultWorld(t)
			w.vault.Add("orders", version(t, "v1"))
			test.setup(w)
			err := w.use(w.credential(t, credentials.KeyVaultOptions{Download: test.download}))
			e := testkit.Error(t, err)
			if e.Description != test.want || e.Code != test.code {
				t.Errorf("got  %s: %s\nwant %s: %s", e.Code, e.Description, test.code, test.want)
			}
			status := e.StatusCode
			if cause, ok := errors.AsType[*entra.Error](e.Err); ok {
				status = cause.StatusCode
			}
			if status != test.status || e.Temporary() != (test.status == 429) {
				t.Errorf("got the status %d, temporary %t, want %d", status, e.Temporary(), test.status)
			}
			testkit.NoSecrets(t, err, "top secret", "vault-token")
			if n := len(w.Posts()); n != 0 {
				t.Errorf("got %d requests to Entra, want 0", n)
			}
		})
	}
}

// While a caller waits, a temporary failure is retried, both of reading the certificate and of signing.
func TestKeyVaultRetries(t *testing.T) {
	testkit.NoPlatform(t)
	synctest.Test(t, func(t *testing.T) {
		w := openVaultWorld(t)
		v1 := version(t, "v1")
		w.vault.Add("orders", v1)
		w.register(v1.Certificate)
		failed := map[string]bool{}
		w.vault.Intercept(func(rw http.ResponseWriter, r *http.Request) bool {
			if failed[r.Method] {
				return false
			}
			failed[r.Method] = true
			rw.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		w.mustUse(t, w.credential(t, credentials.KeyVaultOptions{}))
		w.wantRequests(t, strings.Replace(readCertificate, "200", "503", 1), readCertificate,
			strings.Replace(signWithV1, "200", "503", 1), signWithV1)
	})
}

// A token that the vault rejects is replaced once, if the challenge names the domain of the vault.
func TestKeyVaultChallenges(t *testing.T) {
	challenge := func(tenant, resource string) string {
		return fmt.Sprintf(`Bearer authorization="https://login.microsoftonline.com/%s", resource="%s"`, tenant, resource)
	}
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1"}}}`))
	const loading = "failed to load the credential: "
	for _, test := range []struct {
		name, challenge string
		accepts         string
		want            string // of the error
		tokens          int
	}{
		{"new token", challenge(tenantID, "https://vault.azure.net"), "vault-token-2", "", 2},
		{"claims", `Bearer error="insufficient_claims", claims="` + claims + `"`, "vault-token-2", "", 2},
		{"other tenant", challenge("99999999-9999-9999-9999-999999999999", "https://vault.azure.net"), "vault-token-99",
			loading + "contoso.vault.azure.net rejected the token: AKV10000: Request is missing a Bearer or PoP token.; " +
				"the vault accepts tokens of the tenant 99999999-9999-9999-9999-999999999999", 2},
		{"other resource", challenge(tenantID, "https://vault.azure.net.evil.example"), "vault-token-2",
			loading + "the challenge of contoso.vault.azure.net names another resource than https://vault.azure.net", 1},
		{"other scope", `Bearer authorization="https://login.microsoftonline.com/x", scope="https://graph.microsoft.com/.default"`,
			"vault-token-2",
			loading + "the challenge of contoso.vault.azure.net names another resource than https://vault.azure.net", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newVaultWorld(t)
			v1 := version(t, "v1")
			w.vault.Add("orders", v1)
			w.register(v1.Certificate)
			w.vault.Accept(test.challenge, test.accepts)
			err := w.use(w.credential(t, credentials.KeyVaultOptions{Download: true}))
			if test.want == "" && err != nil || test.want != "" && testkit.Error(t, err).Description != test.want {
				t.Errorf("got %v, want %q", err, test.want)
			}
			if n := len(w.issued.Sent()); n != test.tokens {
				t.Errorf("got %d tokens, want %d", n, test.tokens)
			}
			if got, _ := w.vault.Take(); len(got) != test.tokens {
				t.Errorf("got %q, want %d requests", got, test.tokens)
			}
		})
	}
}

// The failure to acquire a token for the vault is the failure of the credential.
func TestKeyVaultWithoutToken(t *testing.T) {
	w := newVaultWorld(t)
	w.issued.Intercept(func(req *http.Request, _ url.Values) (*http.Response, error) {
		return testkit.Response(req, 400, "application/json",
			`{"error":"invalid_request","error_description":"Identity not found"}`), nil
	})
	e := testkit.Error(t, w.use(w.credential(t, credentials.KeyVaultOptions{})))
	want := "failed to load the credential: no token for contoso.vault.azure.net: no token for the system-assigned " +
		"identity: the managed identity service (IMDS) did not return a token: Identity not found; "
	if e.Code != "invalid_client" || !strings.HasPrefix(e.Description, want) {
		t.Errorf("got %v, want %s", e, want)
	}
	w.wantRequests(t)
}

// A vault whose name does not exist is named.
func TestKeyVaultUnknownHost(t *testing.T) {
	w := newVaultWorld(t)
	c, err := credentials.KeyVaultCertificate(w.source, vaultURL, "orders", &credentials.KeyVaultOptions{
		HTTPClient: &http.Client{Transport: testkit.RoundTripper(func(*http.Request) (*http.Response, error) {
			return nil, &net.DNSError{Err: "no such host", Name: vaultHost, IsNotFound: true}
		})},
	})
	if err != nil {
		t.Fatal(err)
	}
	e := testkit.Error(t, w.use(c))
	want := "failed to load the credential: request to contoso.vault.azure.net failed: lookup contoso.vault.azure.net: " +
		"no such host; check the name of the host"
	if e.Code != entra.CodeRequestFailed || e.Description != want {
		t.Errorf("got  %s\nwant %s", e.Description, want)
	}
}

// Configurations that would send a token elsewhere, or that can never work, are errors without a request.
func TestKeyVaultCertificateRejectsInvalidOptions(t *testing.T) {
	w := newVaultWorld(t)
	graph := newGraphSource(t)
	const format = "the URL of the vault is not https with a host and without a path, such as https://contoso.vault.azure.net"
	const notAVault = ` is not a vault of the cloud login.microsoftonline.com, which has the domain vault.azure.net for vaults`
	for _, test := range []struct {
		name, url, certificate string
		source                 *entra.TokenSource
		cloud                  entra.Cloud
		want                   string
	}{
		{"plain HTTP", "http://contoso.vault.azure.net", "orders", w.source, "", format},
		{"path", vaultURL + "/certificates/orders", "orders", w.source, "", format},
		{"user", "https://user@contoso.vault.azure.net", "orders", w.source, "", format},
		{"empty", "", "orders", w.source, "", format},
		{"host alone", vaultHost, "orders", w.source, "", format},
		{"other host", "https://vault.azure.net.evil.example", "orders", w.source, "",
			`the host "vault.azure.net.evil.example"` + notAVault},
		{"domain alone", "https://vault.azure.net", "orders", w.source, "", `the host "vault.azure.net"` + notAVault},
		{"two labels", "https://a.b.vault.azure.net", "orders", w.source, "", `the host "a.b.vault.azure.net"` + notAVault},
		{"port", "https://contoso.vault.azure.net:8443", "orders", w.source, "",
			`the host "contoso.vault.azure.net:8443"` + notAVault},
		{"other cloud", "https://contoso.vault.azure.cn", "orders", w.source, "",
			`the host "contoso.vault.azure.cn"` + notAVault},
		{"scope of another cloud", "https://contoso.vault.azure.cn", "orders", w.source, entra.CloudChina,
			`the source of tokens for the vault has the scopes ["https://vault.azure.net/.default"]; it needs ` +
				`"https://vault.azure.cn/.default"`},
		{"scope of Graph", vaultURL, "orders", graph, "",
			`the source of tokens for the vault has the scopes ["https://graph.microsoft.com/.default"]; it needs ` +
				`"https://vault.azure.net/.default"`},
		{"unknown cloud", vaultURL, "orders", w.source, "contoso.ciamlogin.com",
			"the domain of Key Vault in the cloud contoso.ciamlogin.com is not known"},
		{"no source", vaultURL, "orders", nil, "", "the source of tokens for the vault is nil"},
		{"name", vaultURL, "orders/v1", w.source, "",
			"the name of a certificate in Key Vault has 1 to 127 letters, digits and hyphens"},
		{"no name", vaultURL, "", w.source, "",
			"the name of a certificate in Key Vault has 1 to 127 letters, digits and hyphens"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := credentials.KeyVaultCertificate(test.source, test.url, test.certificate, &credentials.KeyVaultOptions{
				Cloud: test.cloud, HTTPClient: &http.Client{Transport: w.vault},
			})
			wantInvalid(t, err, "", test.want)
		})
	}
	w.wantRequests(t)
}

func newGraphSource(t *testing.T) *entra.TokenSource {
	t.Helper()
	id, err := managedidentity.New(managedidentity.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return id.TokenSource("https://graph.microsoft.com/.default")
}

// A fake on loopback serves the credential over TLS.
func TestKeyVaultOnLoopback(t *testing.T) {
	w := newVaultWorld(t)
	server := httptest.NewTLSServer(w.vault)
	defer server.Close()
	w.vault.Host = strings.TrimPrefix(server.URL, "https://")
	v1 := version(t, "v1")
	w.vault.Add("orders", v1)
	w.register(v1.Certificate)
	c, err := credentials.KeyVaultCertificate(w.source, server.URL+"/", "orders", &credentials.KeyVaultOptions{
		HTTPClient: server.Client(),
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mustUse(t, c)
	w.wantRequests(t, readCertificate, signWithV1)
}

// A file of Microsoft.Identity.Web names a certificate in Key Vault, whose private key is downloaded.
func TestFromFileKeyVault(t *testing.T) {
	w := newVaultWorld(t)
	v1 := version(t, "v1")
	w.vault.Add("orders", v1)
	w.register(v1.Certificate)
	path := settingsFile(t, t.TempDir(), `"SendX5C": true, "ClientCredentials": [{"SourceType": "KeyVault",
		"KeyVaultUrl": "https://contoso.vault.azure.net", "KeyVaultCertificateName": "orders"}]`)
	cfg, err := credentials.FromFile(path, "AzureAd", &credentials.FileOptions{
		Env: []string{""}, KeyVaultSource: w.source, HTTPClient: &http.Client{Transport: w.vault},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.mustUse(t, cfg.Credential)
	w.wantRequests(t, readSecret)
	if h := header(t, w.sent("client_assertion")[0]); len(h.X5C) != 1 {
		t.Errorf("got the header %+v", h)
	}

	// Without a source, the managed identity acquires the tokens.
	path = settingsFile(t, t.TempDir(), `"ClientCredentials": [{"SourceType": "KeyVault", "ManagedIdentityClientId": "x",
		"KeyVaultUrl": "https://contoso.vault.azure.net", "KeyVaultCertificateName": "orders"}]`)
	_, err = credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Env: []string{""}})
	wantInvalid(t, err, "", "AzureAd:ClientCredentials:0: the managed identity for Key Vault: Config.ClientID is not a GUID")
	path = settingsFile(t, t.TempDir(), `"ClientCredentials": [{"SourceType": "KeyVault",
		"KeyVaultUrl": "https://contoso.vault.azure.net", "KeyVaultCertificateName": "orders"}]`)
	if _, err = credentials.FromFile(path, "AzureAd", &credentials.FileOptions{Env: []string{""}}); err != nil {
		t.Error(err)
	}
}

// Any response of a vault, and any challenge, leads to a credential or to a typed error.
func FuzzKeyVaultResponse(f *testing.F) {
	key := testkit.RSAKey(f)
	cer := base64.StdEncoding.EncodeToString(testkit.Certificate(f, key).Raw)
	f.Add(200, `{"id":"1","kid":"https://contoso.vault.azure.net/keys/orders/1","cer":"`+cer+`","attributes":{"enabled":true}}`, "")
	f.Add(200, `{"id":"1","contentType":"application/x-pem-file","value":"-----BEGIN CERTIFICATE-----"}`, "")
	f.Add(200, `{"id":"1","contentType":"application/x-pkcs12","value":"MIIB"}`, "")
	f.Add(403, `{"error":{"code":"Forbidden","message":"m","innererror":{"code":"AccessDenied"}}}`, "")
	f.Add(401, `{"error":null}`, `Bearer authorization="https://login.microsoftonline.com/", resource="https://vault.azure.net"`)
	f.Add(401, `[]`, `Bearer resource="%", scope=""`)
	w := newVaultWorld(f)
	f.Fuzz(func(t *testing.T, status int, body, challenge string) {
		if status < 200 || status > 599 {
			return
		}
		for _, download := range []bool{false, true} {
			c, err := credentials.KeyVaultCertificate(w.source, vaultURL, "orders", &credentials.KeyVaultOptions{
				Download: download,
				HTTPClient: &http.Client{Transport: testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
					if req.URL.Host != vaultHost || req.Method != http.MethodGet {
						return nil, errors.New("no such request") // of a signature, which is not retried
					}
					return testkit.Response(req, status, "application/json", body, "WWW-Authenticate", challenge), nil
				})},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // without retries
			client, err := w.client(c)
			if err == nil {
				_, err = clientcreds.TokenSource(client, scope).TokenContext(ctx)
			}
			cancel()
			if err != nil {
				testkit.NoSecrets(t, err, "vault-token")
			}
		}
	})
}
