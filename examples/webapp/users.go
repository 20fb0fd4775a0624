package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/signin"
)

// signInConfig returns the configuration of the sign-ins. It admits the users in ENTRA_USERS.
func signInConfig() signin.Config {
	admitted := strings.FieldsFunc(strings.ToLower(os.Getenv("ENTRA_USERS")), func(r rune) bool {
		return r == ',' || r == ' '
	})
	return signin.Config{Logger: slog.Default(), OnSignIn: (&users{admitted: admitted}).signIn}
}

// users is the record of the app's users, in memory. In your app it is a table of the database.
type users struct {
	admitted []string // object IDs in lower case; if empty, all users are admitted

	mu    sync.Mutex // guards known
	known map[userKey]user
}

// userKey identifies a user. Names and addresses change and can pass to another person.
type userKey struct{ tenantID, objectID string }

type user struct {
	name  string // for display; updated by each sign-in
	since time.Time
}

// signIn is signin.Config.OnSignIn. It adds a new user to the record, or rejects a user with a reason for the page.
func (u *users) signIn(ctx context.Context, in *authcode.SignIn) error {
	if len(u.admitted) > 0 && !slices.Contains(u.admitted, strings.ToLower(in.Account.ObjectID)) {
		return &signin.RejectionError{
			Reason: "You do not have an account in this app yet. Please contact your administrator.",
		}
	}
	key := userKey{in.Account.TenantID, in.Account.ObjectID}
	u.mu.Lock()
	defer u.mu.Unlock()
	row, ok := u.known[key]
	if !ok {
		row.since = time.Now()
		slog.InfoContext(ctx, "new user", "tenant", key.tenantID, "object", key.objectID)
	}
	row.name = in.Account.Name
	if u.known == nil {
		u.known = map[userKey]user{}
	}
	u.known[key] = row
	return nil
}
