package integration_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// startAuthJS starts a web app with Auth.js and returns its origin.
func (f *fake) startAuthJS(t *testing.T) string {
	t.Helper()
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", "authjs.mjs", port, f.issuer(), webappID, webappSecret)
	command.Dir = "node"
	command.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+f.caFile)
	startServer(t, command, address)
	return "http://localhost:" + port
}

// Auth.js signs Alice in. Its provider requests her photo from graph.microsoft.com for every issuer. Without that name
// the sign-in fails, and no request leaves the machine. If the fake serves the name, the sign-in succeeds.
func TestAuthJS(t *testing.T) {
	network := newOfflineNetwork(t)
	if network == nil {
		return
	}
	estate := withEmail(nil, "http://localhost/auth/callback/microsoft-entra-id")
	t.Run("without Graph", func(t *testing.T) {
		f := newFake(t, estate)
		origin := f.startAuthJS(t)
		end, page := f.newPerson(t, alice, nowhere).follow(t, origin+"/auth/signin")
		if end.Path != "/auth/error" {
			t.Errorf("got %s\n%s\nwant the error page", end, page)
		}
	})
	t.Run("with Graph", func(t *testing.T) {
		f := newFake(t, estate)
		f.serveGraph(t, network)
		origin := f.startAuthJS(t)
		_, page := f.newPerson(t, alice, nowhere).follow(t, origin+"/auth/signin")
		var session struct {
			User struct{ Name, Email string }
		}
		if err := json.Unmarshal([]byte(page), &session); err != nil {
			t.Fatalf("got page\n%s", page)
		}
		if session.User.Name != aliceName || session.User.Email != aliceEmail {
			t.Errorf("got session %+v, want that of Alice", session)
		}
		photos := 0
		for _, r := range f.Requests() {
			if r.Endpoint == entratest.EndpointGraph && strings.HasPrefix(r.Path, "/v1.0/me/photos/48x48/") {
				photos++
			}
		}
		if photos != 1 {
			t.Errorf("got %d requests for the photo, want 1", photos)
		}
	})
	if got, want := network.attempts(t), []string{"graph.microsoft.com"}; !slices.Equal(got, want) {
		t.Errorf("requests to other machines: got %q, want %q", got, want)
	}
}
