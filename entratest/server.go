package entratest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// A Server is a fake Entra ID. All its methods may be used concurrently. It
// holds no socket and no goroutine, and needs no closing.
type Server struct {
	registry    *registry
	host      string // Config.Host in lower case
	lifetime  func() time.Duration
	refreshIn func(time.Duration) time.Duration
	onRequest func(Request)
	aead      cipher.AEAD // seals codes, refresh tokens, cookies and forms

	mu       sync.Mutex // guards what follows
	keys     keyRing
	credentials   map[*App]*App           // apps as UpdateCredentials left them
	consents map[consentKey][]string // scopes granted
	assigned map[consentKey][]string // app roles granted by consent, the user being ""
	sessionEpochs   map[string]int          // by lower-case username: how often Revoke was called
	revoked  map[string]time.Time    // IDs of revoked tokens: when they may be forgotten
	redeemed redeemed
	faults   []*activeFault
	journal  journal
}

// A consentKey says whose consent to which client's use of which resource.
type consentKey struct {
	user     string // lower-case username; "" for an administrator's, for all
	tenant   string
	client   string
	resource string
}

// NewServer runs an estate. It panics, saying what is wrong, if the estate
// cannot be: a tenant that isn't there, an ID that is no GUID, two apps of one
// App ID URI and the like.
func NewServer(cfg Config) *Server {
	reg, err := newRegistry(cfg)
	if err != nil {
		panic("entratest: impossible estate: " + err.Error())
	}
	host := strings.ToLower(cfg.Host)
	if host != "" && !isHostPort(host) {
		panic(fmt.Sprintf("entratest: impossible estate: %q is no host", cfg.Host))
	}
	key := make([]byte, 32)
	rand.Read(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	seal, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic("entratest: " + err.Error())
	}
	return &Server{
		registry:    reg,
		host:      host,
		lifetime:  cfg.Lifetime,
		refreshIn: cfg.RefreshIn,
		onRequest: cfg.OnRequest,
		aead:      seal,
		keys:      keyRing{published: []int{0}, signing: 0, next: 1},
		credentials:    map[*App]*App{},
		consents:  map[consentKey][]string{},
		assigned:  map[consentKey][]string{},
		sessionEpochs:    map[string]int{},
		revoked:   map[string]time.Time{},
	}
}

// Format hides the server's state, which has secrets, from fmt.
func (s *Server) Format(f fmt.State, _ rune) { fmt.Fprint(f, "entratest.Server") }

// App is the app of that name in the Config, with its defaults filled in and its
// credentials as they are now. It panics if there is none.
func (s *Server) App(name string) App {
	return *s.currentApp(s.mustAppByName(name))
}

func (s *Server) mustAppByName(name string) *App {
	a := s.registry.appByName[name]
	if a == nil {
		panic(fmt.Sprintf("entratest: there is no app %q", name))
	}
	return a
}

// User is the user of that username, with its defaults filled in. It panics if
// there is none.
func (s *Server) User(username string) User {
	return *s.mustUser(username)
}

func (s *Server) mustUser(username string) *User {
	u := s.registry.userByName[strings.ToLower(username)]
	if u == nil {
		panic(fmt.Sprintf("entratest: there is no user %q", username))
	}
	return u
}

// ServeHTTP serves the estate at the host that the request was sent to. A fault
// that drops the connection makes it panic with [http.ErrAbortHandler], as
// handlers do.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	resp, err := s.serve(hr, nil)
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

// serve reads a request, applies faults, answers and writes the journal. The
// error is that of the request's context, ended during a fault's delay.
func (s *Server) serve(hr *http.Request, signInUser *User) (*response, error) {
	r := s.parseRequest(hr)
	r.signInUser = signInUser
	resp, err := s.applyFault(r)
	if err == nil && !resp.drop && resp.status == 0 {
		made := s.route(r)
		made.truncate = resp.truncate
		made.injected = resp.truncate > 0
		resp = made
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

// stamp adds the headers that every answer of Entra has.
func (s *Server) addCommonHeaders(r *request, resp *response) {
	h := resp.header
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store, no-cache")
		h.Set("Pragma", "no-cache")
	}
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("x-ms-request-id", r.traceID)
	if r.http.Header.Get("return-client-request-id") == "true" || r.http.Header.Get("client-request-id") != "" {
		h.Set("client-request-id", r.correlationID)
	}
	if h.Get("Date") == "" {
		h.Set("Date", r.now.UTC().Format(http.TimeFormat))
	}
}

// route answers a request.
func (s *Server) route(r *request) *response {
	switch r.endpoint {
	case "":
		if r.http.URL.Path == "/error" {
			return s.handleErrorLookup(r)
		}
		return notFoundResponse()
	case "instance":
		return s.handleInstance(r)
	}
	if r.tenant == nil && (isExternalID(r.base) || !isMultiTenantName(r.tenantName)) {
		aerr := newError(90002, "There is no tenant '%s' in this cloud.", printable(r.tenantName))
		if r.endpoint == "authorize" || r.endpoint == "login" || r.endpoint == "logout" || r.endpoint == "adminconsent" {
			return errorPage(r, aerr)
		}
		if r.endpoint == "discovery" {
			aerr.code = "invalid_tenant" // what the token endpoint calls invalid_request
		}
		return aerr.response(r)
	}
	switch r.endpoint {
	case "discovery":
		return s.handleDiscovery(r)
	case "keys":
		return s.handleKeys(r)
	case "token":
		return s.handleToken(r)
	case "authorize":
		return s.handleAuthorize(r)
	case "login":
		return s.handleLogin(r)
	case "logout":
		return s.handleLogout(r)
	}
	return s.handleAdminConsent(r)
}
