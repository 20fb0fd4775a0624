package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
)

// The groups of Alice.
const (
	ordersGroup = "aaaaaaaa-2222-4000-8000-000000000001"
	ledgerGroup = "aaaaaaaa-2222-4000-8000-000000000002"
)

// manyGroups returns more groups than fit into a token, which has the overage claim instead.
func manyGroups() []string {
	var groups []string
	for i := range 201 {
		groups = append(groups, fmt.Sprintf("aaaaaaaa-2222-4000-8000-%012x", i))
	}
	return groups
}

// oauth2ProxyProgram returns the path of oauth2-proxy in Go's build cache.
func oauth2ProxyProgram(t *testing.T) string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "tool", "-n", "oauth2-proxy")
	command.Dir = "oauth2-proxy"
	command.Env = append(os.Environ(), "GOWORK=off")
	output, err := command.Output()
	if err != nil {
		t.Fatalf("go tool -n oauth2-proxy: %v", err)
	}
	return strings.TrimSpace(string(output))
}

// startOAuth2Proxy starts oauth2-proxy with the options that it requires and some more. It returns its origin. The page
// behind it shows the headers that it adds.
func (f *fake) startOAuth2Proxy(t *testing.T, program string, options ...string) string {
	t.Helper()
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		json.NewEncoder(w).Encode(r.Header)
	}))
	t.Cleanup(upstream.Close)
	address := freeAddress(t)
	origin := "http://" + strings.Replace(address, "127.0.0.1", "localhost", 1)
	command := exec.CommandContext(t.Context(), program, append([]string{
		"--http-address=" + address, "--upstream=" + upstream.URL, "--redirect-url=" + origin + "/oauth2/callback",
		"--cookie-secret=" + strings.Repeat("s", 32), "--cookie-secure=false", "--email-domain=*",
		"--oidc-issuer-url=" + f.issuer(), "--provider-ca-file=" + f.caFile,
		"--client-id=" + webappID, "--client-secret=" + webappSecret,
	}, options...)...)
	startServer(t, command, address)
	return origin
}

// oauth2-proxy signs Alice in with its default configuration, and admits users by group.
func TestOAuth2Proxy(t *testing.T) {
	program := oauth2ProxyProgram(t)
	network := offline(t)
	if network == nil {
		return
	}
	many := manyGroups()
	const redirect = "http://localhost/oauth2/callback"
	for _, test := range []struct {
		name     string
		groups   []string
		options  []string
		endpoint string // has the claims that the ID token does not have
	}{
		{"oidc", nil, []string{"--provider=oidc"}, entratest.EndpointUserInfo},
		{"oidc with groups", []string{ordersGroup, ledgerGroup}, []string{"--provider=oidc",
			"--allowed-group=" + ordersGroup, "--scope=openid email profile"}, entratest.EndpointUserInfo},
		{"entra-id", nil, []string{"--provider=entra-id"}, entratest.EndpointUserInfo},
		{"entra-id with groups", []string{ordersGroup, ledgerGroup}, []string{"--provider=entra-id",
			"--allowed-group=" + ordersGroup, "--scope=openid email profile", "--entra-id-allowed-tenant=" + tenant},
			entratest.EndpointUserInfo},
		{"entra-id with too many groups", many, []string{"--provider=entra-id", "--allowed-group=" + ordersGroup,
			"--scope=openid email profile User.Read"}, entratest.EndpointGraph},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := newFake(t, withEmail(test.groups, redirect))
			if len(test.groups) > 200 {
				f.serveGraph(t, network)
			}
			origin := f.startOAuth2Proxy(t, program, test.options...)
			_, page := f.newPerson(t, alice, nowhere).follow(t, origin+"/orders")
			var header http.Header
			if err := json.Unmarshal([]byte(page), &header); err != nil {
				t.Fatalf("got page\n%s", page)
			}
			if got := header.Get("X-Forwarded-Email"); got != aliceEmail {
				t.Errorf("X-Forwarded-Email: got %q, want %q", got, aliceEmail)
			}
			groups := strings.FieldsFunc(header.Get("X-Forwarded-Groups"), func(r rune) bool { return r == ',' })
			slices.Sort(groups)
			if !slices.Equal(groups, test.groups) {
				t.Errorf("X-Forwarded-Groups: got %q, want %q", groups, test.groups)
			}
			if f.Count(entratest.Match{Endpoint: test.endpoint}) == 0 {
				t.Errorf("got no request to %s", test.endpoint)
			}
		})
	}

	// Bob, without a group, is not admitted.
	t.Run("other group", func(t *testing.T) {
		f := newFake(t, withEmail([]string{ordersGroup}, redirect), func(estate *entratest.Config) {
			for i := range estate.Users {
				if estate.Users[i].Username == bob {
					estate.Users[i].Email = "bob@contoso.example"
				}
			}
		})
		origin := f.startOAuth2Proxy(t, program, "--provider=oidc", "--allowed-group="+ordersGroup,
			"--scope=openid email profile")
		person := f.newPerson(t, bob, func(u *url.URL) bool { return u.Path == "/oauth2/callback" })
		back, _ := person.follow(t, origin+"/orders")
		person.Stop = nil
		if page := person.Get(back.String()); page.Status != http.StatusForbidden {
			t.Errorf("got %s, want status 403", page)
		}
	})

	// With allowed groups, oauth2-proxy requests the scope groups by default, which Entra rejects.
	t.Run("default scope with groups", func(t *testing.T) {
		f := newFake(t, withEmail([]string{ordersGroup}, redirect))
		origin := f.startOAuth2Proxy(t, program, "--provider=oidc", "--allowed-group="+ordersGroup)
		back, _ := f.newPerson(t, alice, func(u *url.URL) bool { return u.Query().Has("error") }).
			follow(t, origin+"/orders")
		query := back.Query()
		if query.Get("error") != "invalid_client" || !strings.HasPrefix(query.Get("error_description"), "AADSTS650053:") {
			t.Errorf("got %v, want invalid_client, AADSTS650053", query)
		}
	})
}
