package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/httprecord"
	"github.com/entratoken/entra/internal/httpclient"
	"github.com/entratoken/entra/internal/neterr"
)

const maxBody = 1 << 20

// Reasons for skipped steps.
const (
	needsName      = "needs the name's address"
	needsResponse  = "needs a response"
	needsDiscovery = "needs the tenant's discovery document"
)

// checkNetwork requests the tenant's discovery document and derives several steps from that
// one request. It returns why a token cannot be requested, or "" if it can.
func (d *doctor) checkNetwork(ctx context.Context) string {
	host := d.App.Cloud.Host()
	address := "https://" + host + "/" + d.App.TenantID + "/v2.0/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		d.done(Step{Name: nameStep, Status: StatusFail, Text: "the authority's URL is invalid",
			Advice: "Check the tenant and the cloud."})
		d.skip(needsName, connectionStep, clockStep, discoveryStep)
		return needsResponse
	}
	proxy := d.proxyFor(req)
	client := httpclient.Restricted(&http.Client{Transport: d.Recorder, Timeout: 30 * time.Second})
	resp, err := client.Do(req)
	record, _ := d.Recorder.Last("discovery")
	if err != nil {
		d.reportFailedRequest(host, proxy, record, err)
		return needsResponse
	}
	defer resp.Body.Close()
	d.reportName(host, proxy, record)
	d.reportConnection(host, record)
	d.reportClock(record)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		d.done(Step{Name: discoveryStep, Status: StatusFail, Text: "the connection broke during the response",
			Advice: "Try again. If the error persists, a proxy or firewall breaks the connection."})
		return needsDiscovery
	}
	if !d.reportDiscovery(host, resp, body, record) {
		return needsDiscovery
	}
	return ""
}

// proxyFor returns the host of the proxy for a request, or "" without a proxy. It does not
// return the password in the proxy's URL.
func (d *doctor) proxyFor(req *http.Request) string {
	if d.Proxy == nil {
		return ""
	}
	u, err := d.Proxy(req)
	if err != nil || u == nil {
		return ""
	}
	return u.Host
}

func (d *doctor) reportName(host, proxy string, record httprecord.Request) {
	s := Step{Name: nameStep, Status: StatusOK}
	switch addresses := record.Conn.Resolved; {
	case proxy != "":
		s.Text = "resolved by the proxy " + proxy + " (from HTTPS_PROXY)"
	case len(addresses) == 1:
		s.Text = host + " is " + addresses[0]
	case len(addresses) > 1:
		s.Text = fmt.Sprintf("%s is %s and %d more", host, addresses[0], len(addresses)-1)
	case isAddress(host):
		s.Text = host + " is an IP address"
	default:
		s.Text = host + " was resolved"
	}
	d.done(s)
}

func isAddress(host string) bool {
	_, err := netip.ParseAddrPort(host)
	if err != nil {
		_, err = netip.ParseAddr(host)
	}
	return err == nil
}

func (d *doctor) reportConnection(host string, record httprecord.Request) {
	s := Step{Name: connectionStep, Status: StatusOK, Took: record.Took, Text: "connected"}
	if t := record.Conn.TLS; t != nil && len(t.PeerCertificates) > 0 {
		leaf := t.PeerCertificates[0]
		s.Text = fmt.Sprintf("%s, certificate issued by %s, expires %s",
			tls.VersionName(t.Version), issuerOf(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))
		if isMicrosoftHost(host) && !isIssuedForMicrosoft(t) {
			s.Status = StatusWarn
			s.Advice = "Microsoft's certificates are issued by DigiCert or Microsoft. This one is not, " +
				"so a proxy that this machine trusts, such as a company's, decrypts the traffic and sees the app's secrets " +
				"and tokens. " +
				"Exclude " + host + " from inspection, or use a certificate instead of a secret."
		}
	}
	d.done(s)
}

func issuerOf(c *x509.Certificate) string {
	for _, list := range [][]string{c.Issuer.Organization, {c.Issuer.CommonName}} {
		if len(list) > 0 && list[0] != "" {
			return clean(list[0], 80)
		}
	}
	return "an authority without a name"
}

// isIssuedForMicrosoft reports whether a certificate authority in Microsoft's list "Azure
// certificate authority details" issued the certificate.
func isIssuedForMicrosoft(t *tls.ConnectionState) bool {
	for _, c := range t.PeerCertificates {
		for _, o := range append([]string{c.Issuer.CommonName}, c.Issuer.Organization...) {
			if o := strings.ToLower(o); strings.Contains(o, "digicert") || strings.Contains(o, "microsoft") {
				return true
			}
		}
	}
	return false
}

const (
	skewWarn = time.Minute
	skewFail = 5 * time.Minute
)

func (d *doctor) reportClock(record httprecord.Request) {
	s := Step{Name: clockStep, Status: StatusOK}
	if record.Date.IsZero() {
		d.done(Step{Name: clockStep, Status: StatusSkip, Text: "the response lacks a Date header"})
		return
	}
	// The Date header is truncated to seconds and was written during the request.
	local := record.Start.Add(record.Took / 2)
	skew := local.Sub(record.Date.Add(500 * time.Millisecond)).Round(time.Second)
	direction := "ahead of"
	if skew < 0 {
		skew, direction = -skew, "behind"
	}
	s.Text = "within two seconds of Entra's"
	if skew > 2*time.Second {
		s.Text = fmt.Sprintf("%s %s Entra's", skew, direction)
	}
	switch {
	case skew > skewFail:
		s.Status = StatusFail
		s.Advice = "Entra and token validators tolerate five minutes. Beyond that, Entra rejects assertions " +
			"(AADSTS700024), and tokens seem expired or not yet valid. Set this machine's clock and keep it set with NTP " +
			"(timedatectl set-ntp true, w32tm /resync). In a virtual machine, check the host's clock."
	case skew > skewWarn:
		s.Status, s.Advice = StatusWarn,
			"Set this machine's clock with NTP. If it differs by five minutes or more, assertions and tokens are rejected."
	}
	d.done(s)
}

// reportDiscovery reports whether the tenant exists in this cloud.
func (d *doctor) reportDiscovery(host string, resp *http.Response, body []byte, record httprecord.Request) bool {
	s := Step{Name: discoveryStep, Status: StatusOK, Took: record.Took}
	var doc struct {
		Issuer      string `json:"issuer"`
		Token       string `json:"token_endpoint"`
		Error       string `json:"error"`
		Description string `json:"error_description"`
		Codes       []int  `json:"error_codes"`
		Correlation string `json:"correlation_id"`
		Trace       string `json:"trace_id"`
	}
	isJSON := json.Unmarshal(body, &doc) == nil
	switch {
	case isJSON && resp.StatusCode == http.StatusOK && doc.Issuer != "" && doc.Token != "":
		s.Text = "the tenant exists; issuer " + clean(doc.Issuer, 200)
		d.done(s)
		return true
	case isJSON && doc.Error != "":
		s.AADSTS, s.CorrelationID, s.TraceID = doc.Codes, clean(doc.Correlation, 100), clean(doc.Trace, 100)
		s.Text = clean(withoutTrailer(doc.Description), 400)
		if s.Text == "" {
			s.Text = clean(doc.Error, 100)
		}
		f := failure{codes: doc.Codes, code: doc.Error, status: resp.StatusCode}
		s.Advice = f.advice(d.facts())
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		s.Text = fmt.Sprintf("%s returned HTTP status %d", host, resp.StatusCode)
		s.Advice = "Entra or a proxy is unavailable or throttles requests. Try again in a few minutes. If the error " +
			"persists, check https://status.azure.com."
	default:
		s.Text = fmt.Sprintf("%s returned HTTP status %d and %s instead of a discovery document", host, resp.StatusCode,
			contentType(resp))
		s.Advice = "The response is not Entra's. The cloud is not an authority, or a proxy or a sign-in page of the " +
			"network intercepts the request. " +
			"Open the address in a browser on this machine, and check HTTPS_PROXY and NO_PROXY."
	}
	s.Status = StatusFail
	d.done(s)
	return false
}

func contentType(resp *http.Response) string {
	value, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	t, _, err := mime.ParseMediaType(value)
	if err != nil {
		return "no content type"
	}
	return clean(t, 50)
}

// reportFailedRequest reports in which step a request without a response failed.
func (d *doctor) reportFailedRequest(host, proxy string, record httprecord.Request, err error) {
	if record.Err != nil {
		err = record.Err
	}
	if dns, ok := errorAs[*net.DNSError](err); ok {
		d.reportUnresolvedName(host, proxy, dns, record.Took)
		return
	}
	d.reportName(host, proxy, record)
	s := d.failedConnection(host, proxy, err)
	s.Took = record.Took
	d.done(s)
	d.skip(needsResponse, clockStep, discoveryStep)
}

func (d *doctor) reportUnresolvedName(host, proxy string, dns *net.DNSError, took time.Duration) {
	s := Step{Name: nameStep, Status: StatusFail, Text: clean(dns.Name, 100) + " cannot be resolved", Took: took}
	switch {
	case proxy != "":
		s.Advice = "This is the name of the proxy in HTTPS_PROXY. Correct it or unset the variable."
	case dns.IsNotFound:
		s.Advice = "Check the cloud's host for typing errors. If it is correct, this network's name server does not " +
			"resolve external names. " +
			"Set HTTPS_PROXY if the network requires a proxy, or have a rule for " + host + " added."
	default:
		s.Advice = "The name server does not respond. Check the network, /etc/resolv.conf and, in a container or cluster, " +
			"its DNS service and network policies."
	}
	d.done(s)
	d.skip(needsName, connectionStep, clockStep, discoveryStep)
}

// failedConnection returns the step for a connection error. Certificate errors are about
// host. Other errors are about the proxy, if there is one.
func (d *doctor) failedConnection(host, proxy string, err error) Step {
	s := Step{Name: connectionStep, Status: StatusFail}
	if s.Text, s.Advice = certificateError(host, err); s.Text != "" {
		return s
	}
	peer := host
	if proxy != "" {
		peer = "the proxy " + proxy
	}
	const setProxy = ", or set HTTPS_PROXY if the network requires a proxy."
	rejected, isRejected := errorAs[neterr.ProxyError](err)
	_, isPlain := errorAs[tls.RecordHeaderError](err)
	timeout, isTimeout := errorAs[interface {
		error
		Timeout() bool
	}](err)
	switch {
	case isRejected:
		s.Text = fmt.Sprintf("%s rejected the connection to %s with HTTP status %d", peer, withPort(host), int(rejected))
	case isPlain:
		s.Text = peer + " does not use TLS"
		s.Advice = "The port belongs to another service, or HTTPS_PROXY is not a proxy. The port of an authority is 443, " +
			"except in some private clouds."
	case errors.Is(err, syscall.ECONNREFUSED):
		s.Text = peer + " does not accept connections"
		s.Advice = "No service listens there, or a firewall rejects the connection. Allow outgoing connections to " +
			withPort(host) + setProxy
	case isTimeout && timeout.Timeout():
		s.Text = "the connection to " + peer + " timed out"
		s.Advice = "Usually a firewall drops the packets. Allow outgoing connections to " + withPort(host) + setProxy
	default:
		s.Text = "the connection to " + peer + " failed"
		s.Advice = "A proxy, a firewall that inspects TLS, or the server closed it. Compare with: curl -v https://" + host +
			"/"
	}
	if proxy != "" {
		noProxy := " If " + host + " needs no proxy, add it to NO_PROXY."
		s.Advice = "Check the proxy's address and port in HTTPS_PROXY, and whether it allows connections to " +
			withPort(host) + "." + noProxy
		if rejected == http.StatusProxyAuthRequired {
			s.Advice = "The proxy requires a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT." + noProxy
		}
	}
	return s
}

// certificateError returns the text and the advice for an invalid server certificate, or ""
// for other errors.
func certificateError(host string, err error) (text, advice string) {
	if unknown, ok := errorAs[x509.UnknownAuthorityError](err); ok {
		text = "the certificate of " + host + " is not trusted"
		if unknown.Cert != nil {
			text += "; it is issued by " + issuerOf(unknown.Cert)
		}
		return text, "If your company's proxy or your private cloud issued it, trust that authority: with -ca FILE here, " +
			"with Config.HTTPClient in the program, or with SSL_CERT_FILE in both. " +
			"If you do not know the issuer, an attacker may intercept the connection. Do not continue. " +
			"In a minimal container, install the package ca-certificates."
	}
	if _, ok := errorAs[x509.HostnameError](err); ok {
		return "the certificate of " + host + " is for other names",
			"Another server responds at this address, such as a captive portal or a misconfigured proxy. Check " +
				"/etc/hosts and DNS."
	}
	if invalid, ok := errorAs[x509.CertificateInvalidError](err); ok {
		if invalid.Reason == x509.Expired {
			return "the certificate of " + host + " has expired or is not valid yet",
				"Check this machine's clock first (date). Otherwise the proxy or the private cloud must renew its certificate."
		}
		return "the certificate of " + host + " is invalid", "The proxy or the private cloud must replace its certificate."
	}
	return "", ""
}

func errorAs[E error](err error) (E, bool) {
	var e E
	ok := errors.As(err, &e)
	return e, ok
}

// withPort returns the name and port of a host for firewall rules.
func withPort(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name + " on port " + port
	}
	return host + " on port 443"
}

func isMicrosoftHost(host string) bool {
	for _, domain := range []string{
		".microsoftonline.com", ".microsoftonline.us", ".microsoft.com", ".windows.net", ".microsoftonline.cn",
		".ciamlogin.com",
	} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}
