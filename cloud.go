package entra

import (
	"net"
	"net/url"
	"regexp"
	"strings"
)

// A Cloud is a deployment of the Microsoft identity platform. It is the host of the
// authority that signs users in and issues tokens, with a port if necessary. The zero
// value is the public cloud. A private cloud or a test server is its host:
//
//	entra.Cloud("login.example.internal:8443")
//
// The authority of an external tenant (Microsoft Entra External ID) has a host of its own,
// which serves only that tenant. [ExternalIDCloud] is for one behind a custom URL domain:
//
//	entra.Cloud("contoso.ciamlogin.com")
//	entra.ExternalIDCloud("login.contoso.com")
//
// Another name of one of Microsoft's clouds, such as login.windows.net, stands for the cloud:
// requests are sent to its main host, and its tokens name that host.
//
// Azure AD B2C and AD FS have authorities of other shapes and are not supported. [New]
// rejects them where it recognizes them.
//
// Sources: "Microsoft Entra authentication & national clouds" in Microsoft's identity
// platform documentation, and the hosts in MSAL.
type Cloud string

// The clouds that Microsoft and its partners operate.
const (
	CloudPublic       Cloud = "login.microsoftonline.com"        // Azure, worldwide; the default
	CloudUSGovernment Cloud = "login.microsoftonline.us"         // Azure for US Government
	CloudChina        Cloud = "login.partner.microsoftonline.cn" // Azure operated by 21Vianet
	CloudBleu         Cloud = "login.sovcloud-identity.fr"       // France
	CloudDelos        Cloud = "login.sovcloud-identity.de"       // Germany
	CloudGovSG        Cloud = "login.sovcloud-identity.sg"       // Singapore
)

// externalIDPrefix marks a custom URL domain of External ID.
const externalIDPrefix = "externalid:"

// ExternalIDCloud returns the authority of an external tenant behind a custom URL domain, such
// as login.contoso.com. Requests are sent to host. The issuer in tokens stays on the tenant's
// own host, ID.ciamlogin.com. As text, the Cloud is host with the prefix "externalid:".
//
// Source: "Custom URL domains in external tenants" in Microsoft's documentation.
func ExternalIDCloud(host string) Cloud {
	if Cloud(host).ExternalID() {
		return Cloud(host)
	}
	return Cloud(externalIDPrefix + host)
}

// Host returns the authority's host in lower case, with the port if there is one. For another
// name of one of Microsoft's clouds it returns the main host of the cloud.
func (c Cloud) Host() string {
	if c == "" {
		return string(CloudPublic)
	}
	host := lowerHost(strings.TrimPrefix(string(c), externalIDPrefix))
	if cloud := microsoftHosts[host]; cloud != "" {
		return string(cloud)
	}
	return host
}

// main returns c with its main host.
func (c Cloud) main() Cloud {
	if c.custom() {
		return externalIDPrefix + Cloud(c.Host())
	}
	return Cloud(c.Host())
}

// custom reports whether c is a custom URL domain of External ID.
func (c Cloud) custom() bool { return strings.HasPrefix(string(c), externalIDPrefix) }

// lowerHost converts ASCII letters to lower case. [strings.ToLower] maps other letters to
// ASCII, although they are different names in DNS (RFC 5892).
func lowerHost(host string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, host)
}

// ExternalID reports whether c is the authority of an external tenant: NAME.ciamlogin.com or
// an [ExternalIDCloud]. The issuer in its tokens has another host, which contains the tenant's
// ID.
func (c Cloud) ExternalID() bool {
	if c.custom() {
		return true
	}
	host := c.Host()
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	label, parent, _ := strings.Cut(host, ".")
	return label != "" && parent == "ciamlogin.com"
}

// microsoftHosts are the hosts of Microsoft's authorities that MSAL trusts, by their clouds,
// without the German cloud that closed in 2021. A discovery document of one may name another
// of the same cloud, and regional endpoints are subdomains of them.
var microsoftHosts = map[string]Cloud{
	"login.microsoftonline.com":        CloudPublic,
	"login.microsoft.com":              CloudPublic,
	"login.windows.net":                CloudPublic,
	"sts.windows.net":                  CloudPublic,
	"login.microsoftonline.us":         CloudUSGovernment,
	"login.usgovcloudapi.net":          CloudUSGovernment,
	"login-us.microsoftonline.com":     "login-us.microsoftonline.com", // MSAL has no alias for it
	"login.partner.microsoftonline.cn": CloudChina,
	"login.chinacloudapi.cn":           CloudChina,
	"login.sovcloud-identity.fr":       CloudBleu,
	"login.sovcloud-identity.de":       CloudDelos,
	"login.sovcloud-identity.sg":       CloudGovSG,
}

// microsoftCloud returns the cloud of one of Microsoft's hosts, and "" for any other host. A regional host belongs to
// the cloud of its parent domain.
func microsoftCloud(host string) Cloud {
	if cloud := microsoftHosts[host]; cloud != "" {
		return cloud
	}
	_, parent, _ := strings.Cut(host, ".") // "westeurope.login.microsoft.com"
	return microsoftHosts[parent]
}

var hostPattern = regexp.MustCompile(`^([A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?$`)

// validate reports a cloud that is not the host of a supported authority.
func (c Cloud) validate() *Error {
	h := c.Host()
	if c.custom() && microsoftCloud(h) != "" {
		return errorf("invalid_request", "Config.Cloud is a host of Microsoft Entra ID; "+
			"without ExternalIDCloud it is that cloud")
	}
	u, err := url.Parse(h)
	if err == nil && (u.Scheme == "https" || u.Scheme == "http") && hostPattern.MatchString(u.Host) {
		return errorf("invalid_request", "Config.Cloud is a URL; use its host alone, %q", u.Host)
	}
	switch {
	case !hostPattern.MatchString(h) || !strings.ContainsAny(h, ".:") && h != "localhost":
		return errorf("invalid_request", "Config.Cloud is not the host of an authority; "+
			"use a constant such as entra.CloudUSGovernment, or a host without a scheme or path")
	case h == "ciamlogin.com" || strings.HasSuffix(h, ".ciamlogin.com") && !Cloud(h).ExternalID():
		return errorf("invalid_request", "Config.Cloud is not the authority of an external tenant; "+
			"use the tenant's own host, such as \"contoso.ciamlogin.com\"")
	case h == "b2clogin.com" || strings.Contains(h, ".b2clogin.com"):
		return errorf("invalid_request", "Config.Cloud is a host of Azure AD B2C, which MSAL for Go does not support; "+
			"use an OpenID Connect library with golang.org/x/oauth2, or move the app to an external tenant "+
			"(NAME.ciamlogin.com)")
	}
	return nil
}
