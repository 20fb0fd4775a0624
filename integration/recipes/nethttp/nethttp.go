// Package nethttp has the recipes for net/http.
package nethttp

import (
	"net/http"
	"time"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/clientcreds"
)

// recipe nethttp

// NewClient returns a client whose requests have the app's token and end after 30 seconds.
func NewClient(client *entra.Client, scope string) *http.Client {
	c := clientcreds.TokenSource(client, scope).HTTPClient()
	c.Timeout = 30 * time.Second
	return c
}

// end recipe

// recipe transport

// NewClientWithBase is like NewClient, but sends requests through base.
func NewClientWithBase(client *entra.Client, scope string, base http.RoundTripper) *http.Client {
	source := clientcreds.TokenSource(client, scope)
	return &http.Client{Transport: &entra.Transport{Source: source, Base: base}, Timeout: 30 * time.Second}
}

// end recipe
