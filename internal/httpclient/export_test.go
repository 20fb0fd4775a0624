package httpclient

import "net/http"

// Base returns the transport that Restricted was given.
func Base(c *http.Client) http.RoundTripper { return c.Transport.(*transport).base }
