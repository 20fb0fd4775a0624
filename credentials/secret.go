package credentials

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/entratoken/entra"
)

// guid is what no client secret looks like, but the IDs around it do.
var guid = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// SecretFileConfig says where a client secret is.
type SecretFileConfig struct {
	// Path is a file with the secret and nothing else; a line feed at its end and a
	// byte order mark are no part of it. Required.
	Path string
	// Logger is told when a new secret was read (level Info), and when what the file has
	// become cannot be used (Warn). Zero: silent.
	Logger *slog.Logger
}

// SecretFile returns a client secret that is read from a file, as Kubernetes, Docker and
// agents of vaults provide it, and read anew when the file changes. It is
// [SecretFileWith] without a logger.
func SecretFile(path string) (entra.Credential, error) {
	return SecretFileWith(SecretFileConfig{Path: path})
}

// SecretFileWith returns a client secret that is read from a file, and read anew when the
// file changes. The error, an [*entra.Error] with the code "invalid_client", names the
// file and says what is wrong with it.
func SecretFileWith(cfg SecretFileConfig) (entra.Credential, error) {
	f := &files{kind: "client secret", paths: []string{cfg.Path}, logger: cfg.Logger}
	f.parse = func(_ context.Context, contents [][]byte) (version, error) {
		secret := string(bytes.TrimRight(bytes.TrimPrefix(contents[0], byteOrderMark), "\r\n"))
		switch problem := notASecret(secret); {
		case secret == "":
			return version{}, refuse("the client secret file %q is empty", cfg.Path)
		case problem != "":
			return version{}, refuse("the client secret file %q %s", cfg.Path, problem)
		}
		return version{credential: entra.Secret(secret)}, nil
	}
	return f.open()
}

// notASecret says why secret cannot be one, "" if it can.
func notASecret(secret string) string {
	switch {
	case strings.ContainsFunc(secret, func(c rune) bool { return unicode.IsSpace(c) || unicode.IsControl(c) || c == unicode.ReplacementChar }):
		return "has white space, a control character or something other than text in it; it is to be the value of the secret and nothing else"
	case guid.MatchString(secret):
		return "consists of a GUID, so it is the ID of a secret, or the client's or the tenant's ID; " +
			"it is to be the secret's Value, which the Entra admin center shows only when it is made (make a new one if it is lost)"
	}
	return ""
}

// secretFresh is how long a secret is used until the callback is asked whether it is
// still the same.
const secretFresh = 5 * time.Minute

// SecretFunc is a client secret that a callback returns, such as one that reads a vault.
//
// get is asked once, and again when Entra refuses the secret and when it is needed after
// more than five minutes: then in the background, and while get fails, or returns what
// cannot be a secret, the one that is held stays in use until Entra refuses it. One call is
// made at a time, however many requests wait for it, and it must return when its context
// ends, after 20 seconds at most. Its error becomes the Err of an [*entra.Error]; if it is
// an [*entra.Error] that is Temporary, so is that one.
func SecretFunc(get func(context.Context) (string, error)) entra.Credential {
	return (&asked{
		what: "client secret",
		make: func(s string) (entra.Credential, error) { return entra.Secret(s), nil },
		get: func(ctx context.Context) (answer, error) {
			if get == nil {
				return answer{}, refuse("the callback for the client secret is missing")
			}
			secret, err := get(ctx)
			switch problem := notASecret(secret); {
			case err != nil:
			case secret == "":
				err = errors.New("it returned an empty client secret")
			case problem != "":
				err = refuse("the client secret that was returned %s", problem)
			}
			return answer{text: func() string { return secret }, askAfter: time.Now().Add(secretFresh)}, err
		},
	}).credential()
}
