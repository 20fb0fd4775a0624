package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/examples/hops"
	"github.com/entratoken/entra/verify"
)

const (
	refreshIn = 4 * time.Second // refresh_in of tokens, so that a run has many of them
	lifetime  = 12 * time.Second
	// MSAL rejects on-behalf-of tokens that expire within five minutes. They are served until their assertion expires.
	oboLifetime = 10 * time.Minute
	latency     = 50 * time.Millisecond // of token requests
)

// fake is an Entra and the API that gets the orders of users and of the worker.
type fake struct {
	short, long *entratest.Server // the same tenant; long issues the on-behalf-of tokens
	entra       string            // address
	orders      string            // URL
	workerCalls atomic.Int64

	exportCalls, crossed atomic.Int64 // calls of exports, and those with a token of another user

	servers []*http.Server
}

// userName returns the name of a user. Every page for the user contains the name.
func userName(i int) string { return fmt.Sprintf("User %03d", i+1) }

func username(i int) string { return fmt.Sprintf("user-%03d@contoso.onmicrosoft.com", i+1) }

func newFake(users int) (*fake, error) {
	config := entratest.Sample()
	for i := range users {
		config.Users = append(config.Users, entratest.User{
			Username: username(i), Name: userName(i), TenantID: entratest.SampleTenant,
		})
	}
	config.SigningKeys, config.SealKey = []tls.Certificate{entratest.NewSigningKey()}, make([]byte, 32)
	rand.Read(config.SealKey)
	f := new(fake)
	config.Lifetime = func() time.Duration { return lifetime }
	config.RefreshIn = func(time.Duration) time.Duration { return refreshIn }
	f.short = entratest.NewServer(config)
	config.RefreshIn = nil
	config.Lifetime = func() time.Duration { return oboLifetime }
	f.long = entratest.NewServer(config)

	app := f.short.App("api-b")
	verifier, err := verify.New(verify.Config{
		Audiences: []string{app.ClientID}, Tenants: []string{app.TenantID}, HTTPClient: f.short.Client(),
	})
	if err != nil {
		return nil, err
	}
	orders := verifier.Middleware(verify.RequireScopeOrRole("Orders.Read", "Orders.Read.All")(
		http.HandlerFunc(f.listOrders)))
	if f.entra, err = f.serve(http.HandlerFunc(f.respond)); err != nil {
		return nil, err
	}
	if f.orders, err = f.serve(orders); err != nil {
		return nil, errors.Join(err, f.close())
	}
	f.orders = "http://" + f.orders
	return f, nil
}

func (f *fake) serve(h http.Handler) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	go server.Serve(l) //nolint:errcheck // close ends it
	f.servers = append(f.servers, server)
	return l.Addr().String(), nil
}

func (f *fake) close() (err error) {
	for _, s := range f.servers {
		err = errors.Join(err, s.Close())
	}
	return err
}

// respond is the Entra of the processes.
func (f *fake) respond(w http.ResponseWriter, r *http.Request) {
	server := f.short
	if strings.HasSuffix(r.URL.Path, "/token") {
		time.Sleep(latency)
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			return // the process has ended
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if form, err := url.ParseQuery(string(body)); err == nil && form.Get("requested_token_use") == "on_behalf_of" {
			server = f.long
		}
	}
	server.ServeHTTP(w, r)
}

func (f *fake) listOrders(w http.ResponseWriter, r *http.Request) {
	claims, ok := verify.ClaimsFromContext(r.Context())
	if !ok {
		http.Error(w, "the caller's token was not validated", http.StatusInternalServerError)
		return
	}
	if claims.AppOnly() {
		f.workerCalls.Add(1)
	}
	if r.URL.Path == exportPath {
		f.exportCalls.Add(1)
		if claims.AppOnly() || claims.ObjectID != r.URL.Query().Get("user") {
			f.crossed.Add(1)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(hops.Response{
		API: "api-b", Caller: hops.CallerOf(claims), Items: []string{"1017 Ladder", "1018 Rope, 20 m"},
	})
}

func (f *fake) tokenRequests() int { return f.short.TokenRequests() + f.long.TokenRequests() }

// tokenRequestsOf counts the requests of one app.
func (f *fake) tokenRequestsOf(app string) int {
	m := entratest.Match{Endpoint: entratest.EndpointToken, ClientID: f.short.App(app).ClientID}
	return f.short.Count(m) + f.long.Count(m)
}
