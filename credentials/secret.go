package credentials

import (
	"bytes"
	"context"
	"log/slog"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/clientsecret"
)

// SecretFileOptions configures [SecretFile].
type SecretFileOptions struct {
	// Logger receives a record when a new secret is loaded (level Info), and when the
	// changed file cannot be used (Warn). If nil, nothing is logged.
	Logger *slog.Logger
}

// SecretFile returns a credential whose client secret is read from a file, as Kubernetes,
// Docker and vault agents provide it. The file is read again when it changes. It contains
// the secret's value and nothing else. A byte order mark and line breaks at the end are
// ignored. If opts is nil, the defaults are used.
//
// The error is an [*entra.Error] with the code "invalid_client". It names the file and the
// problem.
func SecretFile(path string, opts *SecretFileOptions) (entra.Credential, error) {
	f := &file{kind: "client secret", paths: []string{path}, logger: orZero(opts).Logger}
	f.parse = func(_ context.Context, contents [][]byte) (version, error) {
		secret := string(bytes.TrimRight(bytes.TrimPrefix(contents[0], byteOrderMark), "\r\n"))
		if problem := clientsecret.Problem(secret); problem != "" {
			return version{}, invalid("the client secret file %q %s", path, problem)
		}
		cred := entra.Secret(secret)
		return version{credential: cred, info: cred.Info()}, nil
	}
	return f.open()
}

// orZero returns *opts, or the zero options if opts is nil.
func orZero[T any](opts *T) T {
	if opts == nil {
		return *new(T)
	}
	return *opts
}

// secretRefresh is how long a secret is used before the callback is called again.
const secretRefresh = 5 * time.Minute

// SecretFunc returns a credential whose client secret comes from a callback, such as one
// that reads a vault.
//
// The secret is cached. If it is needed after more than five minutes, get is called in the
// background. If Entra rejects the secret, get is called at once. While get fails or
// returns a text that cannot be a secret, the cached one stays in use until Entra rejects
// it.
//
// At most one call of get is in flight. get must return when its context ends, which is
// after 20 seconds at most. Its error becomes the Err of an [*entra.Error], which is
// Temporary if get's error is an [*entra.Error] that is Temporary.
func SecretFunc(get func(context.Context) (string, error)) entra.Credential {
	if get == nil {
		return entra.CredentialFunc(nil) // which entra.New rejects
	}
	return (&callback{
		kind: "client secret",
		get: func(ctx context.Context) (value, error) {
			secret, err := get(ctx)
			if problem := clientsecret.Problem(secret); err == nil && problem != "" {
				err = invalid("the client secret that the callback returned %s", problem)
			}
			return value{
				text:          func() string { return secret },
				newCredential: func() entra.Credential { return entra.Secret(secret) },
				refreshAt:     time.Now().Add(secretRefresh),
			}, err
		},
	}).credential()
}
