package entratest

// The tenants of [Sample].
const (
	// SampleTenant is the ID of Contoso, which has registered the apps.
	SampleTenant = "11111111-1111-4111-8111-111111111111"
	// SampleOtherTenant is the ID of Fabrikam, a customer of Contoso.
	SampleOtherTenant = "22222222-2222-4222-8222-222222222222"
)

// Sample returns a Config for examples and tests. It is the same in every run, and
// callers may modify the result.
//
//	tenant    Contoso   contoso.onmicrosoft.com    11111111-1111-4111-8111-111111111111
//	tenant    Fabrikam  fabrikam.onmicrosoft.com   22222222-2222-4222-8222-222222222222
//	app       daemon    aaaaaaaa-0000-4000-8000-00000000000d   secret daemon-secret
//	app       webapp    aaaaaaaa-0000-4000-8000-0000000000ee   secret webapp-secret
//	app       api-a     aaaaaaaa-0000-4000-8000-00000000000a   secret api-a-secret
//	app       api-b     aaaaaaaa-0000-4000-8000-00000000000b   secret api-b-secret
//	user      alice@contoso.onmicrosoft.com    password alice-password    oid aaaaaaaa-1111-4000-8000-00000000a11c
//	user      bob@contoso.onmicrosoft.com      password bob-password      oid aaaaaaaa-1111-4000-8000-000000000b0b
//	user      carol@fabrikam.onmicrosoft.com   password carol-password    oid bbbbbbbb-2222-4000-8000-00000000ca01
//
// All apps are registered in Contoso and work in both tenants:
//
//   - daemon has the app role Orders.Read.All of api-b, granted by an administrator.
//   - webapp signs users in, with the redirect URIs http://localhost/callback (on
//     any port) and https://webapp.contoso.example/callback. Users consent to its
//     use of api-a themselves.
//   - api-a (api://api-a) exposes the scope access_as_user and defines the app role
//     Orders.Approve. An administrator granted it the scope Orders.Read of api-b.
//   - api-b (api://api-b) exposes the scopes Orders.Read and Orders.Write and
//     defines the app roles Orders.Read.All and Orders.Write.All.
//
// Alice has the role Orders.Approve in api-a and a second factor.
//
// After a sign-out, the browser is redirected to the post_logout_redirect_uri only if it
// is one of the RedirectURIs of an app, as in Entra. Add yours to webapp: otherwise the
// browser stays at the page "Signed out".
func Sample() Config {
	return Config{
		Tenants: []Tenant{
			{ID: SampleTenant, Domain: "contoso.onmicrosoft.com", Name: "Contoso"},
			{ID: SampleOtherTenant, Domain: "fabrikam.onmicrosoft.com", Name: "Fabrikam"},
		},
		Apps: []App{
			{
				Name:        "daemon",
				ClientID:    "aaaaaaaa-0000-4000-8000-00000000000d",
				TenantID:    SampleTenant,
				MultiTenant: true,
				Secrets:     []string{"daemon-secret"},
				Permissions: []Permission{{Resource: "api://api-b", Roles: []string{"Orders.Read.All"}}},
			},
			{
				Name:         "webapp",
				ClientID:     "aaaaaaaa-0000-4000-8000-0000000000ee",
				TenantID:     SampleTenant,
				MultiTenant:  true,
				Secrets:      []string{"webapp-secret"},
				Required:     []Permission{{Resource: "api://api-a", Scopes: []string{"access_as_user"}}},
				RedirectURIs: []string{"http://localhost/callback", "https://webapp.contoso.example/callback"},
			},
			{
				Name:         "api-a",
				ClientID:     "aaaaaaaa-0000-4000-8000-00000000000a",
				TenantID:     SampleTenant,
				MultiTenant:  true,
				Secrets:      []string{"api-a-secret"},
				AppIDURI:     "api://api-a",
				TokenVersion: 2,
				Scopes:       []string{"access_as_user"},
				Roles:        []string{"Orders.Approve"},
				Permissions:  []Permission{{Resource: "api://api-b", Scopes: []string{"Orders.Read"}}},
			},
			{
				Name:         "api-b",
				ClientID:     "aaaaaaaa-0000-4000-8000-00000000000b",
				TenantID:     SampleTenant,
				MultiTenant:  true,
				Secrets:      []string{"api-b-secret"},
				AppIDURI:     "api://api-b",
				TokenVersion: 2,
				Scopes:       []string{"Orders.Read", "Orders.Write"},
				Roles:        []string{"Orders.Read.All", "Orders.Write.All"},
			},
		},
		Users: []User{
			{
				Username: "alice@contoso.onmicrosoft.com",
				Password: "alice-password",
				TenantID: SampleTenant,
				ObjectID: "aaaaaaaa-1111-4000-8000-00000000a11c",
				Name:     "Alice Adams",
				Email:    "alice@contoso.example",
				Roles:    map[string][]string{"api://api-a": {"Orders.Approve"}},
				MFA:      true,
			},
			{
				Username: "bob@contoso.onmicrosoft.com",
				Password: "bob-password",
				TenantID: SampleTenant,
				ObjectID: "aaaaaaaa-1111-4000-8000-000000000b0b",
				Name:     "Bob Brown",
			},
			{
				Username: "carol@fabrikam.onmicrosoft.com",
				Password: "carol-password",
				TenantID: SampleOtherTenant,
				ObjectID: "bbbbbbbb-2222-4000-8000-00000000ca01",
				Name:     "Carol Clark",
			},
		},
	}
}
