package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/authcode"
	"github.com/entratoken/entra/cache"
	"github.com/entratoken/entra/clientcreds"
	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/examples/webapp/site"
	"github.com/entratoken/entra/obo"
	"github.com/entratoken/entra/signin"
	redisstore "github.com/entratoken/entra/stores/redis"
	"github.com/entratoken/entra/verify"
)

// Scopes: the web app calls the desk for its users, the desk and the worker call orders for them, and the worker also
// calls orders as itself.
const (
	deskScope   = "api://api-a/access_as_user"
	ordersScope = "api://api-b/Orders.Read"
	ordersAll   = "api://api-b/.default"
)

// settings configure a program. A real one reads them from its environment.
type settings struct {
	Program  string // a key of programs
	Entra    string // address of the fake
	Site     string // URL of the web app, as browsers see it
	Desk     string // URL of the API that the web app calls
	Orders   string // URL of the API that the desk and the worker call
	Tokens   string // address of the Redis server with the tokens; if empty, there is no store
	Sessions string // address of the Redis server with the web app's sessions and the jobs; if empty, they are in memory
	// Each app has a key of its own, the same in all its processes. A process with the key of an app can use its tokens.
	WebKey []byte // encrypts the sessions and the tokens of the web app
	APIKey []byte // encrypts the tokens of the API, whose desk and worker are one app
}

// programs are the programs that a process can run. A program writes its address to out when it is ready, and then a
// line for each failure, and exportDone for each export. It ends when ctx ends.
var programs = map[string]func(ctx context.Context, s settings, out io.Writer) error{
	"web": func(ctx context.Context, s settings, out io.Writer) error {
		app, err := webApp(s, s.sharedCache(s.WebKey))
		if err != nil {
			return err
		}
		return serve(ctx, app, out)
	},
	"desk": func(ctx context.Context, s settings, out io.Writer) error {
		api, err := desk(s, s.sharedCache(s.APIKey), redisQueue{newRedis(s.Sessions)})
		if err != nil {
			return err
		}
		return serve(ctx, api, out)
	},
	"worker": func(ctx context.Context, s settings, out io.Writer) error {
		fmt.Fprintln(out, "ready")
		return work(ctx, s, s.sharedCache(s.APIKey), redisQueue{newRedis(s.Sessions)}, out)
	},
	"all":   all,
	"redis": runRedis,
}

// sharedCache returns a cache whose tokens are also in Redis.
func (s settings) sharedCache(key []byte) *cache.Cache {
	return cache.New(cache.Options{
		Store: redisstore.New(newRedis(s.Tokens), nil),
		Keys:  []cache.SealKey{cache.NewSealKey(key)},
	})
}

func newRedis(addr string) redis.UniversalClient {
	return redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{addr}, ContextTimeoutEnabled: true})
}

// webApp returns a replica of the web app. Its pages are those of the example webapp.
func webApp(s settings, tokens *cache.Cache) (http.Handler, error) {
	client, err := entra.New(s.registration("webapp", tokens))
	if err != nil {
		return nil, err
	}
	flow, err := authcode.New(client, authcode.Config{RedirectURL: s.Site + "/callback", Scopes: []string{deskScope}})
	if err != nil {
		return nil, err
	}
	sessions := signin.Config{Keys: []signin.Key{signin.NewKey(s.WebKey)}}
	if s.Sessions != "" {
		sessions.Store = redisstore.NewSessions(newRedis(s.Sessions), nil)
	}
	return site.New(site.Config{Flow: flow, SignIn: sessions, APIs: []site.API{{
		Path: "/orders", Name: "Orders", URL: s.Desk, Scope: deskScope,
		About: "Your orders. The API gets them from another API on your behalf.",
	}, {
		Path: exportPath, Name: "Export", URL: s.Desk + exportPath, Scope: deskScope,
		About: "A worker exports your orders, even if you sign out.",
	}}})
}

// exportPath is the path of the page with which users order an export, and of the URLs that it leads to.
const exportPath = "/export"

// desk returns an API that validates the tokens of its callers and gets their orders from the next API, at once or with
// a job for the worker.
func desk(s settings, tokens *cache.Cache, jobs queue) (http.Handler, error) {
	config := s.registration("api-a", tokens)
	client, err := entra.New(config)
	if err != nil {
		return nil, err
	}
	verifier, err := newVerifier(config)
	if err != nil {
		return nil, err
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		caller, ok := verify.TokenFromContext(r.Context())
		if !ok {
			http.Error(w, "the caller's token was not validated", http.StatusInternalServerError)
			return
		}
		source := obo.ForToken(client, caller, ordersScope)
		next, err := hops.Get(r.Context(), source, nil, s.Orders)
		if err != nil {
			obo.WriteError(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(hops.Response{
			API: "api-a", Caller: hops.CallerOf(caller.Claims()), Token: hops.TokenOf(obo.FlowName, source), Next: next,
		})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/", handler)
	mux.HandleFunc(exportPath, orderExport(client, jobs))
	return verifier.Middleware(verify.RequireScope("access_as_user")(mux)), nil
}

// work calls the API as the worker itself, and for the users of jobs, until ctx ends.
func work(ctx context.Context, s settings, tokens *cache.Cache, jobs queue, out io.Writer) error {
	client, err := entra.New(s.registration("daemon", tokens))
	if err != nil {
		return err
	}
	desk, err := entra.New(s.registration("api-a", tokens))
	if err != nil {
		return err
	}
	exports := &exporter{client: desk, orders: s.Orders, jobs: jobs, out: out}
	defer exports.all.Wait()
	source := clientcreds.TokenSource(client, ordersAll)
	for ctx.Err() == nil {
		if _, err := hops.Get(ctx, source, nil, s.Orders); err != nil && ctx.Err() == nil {
			fmt.Fprintln(out, err)
		}
		exports.start(ctx)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	return nil
}

// all runs the web app, the desk and the worker in one process without a store.
func all(ctx context.Context, s settings, out io.Writer) error {
	tokens, jobs := cache.New(cache.Options{}), make(memoryQueue, maxUsers)
	api, err := desk(s, tokens, jobs)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second}
	defer server.Close()
	go server.Serve(l) //nolint:errcheck // Close ends it
	s.Desk = "http://" + l.Addr().String()
	app, err := webApp(s, tokens)
	if err != nil {
		return err
	}
	go work(ctx, s, tokens, jobs, out) //nolint:errcheck // fails only for an invalid configuration
	return serve(ctx, app, out)
}

// serve serves h until ctx ends and the requests in flight have responses.
func serve(ctx context.Context, h http.Handler, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l) //nolint:errcheck // Shutdown ends it
	fmt.Fprintln(out, l.Addr())
	<-ctx.Done()
	stop, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return server.Shutdown(stop)
}

// registration returns the configuration of an app of the sample tenant.
func (s settings) registration(app string, tokens *cache.Cache) entra.Config {
	for _, a := range entratest.Sample().Apps {
		if a.Name == app {
			return entra.Config{
				TenantID: a.TenantID, ClientID: a.ClientID, Credential: entra.Secret(a.Secrets[0]), Cache: tokens,
				HTTPClient: &http.Client{Transport: toFake{s.Entra}}, // not needed for the real Entra
			}
		}
	}
	panic("no app " + app)
}

func newVerifier(config entra.Config) (*verify.Verifier, error) {
	return verify.New(verify.Config{
		Audiences: []string{config.ClientID}, Tenants: []string{config.TenantID}, HTTPClient: config.HTTPClient,
	})
}

// toFake sends requests to Entra's hosts to a fake on this machine instead.
type toFake struct{ addr string }

func (f toFake) RoundTrip(r *http.Request) (*http.Response, error) {
	out := r.Clone(r.Context())
	out.Host = r.URL.Host
	out.URL.Scheme, out.URL.Host = "http", f.addr
	return http.DefaultTransport.RoundTrip(out)
}
