package entra

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"
)

// DetectRegion is a [Config.Region] that stands for the region in which the program runs.
// The environment variable REGION_NAME names it. Otherwise Azure's instance metadata
// service is queried once per [New], when the app's first own token is requested, with a
// time-out of two seconds. The result is cached, even if no region was detected: then
// the global endpoint is used.
const DetectRegion = "Detect"

const (
	// metadataURL requests the region alone; other documents of the service contain
	// more ("Azure Instance Metadata Service for virtual machines").
	metadataURL     = "http://169.254.169.254/metadata/instance/compute/location?api-version=2021-02-01&format=text"
	metadataTimeout = 2 * time.Second
)

// regionName matches a DNS label, so that a region is only the first label of a host.
var regionName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// A region is where a client requests the app's own tokens. The clients made by WithTenant
// share it.
type region struct {
	configured string // the Config's
	metadata   http.RoundTripper

	mu     sync.Mutex    // guards the fields below
	done   chan struct{} // closed when name is known; nil before detection starts
	name   string        // empty for the global endpoint
	closed bool          // the region is known, and done is closed if it is not nil
}

func newRegion(configured string) *region {
	r := &region{configured: configured, metadata: metadataTransport()}
	if configured != DetectRegion {
		r.name, r.closed = configured, true
	}
	return r
}

// metadataTransport connects to the metadata service directly: through a proxy, the service
// of another machine would respond.
func metadataTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: metadataTimeout}).DialContext,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 8 << 10,
	}
}

// known returns the region, or "" before it is detected.
func (r *region) known() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.name
}

// get returns the region, or "" for the global endpoint. The first call detects it; other
// calls wait for the result until their context ends.
func (r *region) get(ctx context.Context) (string, *Error) {
	r.mu.Lock()
	if r.closed {
		defer r.mu.Unlock()
		return r.name, nil
	}
	if r.done == nil {
		r.done = make(chan struct{})
		go r.detect()
	}
	done := r.done
	r.mu.Unlock()
	select {
	case <-done:
		return r.known(), nil
	case <-ctx.Done():
		return "", &Error{Code: CodeRequestFailed, Description: "detecting the region timed out", Err: ctx.Err()}
	}
}

func (r *region) detect() {
	name, set := os.LookupEnv("REGION_NAME")
	if name = strings.ToLower(strings.ReplaceAll(name, " ", "")); name == "" || !set { // App Service writes "West Europe"
		name = r.query()
	}
	if !regionName.MatchString(name) {
		name = ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name, r.closed = name, true
	close(r.done)
}

// query requests the region from the metadata service. It returns "" after any error.
func (r *region) query() string {
	ctx, cancel := context.WithTimeout(context.Background(), metadataTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metadataURL, nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Metadata", "true")
	resp, err := r.metadata.RoundTrip(req) // RoundTrip follows no redirects
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 100))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return strings.TrimSpace(string(body))
}

// regionalHost returns the host of an authority in a region, by the rules of MSAL.
func regionalHost(region, host string) string {
	if host == string(CloudPublic) {
		host = "login.microsoft.com"
	}
	return region + "." + host
}

// validateRegion reports an invalid region.
func validateRegion(region string, cloud Cloud) *Error {
	if region == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(cloud.Host())
	if err != nil {
		name = cloud.Host()
	}
	switch {
	case region != DetectRegion && !regionName.MatchString(region):
		return errorf("invalid_request", "Config.Region is neither the short name of a region in lower case, "+
			"such as \"westeurope\", "+
			"nor entra.DetectRegion")
	case cloud.ExternalID():
		return errorf("invalid_request", "Config.Region is set, but External ID does not have regional "+
			"endpoints; leave it empty")
	case net.ParseIP(strings.Trim(name, "[]")) != nil:
		return errorf("invalid_request", "Config.Region is set, but Config.Cloud is an IP address, and regional "+
			"endpoints need a name; "+
			"leave it empty")
	}
	return nil
}
