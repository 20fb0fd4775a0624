package entratest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Server is a fake Entra ID and an [http.Handler]. It must be created with
// [NewServer]. Its methods may be called concurrently. It does not open
// a socket or start a goroutine before [Server.StartTLS], and does not need to be
// closed. It records requests in a journal, which [Server.Requests] returns.
type Server struct {
	registry  *registry
	host      string // Config.Host in lower case
	lifetime  func() time.Duration
	refreshIn func(time.Duration) time.Duration
	onRequest func(Request)
	ownKeys   []*signingKey // the first shared keys, from Config.SigningKeys
	aead      cipher.AEAD   // encrypts codes, refresh tokens, cookies and forms

	mu            sync.Mutex // guards the fields below
	keys          keyRing
	customKeys    map[servicePrincipal]int // numbers in the pool
	credentials   map[*App]*App            // apps changed by UpdateCredentials, by registered app
	consents      map[consentKey][]string  // granted scopes
	assigned      map[consentKey][]string  // app roles granted by admin consent, with user ""
	sessionEpochs map[string]int           // number of RevokeSessions calls, by lower-case username
	revoked       map[string]time.Time     // when the entry may be deleted, by ID of the revoked token
	redeemed      redeemed
	devices       map[string]*device // by user code
	faults        []*activeFault
	journal       journal
	flows         flows
}

// A consentKey identifies the consent of a user to a client's use of a resource.
type consentKey struct {
	user     string // lower-case username, or "" for the consent of an administrator for all users
	tenant   string
	client   string
	resource string
}

// NewServer returns a server for the tenants, apps and users of cfg. It panics
// if cfg is invalid: for example, if an app names an unknown tenant, an ID is
// not a GUID, or two apps have the same App ID URI. The panic message names the
// mistake.
func NewServer(cfg Config) *Server {
	s, err := newServer(cfg)
	if err != nil {
		panic("entratest: invalid Config: " + err.Error())
	}
	return s
}

// newServer is like NewServer, but returns an error without a prefix if cfg is invalid.
func newServer(cfg Config) (*Server, error) {
	reg, err := newRegistry(cfg)
	if err != nil {
		return nil, err
	}
	host := strings.ToLower(cfg.Host)
	if host != "" && !isHostPort(host) {
		return nil, fmt.Errorf("%q is not a host name", cfg.Host)
	}
	key := slices.Clone(cfg.SealKey)
	if key == nil {
		key = make([]byte, 32)
		rand.Read(key)
	}
	if len(key) != 32 {
		return nil, fmt.Errorf("SealKey has %d bytes, not 32", len(key))
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	ownKeys, err := parseSigningKeys(cfg.SigningKeys)
	if err != nil {
		return nil, fmt.Errorf("SigningKeys: %w", err)
	}
	ring := keyRing{published: []int{0}, next: max(1, len(ownKeys))}
	for n := 1; n < len(ownKeys); n++ {
		ring.published = append(ring.published, n)
	}
	return &Server{
		registry:      reg,
		ownKeys:       ownKeys,
		host:          host,
		lifetime:      cfg.Lifetime,
		refreshIn:     cfg.RefreshIn,
		onRequest:     cfg.OnRequest,
		aead:          aead,
		keys:          ring,
		customKeys:    map[servicePrincipal]int{},
		credentials:   map[*App]*App{},
		consents:      map[consentKey][]string{},
		assigned:      map[consentKey][]string{},
		sessionEpochs: map[string]int{},
		revoked:       map[string]time.Time{},
		devices:       map[string]*device{},
	}, nil
}

// Format prints only the type, because the server's state contains secrets.
func (s *Server) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entratest.Server") }

// App returns the app with the given name, with its defaults filled in and its
// current credentials. It panics if the name is unknown.
func (s *Server) App(name string) App {
	return *s.currentApp(s.mustAppByName(name))
}

func (s *Server) mustAppByName(name string) *App {
	a := s.registry.appByName[name]
	if a == nil {
		panic(fmt.Sprintf("entratest: unknown app %q", name))
	}
	return a
}

// User returns the user with the given username, with its defaults filled in.
// It panics if the username is unknown.
func (s *Server) User(username string) User {
	return *s.mustUser(username)
}

func (s *Server) mustUser(username string) *User {
	u := s.registry.userByName[strings.ToLower(username)]
	if u == nil {
		panic(fmt.Sprintf("entratest: unknown user %q", username))
	}
	return u
}

// ServeHTTP serves a request. Documents and issuers have the host of the request. If
// a [Fault] drops the connection, ServeHTTP panics with [http.ErrAbortHandler].
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	resp, err := s.serve(hr, nil)
	if errors.Is(err, errZeroServer) {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if err != nil || resp.drop {
		panic(http.ErrAbortHandler)
	}
	for name, values := range resp.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(resp.body)))
	w.WriteHeader(resp.status)
	if hr.Method == http.MethodHead {
		return
	}
	if resp.truncate > 0 && resp.truncate < len(resp.body) {
		w.Write(resp.body[:resp.truncate])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	w.Write(resp.body)
}

var errZeroServer = errors.New("entratest: Server must be created with NewServer")

// serve parses a request, applies faults, handles it and adds it to the journal.
// It returns the error of the request's context if that ends during the delay
// of a fault.
func (s *Server) serve(hr *http.Request, signInUser *User) (*response, error) {
	if s.registry == nil {
		return nil, errZeroServer
	}
	r := s.parseRequest(hr)
	r.signInUser = signInUser
	resp, err := s.applyFault(r)
	if err == nil && !resp.drop && resp.status == 0 {
		served := s.route(r)
		served.truncate = resp.truncate
		served.injected = resp.truncate > 0
		resp = served
	}
	if err != nil {
		resp = &response{drop: true, injected: true}
	}
	if !resp.drop {
		s.addCommonHeaders(r, resp)
	}
	s.record(r, resp)
	return resp, err
}

// addCommonHeaders adds the headers of every response of Entra.
func (s *Server) addCommonHeaders(r *request, resp *response) {
	h := resp.header
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store, no-cache")
		h.Set("Pragma", "no-cache")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if r.crossOrigin() {
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "x-ms-request-id, client-request-id, request-id, Retry-After, Date")
	}
	h.Set("x-ms-request-id", r.traceID)
	if r.http.Header.Get("return-client-request-id") == "true" || r.http.Header.Get("client-request-id") != "" {
		h.Set("client-request-id", r.correlationID)
	}
	if h.Get("Date") == "" {
		h.Set("Date", r.now.UTC().Format(http.TimeFormat))
	}
}

// route calls the handler of the request's endpoint.
func (s *Server) route(r *request) *response {
	if resp := preflightResponse(r); resp != nil {
		return resp
	}
	if isGraphHost(r.bareHost()) && r.endpoint != EndpointUserInfo && r.endpoint != EndpointGraph {
		return notFoundResponse()
	}
	switch r.endpoint {
	case "":
		if r.http.URL.Path == "/error" {
			return s.handleErrorLookup(r)
		}
		return notFoundResponse()
	case EndpointInstance:
		return s.handleInstance(r)
	case EndpointUserInfo, EndpointGraph:
		if s.registry.canonicalHost(r.bareHost()) == "" {
			return s.handleGraph(r)
		}
		return notFoundResponse()
	}
	if r.tenant == nil && (s.registry.isExternalID(r.base) || !isMultiTenantName(r.tenantName)) {
		aerr := newError(90002, "The tenant '%s' was not found in this cloud.", printable(r.tenantName))
		switch r.endpoint {
		case EndpointAuthorize, EndpointLogin, EndpointLogout, EndpointAdminConsent, EndpointDeviceAuth:
			return errorPage(r, aerr)
		}
		if r.endpoint == EndpointDiscovery {
			aerr.code = "invalid_tenant" // the token endpoint sends invalid_request instead
		}
		return aerr.response(r)
	}
	switch r.endpoint {
	case EndpointDiscovery:
		return s.handleDiscovery(r)
	case EndpointKeys:
		return s.handleKeys(r)
	case EndpointToken:
		return s.handleToken(r)
	case EndpointAuthorize:
		return s.handleAuthorize(r)
	case EndpointLogin:
		return s.handleLogin(r)
	case EndpointLogout:
		return s.handleLogout(r)
	case EndpointDeviceCode:
		return s.handleDeviceCode(r)
	case EndpointDeviceAuth:
		return s.handleDeviceAuth(r)
	case EndpointUserRealm:
		return s.handleUserRealm(r)
	}
	return s.handleAdminConsent(r)
}
