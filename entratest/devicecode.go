package entratest

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	grantTypeDevice      = "urn:ietf:params:oauth:grant-type:device_code"
	grantTypeDeviceShort = "device_code" // sent by MSAL for Go
)

// deviceLifetime and deviceInterval are expires_in and interval of the device
// authorization response
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#device-authorization-response).
const (
	deviceLifetime = 15 * time.Minute
	deviceInterval = 5 * time.Second
)

// A device is a device authorization in progress. Server.mu guards it.
type device struct {
	tenantName string // as in the path of the request
	client     string
	scope      string
	until      time.Time
	declined   bool
	auth       *authentication // nil until the user has signed in
	tenant     string          // in which the user has signed in
}

// handleDeviceCode serves the device authorization endpoint
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code, RFC 8628).
func (s *Server) handleDeviceCode(r *request) *response {
	if r.http.Method != http.MethodPost {
		return methodError(r, "POST").response(r)
	}
	d, aerr := s.parseDeviceRequest(r)
	if aerr != nil {
		return aerr.response(r)
	}
	userCode := newUserCode()
	s.mu.Lock()
	s.addDevice(userCode, d)
	s.mu.Unlock()
	uri := r.base + "/common/oauth2/deviceauth"
	return jsonResponse(http.StatusOK, map[string]any{
		"device_code": s.seal("device", userCode), "user_code": userCode, "verification_uri": uri,
		"expires_in": int(deviceLifetime / time.Second), "interval": int(deviceInterval / time.Second),
		"message": "To sign in, use a web browser to open the page " + uri + " and enter the code " + userCode + ".",
	})
}

// maxDevices is the maximum number of device authorizations in progress.
const maxDevices = 4096

// addDevice adds a device authorization. At the maximum, it replaces the oldest one.
// s.mu must be held.
func (s *Server) addDevice(userCode string, d *device) {
	if len(s.devices) >= maxDevices {
		oldest := ""
		for code, old := range s.devices {
			if oldest == "" || old.until.Before(s.devices[oldest].until) {
				oldest = code
			}
		}
		delete(s.devices, oldest)
	}
	s.devices[userCode] = d
}

func (s *Server) parseDeviceRequest(r *request) (*device, *aadstsError) {
	scope := r.form.Get("scope")
	switch {
	case r.malformed:
		return nil, newError(9002313, "The request is malformed.")
	case r.clientID == "":
		return nil, missingParameter("client_id")
	case scope == "":
		return nil, missingParameter("scope")
	case r.tenantName == "consumers":
		return nil, newError(9002332, "The app does not support personal accounts. Do not use the consumers endpoint.")
	}
	app, aerr := s.findClient(r.clientID, r.tenant)
	if aerr != nil {
		return nil, aerr
	}
	if r.tenant == nil && !app.MultiTenant {
		return nil, singleTenantError(app)
	}
	if _, aerr := s.registry.parseScopes(scope, r.tenant); aerr != nil {
		return nil, aerr
	}
	return &device{tenantName: r.tenantName, client: app.ClientID, scope: scope, until: r.now.Add(deviceLifetime)}, nil
}

// newUserCode returns nine random letters and digits, without those that look alike.
func newUserCode() string {
	const alphabet = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
	code := make([]byte, 9)
	for i, b := range []byte(randomToken(12))[:len(code)] {
		code[i] = alphabet[int(b)%len(alphabet)]
	}
	return string(code)
}

// pendingDevice returns a copy of the device authorization with a user code, if the
// user can still decide.
func (s *Server) pendingDevice(userCode string, now time.Time) (device, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.devices[strings.ToUpper(strings.TrimSpace(userCode))]
	if d == nil || !now.Before(d.until) || d.declined || d.auth != nil {
		return device{}, false
	}
	return *d, true
}

// handleDeviceAuth serves the page at which the user enters the user code, and then
// starts a sign-in.
func (s *Server) handleDeviceAuth(r *request) *response {
	userCode := strings.ToUpper(strings.TrimSpace(r.form.Get("otc")))
	data := pageData{Title: "Sign in to your account", Username: userCode, Action: "/common/oauth2/deviceauth"}
	if r.http.Method != http.MethodPost && r.signInUser == nil {
		return page(http.StatusOK, "device", data)
	}
	d, ok := s.pendingDevice(userCode, r.now)
	if !ok {
		aerr := newError(70018, "The code is not valid or has expired. Request a new code.")
		data.Error = aerr.message
		resp := page(http.StatusOK, "device", data)
		resp.err = aerr
		return resp
	}
	r.tenantName, r.tenant, r.clientID = d.tenantName, s.registry.tenantByName[d.tenantName], d.client
	return s.startSignIn(r, &signInRequest{
		Tenant: d.tenantName, Client: d.client, Scope: d.scope, MaxAge: -1, Device: userCode,
	})
}

// finishDevice ends the sign-in of a device. aerr is its error, or nil.
func (s *Server) finishDevice(q *signInRequest, tenant string, aerr *aadstsError) *response {
	s.mu.Lock()
	if d := s.devices[q.Device]; d != nil && d.auth == nil {
		if aerr == nil {
			d.auth, d.tenant = q.Auth, tenant
		} else {
			d.declined = true
		}
	}
	s.mu.Unlock()
	data := pageData{Title: "Sign in to your account", Heading: "You have signed in",
		Error: "You can close this window and return to your device."}
	if aerr != nil {
		data.Heading = "You have not signed in"
	}
	resp := page(http.StatusOK, "device", data)
	resp.err = aerr
	return resp
}

// grantDevice redeems a device code
// (https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code#authenticating-the-user).
func (s *Server) grantDevice(g *grantRequest) (*response, *aadstsError) {
	raw := g.form.Get("device_code")
	if raw == "" {
		return nil, missingParameter("device_code")
	}
	var userCode string
	unknown := newError(70018, "The device_code is not known.")
	if !s.unseal("device", raw, &userCode) {
		return nil, unknown
	}
	s.mu.Lock()
	d := s.devices[userCode]
	if d == nil || d.client != g.client.ClientID || d.auth != nil && g.tenant != nil && g.tenant.ID != d.tenant {
		s.mu.Unlock()
		return nil, unknown
	}
	auth, tenant, declined := d.auth, d.tenant, d.declined
	if auth != nil || declined {
		delete(s.devices, userCode) // it can be redeemed once
	}
	s.mu.Unlock()
	switch {
	case declined:
		aerr := newError(65004, "The user declined the sign-in.")
		aerr.code = "authorization_declined"
		return nil, aerr
	case !g.now.Before(d.until):
		return nil, newError(70019, "The device_code has expired. Request a new one.")
	case auth == nil:
		return nil, newError(70016, "The user has not signed in yet. Send the request again later.")
	}
	var aerr *aadstsError
	if g.user, aerr = s.activeUser(auth); aerr != nil {
		return nil, aerr
	}
	g.auth, g.tenant, g.scope = *auth, s.registry.tenantByName[tenant], d.scope
	return s.userTokenResponse(g)
}

// SignInDevice simulates a user who opens the verification page of the device code
// flow, enters the user code, signs in and consents. It returns a [*SignInError] if
// Entra would show an error, for example for an unknown code. SignInDevice also returns
// an error if the user is unknown, or if ctx ends during the delay of a fault.
func (s *Server) SignInDevice(ctx context.Context, userCode, username string) error {
	if s.registry == nil {
		return errZeroServer
	}
	u := s.registry.userByName[strings.ToLower(username)]
	if u == nil {
		return errors.New("entratest: unknown user " + username)
	}
	host := "login.microsoftonline.com"
	if s.host != "" {
		host = s.host
	}
	target := "https://" + host + "/common/oauth2/deviceauth?" + url.Values{"otc": {userCode}}.Encode()
	hr, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := s.serve(hr, u)
	switch {
	case err != nil:
		return err
	case resp.drop:
		return errDropped
	case resp.err != nil:
		return &SignInError{Code: resp.err.code, AADSTS: resp.err.number, Description: resp.err.message}
	}
	return nil
}
