//go:build linux

package loadtest

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/entratest"
)

// processEnv has the processConfig of a process, as JSON.
const processEnv = "ENTRA_LOADTEST_PROCESS"

// processConfig is the configuration of a process.
type processConfig struct {
	Entra string // the URL of the fake Entra
	CA    []byte // the certificate of its CA
	Store string // see Main
	Key   []byte // of the records in the store
}

// Main is the TestMain of a package with load tests. A program that [Start] has started becomes a process of the fleet,
// and others run the tests of m. open opens the store that [Config].Store describes.
func Main(m *testing.M, open func(store string) (cache.Store, error)) {
	config, isProcess := os.LookupEnv(processEnv)
	if !isProcess {
		os.Exit(m.Run())
	}
	if err := runProcess(config, open); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// runProcess serves requests on a free port, which it prints, until standard input ends.
func runProcess(config string, open func(store string) (cache.Store, error)) error {
	var cfg processConfig
	if err := json.Unmarshal([]byte(config), &cfg); err != nil {
		return err
	}
	p, err := newProcess(cfg, open)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go http.Serve(l, p) //nolint:errcheck,gosec // it ends with the process
	fmt.Println(l.Addr())
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// A process is a replica of a web app.
type process struct {
	cache *cache.Cache
	flow  *authcode.Flow
	die   atomic.Bool // at the next token request
}

func newProcess(cfg processConfig, open func(store string) (cache.Store, error)) (*process, error) {
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cfg.CA)
	options := cache.Options{}
	if cfg.Store != "" {
		store, err := open(cfg.Store)
		if err != nil {
			return nil, err
		}
		options.Store, options.Keys = store, []cache.SealKey{cache.NewSealKey(cfg.Key)}
	}
	p := &process{cache: cache.New(options)}
	app := webApp(entratest.Sample())
	client, err := entra.New(entra.Config{
		TenantID: app.TenantID, ClientID: app.ClientID, Credential: entra.Secret(app.Secrets[0]),
		Cloud: entra.Cloud(strings.TrimPrefix(cfg.Entra, "https://")), Cache: p.cache,
		HTTPClient: &http.Client{Transport: &mortal{&p.die, &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, MaxIdleConnsPerHost: 50,
		}}},
	})
	if err != nil {
		return nil, err
	}
	p.flow, err = authcode.New(client, authcode.Config{
		RedirectURL: "http://localhost/callback", Scopes: []string{"api://api-a/access_as_user"},
	})
	return p, err
}

// mortal kills its process at the next token request, when a flight has the lease.
type mortal struct {
	die  *atomic.Bool
	next http.RoundTripper
}

func (m *mortal) RoundTrip(r *http.Request) (*http.Response, error) {
	if m.die.Load() && r.Method == http.MethodPost {
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return nil, err
		}
	}
	return m.next.RoundTrip(r)
}

// A request of the load test to a process.
type request struct {
	Op      string
	Session string           `json:",omitempty"` // of "begin"
	Login   json.RawMessage  `json:",omitempty"` // of "exchange"
	Params  url.Values       `json:",omitempty"` // of "exchange"
	Account authcode.Account // of "token" and "sign out"
}

// A response of a process.
type response struct {
	Error   string           `json:",omitempty"`
	SignIn  bool             `json:",omitempty"` // the user must sign in
	Login   *authcode.Login  `json:",omitempty"`
	URL     string           `json:",omitempty"` // of Login
	Account authcode.Account // of "exchange"
	Token   string           `json:",omitempty"`
	Stats   cache.Stats      // of "stats"
	CPU     time.Duration    `json:",omitempty"` // of "stats"
	Clock   time.Time        // of "stats"
}

// callTimeout is the time that a user waits for a page.
const callTimeout = 30 * time.Second

func (p *process) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	var r request
	err := json.NewDecoder(io.LimitReader(hr.Body, 1<<20)).Decode(&r)
	var out response
	if err == nil {
		out, err = p.respond(hr, r)
	}
	if err != nil {
		out.Error = err.Error()
		if e, ok := errors.AsType[*entra.Error](err); ok {
			out.SignIn = e.InteractionRequired()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(out) // an error means that the load test has ended
}

func (p *process) respond(hr *http.Request, r request) (out response, err error) {
	ctx := hr.Context()
	switch r.Op {
	case "begin":
		out.Login, err = p.flow.Begin(ctx, authcode.Request{Session: r.Session})
		if err == nil {
			out.URL = out.Login.URL()
		}
	case "exchange":
		login := new(authcode.Login)
		if err := json.Unmarshal(r.Login, login); err != nil {
			return out, err
		}
		signIn, err := p.flow.Exchange(ctx, login, r.Params)
		if err != nil {
			return out, err
		}
		out.Account = signIn.Account
	case "token":
		out.Token, err = p.flow.TokenSource(r.Account).AccessToken(ctx)
	case "sign out":
		err = p.flow.SignOut(ctx, r.Account)
	case "die":
		p.die.Store(true)
	case "stats":
		out.Stats, out.Clock = p.cache.Stats(), time.Now()
		var usage syscall.Rusage
		err = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
		out.CPU = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	return out, err
}

// webApp returns the app that signs users in.
func webApp(c entratest.Config) entratest.App {
	for _, app := range c.Apps {
		if app.Name == "webapp" {
			return app
		}
	}
	panic("loadtest: the sample configuration has no app with the name webapp")
}
