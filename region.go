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

// DetectRegion as a [Config.Region] means the region that the program runs in: what the
// environment variable REGION_NAME says, or else Azure's instance metadata service, which
// is asked once per [New], when the first token for the app itself is wanted, and given two
// seconds. What came of it is kept, also if there is no region: then the global endpoint
// is used.
const DetectRegion = "Detect"

const (
	// metadataURL asks for the region and nothing else; the service's other documents
	// have more in them ("Azure Instance Metadata Service for virtual machines").
	metadataURL     = "http://169.254.169.254/metadata/instance/compute/location?api-version=2021-02-01&format=text"
	metadataTimeout = 2 * time.Second
)

// regionName is a DNS label, so that a region is never more than the first label of a host.
var regionName = regexp.MustCompile(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)

// A region is where a client gets the app's own tokens. It is shared by the clients made
// by WithTenant.
type region struct {
	configured string // as in Config
	metadata   http.RoundTripper

	mu     sync.Mutex    // guards the fields below
	done   chan struct{} // closed when name is known; nil if nobody has asked yet
	name   string        // "" for none
	closed bool          // done is closed
}

func newRegion(configured string) *region {
	r := &region{configured: configured, metadata: metadataTransport()}
	if configured != DetectRegion {
		r.name, r.closed = configured, true
	}
	return r
}

// metadataTransport reaches the metadata service directly: through a proxy another
// machine's would answer.
func metadataTransport() http.RoundTripper {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: metadataTimeout}).DialContext,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 8 << 10,
	}
}

// known returns the region as far as it is known now.
func (r *region) known() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.name
}

// get returns the region, "" for none. The first call finds it out, and the others wait
// for that, none longer than its context.
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
		return "", &Error{Code: CodeRequestFailed, Description: "time ran out while the region was being detected", Err: ctx.Err()}
	}
}

func (r *region) detect() {
	name, set := os.LookupEnv("REGION_NAME")
	if name = strings.ToLower(strings.ReplaceAll(name, " ", "")); name == "" || !set { // App Service writes "West Europe"
		name = r.ask()
	}
	if !regionName.MatchString(name) {
		name = ""
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.name, r.closed = name, true
	close(r.done)
}

// ask asks the metadata service. It returns "" unless that answers as it should.
func (r *region) ask() string {
	ctx, cancel := context.WithTimeout(context.Background(), metadataTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, metadataURL, nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Metadata", "true")
	resp, err := r.metadata.RoundTrip(req) // so no redirect is followed
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

// regionalHost returns the host of an authority in a region, as MSAL makes it.
func regionalHost(region, host string) string {
	switch host {
	case "login.microsoftonline.com", "login.windows.net", "sts.windows.net":
		host = "login.microsoft.com"
	case "login.usgovcloudapi.net":
		host = "login.microsoftonline.us"
	case "login.chinacloudapi.cn":
		host = "login.partner.microsoftonline.cn"
	}
	return region + "." + host
}

// checkRegion says what is wrong with a Config's region.
func checkRegion(region string, cloud Cloud) *Error {
	if region == "" {
		return nil
	}
	name, _, err := net.SplitHostPort(cloud.Host())
	if err != nil {
		name = cloud.Host()
	}
	switch {
	case region != DetectRegion && !regionName.MatchString(region):
		return errorf("invalid_request", "Config.Region is not the short name of a region in lower case, such as \"westeurope\", nor entra.DetectRegion")
	case cloud.ExternalID():
		return errorf("invalid_request", "Config.Region is set, but External ID has no regional endpoints; leave it empty")
	case net.ParseIP(strings.Trim(name, "[]")) != nil:
		return errorf("invalid_request", "Config.Region is set, but Config.Cloud is an address, and a regional endpoint is found by name; leave it empty")
	}
	return nil
}
