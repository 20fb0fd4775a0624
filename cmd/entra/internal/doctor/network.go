package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/entratoken/entra/cmd/entra/internal/wire"
)

const maxBody = 1 << 20

// network asks for the tenant's discovery document, and reads off that one request what
// there is to say about the name, the connection, the clock and the tenant. It returns why
// a token need not be asked for, "" if it may be.
func (d *doctor) network(ctx context.Context) string {
	host := d.App.Cloud.Host()
	address := "https://" + host + "/" + d.App.TenantID + "/v2.0/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		d.done(Step{Name: name, Status: Fail, Text: "the address of the authority cannot be made", Advice: "Check the tenant and the cloud."})
		d.skip("there is no address to ask", connection, clock, discovery)
		return "there is no address to ask"
	}
	proxy := d.proxyOf(req)
	client := &http.Client{
		Transport:     d.recorder,
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	seen, _ := d.recorder.Last("discovery")
	if err != nil {
		d.unreachable(host, proxy, seen, err)
		return "nothing answers there"
	}
	defer resp.Body.Close()
	d.name(host, proxy, seen)
	d.connection(host, seen)
	d.clock(seen)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		d.done(Step{Name: discovery, Status: Fail, Text: "the answer broke off", Advice: "The connection or a proxy in between is unreliable; try again."})
		return "the tenant's configuration comes first"
	}
	if !d.discovery(host, resp, body, seen) {
		return "the tenant's configuration comes first"
	}
	return ""
}

// proxyOf names the proxy of a request, without the credentials in its address.
func (d *doctor) proxyOf(req *http.Request) string {
	if d.Proxy == nil {
		return ""
	}
	u, err := d.Proxy(req)
	if err != nil || u == nil {
		return ""
	}
	return u.Host
}

func (d *doctor) name(host, proxy string, seen wire.Request) {
	s := Step{Name: name, Status: OK}
	switch found := seen.Conn.Resolved; {
	case proxy != "":
		s.Text = "left to the proxy " + proxy + " (from HTTPS_PROXY)"
	case len(found) == 1:
		s.Text = host + " is " + found[0]
	case len(found) > 1:
		s.Text = fmt.Sprintf("%s is %s and %d more", host, found[0], len(found)-1)
	case isAddress(host):
		s.Text = host + " is an address, not a name"
	default:
		s.Text = host + " was found"
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

func (d *doctor) connection(host string, seen wire.Request) {
	s := Step{Name: connection, Status: OK, Took: seen.Took, Text: "answers"}
	if t := seen.Conn.TLS; t != nil && len(t.PeerCertificates) > 0 {
		leaf := t.PeerCertificates[0]
		s.Text = fmt.Sprintf("%s, certificate issued by %s, good until %s", tls.VersionName(t.Version), issuerOf(leaf), leaf.NotAfter.UTC().Format(time.DateOnly))
		if microsoftHost(host) && !issuedForMicrosoft(t) {
			s.Status = Warn
			s.Advice = "Microsoft's certificates are issued by DigiCert or by itself. So a proxy that your machine trusts reads along, as many companies have one: " +
				"it sees the app's secrets and tokens. Have " + host + " excepted from inspection, or use a certificate in place of a secret."
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
	return "somebody without a name"
}

// issuedForMicrosoft tells the authorities that Microsoft's page "Azure certificate
// authority details" names.
func issuedForMicrosoft(t *tls.ConnectionState) bool {
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

func (d *doctor) clock(seen wire.Request) {
	s := Step{Name: clock, Status: OK}
	if seen.Date.IsZero() {
		d.done(Step{Name: clock, Status: Skip, Text: "the answer has no date"})
		return
	}
	// A date is cut to seconds, and was written at some time during the request.
	local := seen.Began.Add(seen.Took / 2)
	skew := local.Sub(seen.Date.Add(500 * time.Millisecond)).Round(time.Second)
	where := "ahead of"
	if skew < 0 {
		skew, where = -skew, "behind"
	}
	s.Text = "agrees with Entra's to the second or two"
	if skew > 2*time.Second {
		s.Text = fmt.Sprintf("%s %s Entra's", skew, where)
	}
	switch {
	case skew > skewFail:
		s.Status = Fail
		s.Advice = "This machine's clock is wrong by more than the five minutes that Entra and validators of tokens put up with: assertions are refused (AADSTS700024) " +
			"and tokens count as expired, or as not yet valid. Set it, and keep it set with NTP (timedatectl set-ntp true, w32tm /resync); in a virtual machine look at the host's."
	case skew > skewWarn:
		s.Status, s.Advice = Warn, "Set the clock with NTP: from five minutes on assertions and tokens are refused."
	}
	d.done(s)
}

// discovery: the tenant exists in this cloud.
func (d *doctor) discovery(host string, resp *http.Response, body []byte, seen wire.Request) bool {
	s := Step{Name: discovery, Status: OK, Took: seen.Took}
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
		s.Text = "tenant exists; issuer " + clean(doc.Issuer, 200)
		d.done(s)
		return true
	case isJSON && doc.Error != "":
		s.AADSTS, s.CorrelationID, s.TraceID = doc.Codes, clean(doc.Correlation, 100), clean(doc.Trace, 100)
		s.Text = clean(strings.TrimSpace(beforeTrailer(doc.Description)), 400)
		if s.Text == "" {
			s.Text = clean(doc.Error, 100)
		}
		s.Advice = adviceFor(&answer{codes: doc.Codes, code: doc.Error, status: resp.StatusCode}, d.facts())
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		s.Text = fmt.Sprintf("%s answered with status %d", host, resp.StatusCode)
		s.Advice = "Entra, or a proxy in between, is out of order or throttling. Try again in some minutes; see https://status.azure.com if it lasts."
	default:
		s.Text = fmt.Sprintf("%s answered with status %d and %s, not with a configuration", host, resp.StatusCode, contentType(resp))
		s.Advice = "That is not Entra: a proxy or a sign-in page of the network stands in between, or the cloud is not an authority. " +
			"Look at the address with a browser on this machine, and at HTTPS_PROXY and NO_PROXY."
	}
	s.Status = Fail
	d.done(s)
	return false
}

// unreachable tells in which step a request failed that brought no answer.
func (d *doctor) unreachable(host, proxy string, seen wire.Request, err error) {
	if seen.Err != nil {
		err = seen.Err
	}
	var (
		dns     *net.DNSError
		unknown x509.UnknownAuthorityError
		other   x509.HostnameError
		invalid x509.CertificateInvalidError
		record  tls.RecordHeaderError
		refusal wire.ProxyRefusal
		timeout interface{ Timeout() bool }
	)
	s := Step{Name: connection, Status: Fail, Took: seen.Took}
	if errors.As(err, &dns) {
		s = Step{Name: name, Status: Fail, Text: clean(dns.Name, 100) + " cannot be found", Took: seen.Took}
		switch {
		case proxy != "":
			s.Advice = "That is the proxy in HTTPS_PROXY: check its name, or unset it."
		case dns.IsNotFound:
			s.Advice = "Check the cloud's host for typing errors. If it is right, this network's name server does not resolve names outside: " +
				"it may want a proxy (HTTPS_PROXY), or a rule for " + host + "."
		default:
			s.Advice = "The name server does not answer. Check the network, /etc/resolv.conf and, in a container or a cluster, its DNS service and network policies."
		}
		d.done(s)
		d.skip("the name comes first", connection, clock, discovery)
		return
	}
	d.name(host, proxy, seen)
	where := host
	if proxy != "" {
		where = "the proxy " + proxy
	}
	switch {
	case errors.As(err, &unknown):
		s.Text = host + " shows a certificate that is not trusted here"
		if unknown.Cert != nil {
			s.Text += ", issued by " + issuerOf(unknown.Cert)
		}
		s.Advice = "If that is your company's proxy or your private cloud, trust its authority: -ca FILE here, Config.HTTPClient in the program, SSL_CERT_FILE for both. " +
			"If it is nobody that you know, somebody is reading along: do not go on. In a container from scratch the package ca-certificates is missing."
	case errors.As(err, &other):
		s.Text = host + " shows a certificate for other names"
		s.Advice = "Something else answers at its address: a captive portal, a wrong entry in /etc/hosts or DNS, or a proxy that forwards to the wrong place."
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		s.Text = host + " shows a certificate that is outside its time"
		s.Advice = "Look at this machine's clock first (date): it is the usual cause. Otherwise the proxy in between, or the private cloud, must renew its certificate."
	case errors.As(err, &invalid):
		s.Text = host + " shows a certificate that is not good"
		s.Advice = "The proxy in between, or the private cloud, must make another one."
	case errors.As(err, &refusal):
		s.Text = fmt.Sprintf("%s refuses to connect to %s, with status %d", where, withPort(host), int(refusal))
	case errors.As(err, &record):
		s.Text = where + " does not speak TLS"
		s.Advice = "The port is another service's, or HTTPS_PROXY is not a proxy. The port of an authority is 443 unless a private cloud says otherwise."
	case errors.Is(err, syscall.ECONNREFUSED):
		s.Text = where + " refuses connections"
		s.Advice = "Nothing listens there, or a firewall rejects it. Allow outgoing connections to " + withPort(host) + ", or set HTTPS_PROXY if the network wants a proxy."
	case errors.As(err, &timeout) && timeout.Timeout():
		s.Text = where + " does not answer in time"
		s.Advice = "A firewall drops the packets, more often than not. Allow outgoing connections to " + withPort(host) + ", or set HTTPS_PROXY if the network wants a proxy."
	default:
		s.Text = "the connection to " + where + " failed"
		s.Advice = "It was closed on the way: by a proxy, a firewall that looks into TLS, or a server that does not take this client. " +
			"Compare with: curl -v https://" + host + "/"
	}
	if proxy != "" && !errors.As(err, &unknown) && !errors.As(err, &other) && !errors.As(err, &invalid) {
		s.Advice = "Check the proxy's address and port in HTTPS_PROXY, and whether it lets connections to " + withPort(host) + " through. If no proxy is needed for it, put " + host + " into NO_PROXY."
	}
	if refusal == http.StatusProxyAuthRequired {
		s.Advice = "It wants a user and a password: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT. If no proxy is needed for it, put " + host + " into NO_PROXY."
	}
	d.done(s)
	d.skip("nothing answers there", clock, discovery)
}

// withPort names host's port, for those who allow connections.
func withPort(host string) string {
	if name, port, err := net.SplitHostPort(host); err == nil {
		return name + " on port " + port
	}
	return host + " on port 443"
}

func microsoftHost(host string) bool {
	for _, domain := range []string{".microsoftonline.com", ".microsoftonline.us", ".microsoft.com", ".windows.net", ".microsoftonline.cn", ".ciamlogin.com"} {
		if strings.HasSuffix(host, domain) {
			return true
		}
	}
	return false
}
