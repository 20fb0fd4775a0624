package integration_test

import (
	"errors"
	"testing"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"github.com/entratoken/entra/entratest"
)

const publicID = "aaaaaaaa-0000-4000-8000-0000000000c1" // a public client

// addPublicClient adds a public client that may read orders for its user.
func addPublicClient(estate *entratest.Config) {
	estate.Apps = append(estate.Apps, entratest.App{
		Name: "command line", ClientID: publicID, TenantID: tenant, Public: true,
		PublicRedirectURIs: []string{"http://localhost"},
		Permissions:        []entratest.Permission{{Resource: "api://api-b", Scopes: []string{"Orders.Read"}}},
	})
}

// The device code flow and the password grant of MSAL for Go, and its cache.
func TestMSALGoForPublicClients(t *testing.T) {
	f := newFake(t, addPublicClient)
	app, err := public.New(publicID, public.WithAuthority(f.authority()), public.WithHTTPClient(f.client),
		public.WithInstanceDiscovery(false))
	if err != nil {
		t.Fatal(err)
	}
	device := must[public.DeviceCode](t)(app.AcquireTokenByDeviceCode(t.Context(), []string{ordersScope}))
	if err := f.SignInDevice(t.Context(), device.Result.UserCode, alice); err != nil {
		t.Fatal(err)
	}
	result := must[public.AuthResult](t)(device.AuthenticationResult(t.Context()))
	silent := must[public.AuthResult](t)(app.AcquireTokenSilent(t.Context(), []string{ordersScope},
		public.WithSilentAccount(result.Account)))
	password := must[public.AuthResult](t)(app.AcquireTokenByUsernamePassword( //nolint:staticcheck // the fake supports it
		t.Context(), []string{ordersScope}, bob, bobPassword))
	if result.Account.PreferredUsername != alice || silent.AccessToken != result.AccessToken ||
		password.Account.PreferredUsername != bob {
		t.Errorf("got accounts %s and %s, silent token cached: %v", result.Account.PreferredUsername,
			password.Account.PreferredUsername, silent.AccessToken == result.AccessToken)
	}
	_, err = app.AcquireTokenByUsernamePassword( //nolint:staticcheck // as above
		t.Context(), []string{ordersScope}, bob, "wrong")
	if err == nil {
		t.Error("wrong password: got no error")
	}
	var shown *entratest.SignInError
	if err := f.SignInDevice(t.Context(), device.Result.UserCode, alice); !errors.As(err, &shown) {
		t.Errorf("second use of the code: got %v", err)
	}
}
