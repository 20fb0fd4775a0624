package credentials

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/internal/guid"
)

// SecretFileOptions configures [SecretFile].
type SecretFileOptions struct {
	// Logger logs that a new secret was loaded (level Info), and that the changed file
	// cannot be used (Warn). If nil, nothing is logged.
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
		switch problem := secretProblem(secret); {
		case secret == "":
			return version{}, invalid("the client secret file %q is empty", path)
		case problem != "":
			return version{}, invalid("the client secret file %q %s", path, problem)
		}
		return version{credential: entra.Secret(secret), info: entra.CredentialInfo{Kind: f.kind}}, nil
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

// secretProblem returns why a text cannot be a client secret, or "" if it can.
func secretProblem(secret string) string {
	notSecret := func(c rune) bool {
		return unicode.IsSpace(c) || unicode.IsControl(c) || c == unicode.ReplacementChar
	}
	switch {
	case strings.ContainsFunc(secret, notSecret):
		return "contains white space, a control character or invalid UTF-8; it must be the value of the secret and " +
			"nothing else"
	case guid.Valid(secret):
		return "is a GUID, such as the ID of a secret, client or tenant; use the secret's Value, " +
			"which the Entra admin center only shows when the secret is created (create a new one if it is lost)"
	}
	return ""
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
	return (&callback{
		kind:          "client secret",
		newCredential: entra.Secret,
		get: func(ctx context.Context) (value, error) {
			if get == nil {
				return value{}, invalid("the client secret callback is nil")
			}
			secret, err := get(ctx)
			switch problem := secretProblem(secret); {
			case err != nil:
			case secret == "":
				err = errors.New("the callback returned an empty string")
			case problem != "":
				err = invalid("the client secret that the callback returned %s", problem)
			}
			return value{text: func() string { return secret }, refreshAt: time.Now().Add(secretRefresh)}, err
		},
	}).credential()
}
