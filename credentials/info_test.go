package credentials_test

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/credentials"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
)

func wantInfo(t testing.TB, c entra.Credential, want entra.CredentialInfo) {
	t.Helper()
	if got := c.Info(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Info describes the certificate in use, before and after a change of the file.
func TestCertificateFileInfo(t *testing.T) {
	dir := testFiles(t, "cat leaf.crt leaf.key > cert; cat other.crt other.key > next")
	path := filepath.Join(dir, "cert")
	c, err := credentials.CertificateFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	leaf, other := certificate(t, dir, "leaf.crt"), certificate(t, dir, "other.crt")
	wantInfo(t, c, entra.CredentialInfo{
		Kind: "certificate", File: path, Thumbprint: thumbprint(leaf),
		Subject: "CN=leaf", Issuer: "CN=between", NotAfter: leaf.NotAfter,
	})
	replace(t, path, read(t, dir, "next"))
	newFakeEntra().use(c) // loads the file
	wantInfo(t, c, entra.CredentialInfo{
		Kind: "certificate", File: path, Thumbprint: thumbprint(other),
		Subject: "CN=other", Issuer: "CN=other", NotAfter: other.NotAfter,
	})
}

// Info describes secrets without their value.
func TestSecretInfo(t *testing.T) {
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "secret"), "s3cr3t")
	c, err := credentials.SecretFile(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	wantInfo(t, c, entra.CredentialInfo{Kind: "client secret", File: path})
	c = credentials.SecretFunc(func(context.Context) (string, error) { return "s3cr3t", nil })
	wantInfo(t, c, entra.CredentialInfo{Kind: "client secret"})
}

// Azure CLI created client secrets that are GUIDs for years, and older interfaces accepted any text. Such a secret is
// sent, and Info warns that it looks like the ID of a secret (https://github.com/Azure/azure-cli/issues/5973).
func TestSecretsOfOldToolsAreSent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for secret, want := range map[string]string{
		"7d1c5a0e-1111-4a7b-9c9f-0123456789ab": "the client secret is a GUID, such as the ID of a secret, client or tenant; " +
			"if Entra rejects it, use the secret's Value, which the Entra admin center only shows when the secret is created",
		"correct horse battery": "the client secret contains white space; if Entra rejects it, use the secret's Value and " +
			"nothing else",
	} {
		e := newFakeEntra()
		e.secrets(secret)
		testkit.WriteFile(t, path, secret+"\n")
		file, err := credentials.SecretFile(path, nil)
		if err != nil {
			t.Fatal(err)
		}
		setenv(t, "AZURE_CLIENT_SECRET", secret)
		environment, err := credentials.FromEnvironment(nil)
		if err != nil {
			t.Fatal(err)
		}
		callback := credentials.SecretFunc(func(context.Context) (string, error) { return secret, nil })
		for name, c := range map[string]entra.Credential{
			"file": file, "environment": environment.Credential, "callback": callback, "text": entra.Secret(secret),
		} {
			e.mustUse(t, c)
			if got := c.Info().Warning; got != want {
				t.Errorf("%s: got %q, want %q", name, got, want)
			}
		}
		e.wantSent(t, secret, secret, secret, secret)
	}
}

// Info describes a token as soon as it is loaded.
func TestAssertionInfo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newFakeEntra().trust(t)
		path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "token"), p.token(t, time.Hour))
		c, err := credentials.WorkloadIdentity(&credentials.WorkloadIdentityOptions{TokenFile: path})
		if err != nil {
			t.Fatal(err)
		}
		want := entra.CredentialInfo{
			Kind: "federated token", File: path, Issuer: issuer, Subject: subject,
			Audience: []string{credentials.Audience}, NotAfter: time.Now().Add(time.Hour).UTC(),
		}
		wantInfo(t, c, want)

		c = credentials.AssertionFunc(p.tokens(time.Hour).get)
		wantInfo(t, c, entra.CredentialInfo{Kind: "client assertion"})
		p.mustUse(t, c)
		want.Kind, want.File = "client assertion", ""
		wantInfo(t, c, want)
	})
}

// The name of the variable is part of the info, next to that of the file.
func TestFromEnvironmentInfo(t *testing.T) {
	path := testkit.WriteFile(t, filepath.Join(t.TempDir(), "secret"), newFakeEntra().trust(t).token(t, time.Hour))
	env := []string{"AZURE_TENANT_ID=" + entratest.SampleTenant, "AZURE_CLIENT_ID=aaaaaaaa-0000-4000-8000-00000000000d"}
	for _, test := range []struct {
		env  []string
		want entra.CredentialInfo
	}{
		{[]string{"AZURE_CLIENT_SECRET=s3cr3t"}, entra.CredentialInfo{Kind: "client secret",
			Variable: "AZURE_CLIENT_SECRET"}},
		{[]string{"AZURE_FEDERATED_TOKEN_FILE=" + path},
			entra.CredentialInfo{Kind: "federated token", Variable: "AZURE_FEDERATED_TOKEN_FILE", File: path}},
		{[]string{"ACTIONS_ID_TOKEN_REQUEST_URL=https://a.example", "ACTIONS_ID_TOKEN_REQUEST_TOKEN=s3cr3t"},
			entra.CredentialInfo{Kind: "GitHub Actions token", Variable: "ACTIONS_ID_TOKEN_REQUEST_URL"}},
	} {
		cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{Env: append(test.env, env...)})
		if err != nil {
			t.Fatal(err)
		}
		got := cfg.Credential.Info()
		if got.Kind != test.want.Kind || got.Variable != test.want.Variable || got.File != test.want.File {
			t.Errorf("got %+v, want %+v", got, test.want)
		}
	}
}

// Env replaces the environment of the process, and the last of two equal names is used.
func TestFromEnvironmentWithEnv(t *testing.T) {
	setenv(t, "AZURE_CLIENT_SECRET", "s3cr3t")
	_, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{Env: []string{}})
	if err == nil {
		t.Error("the environment of the process was used")
	}
	cfg, err := credentials.FromEnvironment(&credentials.EnvironmentOptions{Env: []string{
		"AZURE_TENANT_ID=first", "AZURE_TENANT_ID=second", "AZURE_CLIENT_ID=client", "AZURE_CLIENT_SECRET=a=b",
	}})
	if err != nil || cfg.TenantID != "second" || cfg.ClientID != "client" || !cfg.Credential.Equal(entra.Secret("a=b")) {
		t.Errorf("got %+v, %v", cfg, err)
	}
}
