package entra

import (
	"net"
	"net/url"
	"strings"
)

// Cloud is a Microsoft identity platform: the host, with a port if it needs one,
// of the authority that signs users in and issues tokens. The zero value is the
// public cloud. A private cloud or a test server is written as its host:
//
//	entra.Cloud("login.example.internal:8443")
//
// The authority of an external tenant (Microsoft Entra External ID) is a host of its own,
// which serves that tenant alone:
//
//	entra.Cloud("contoso.ciamlogin.com")
//
// Azure AD B2C and AD FS have authorities of other shapes, which are not supported; [New]
// says so where it can tell.
//
// Sources: "Microsoft Entra authentication & national clouds" in Microsoft's
// identity platform documentation, and the hosts that MSAL knows.
type Cloud string

// The clouds that Microsoft and its partners run.
const (
	CloudPublic       Cloud = "login.microsoftonline.com"        // Azure, worldwide; the same as ""
	CloudUSGovernment Cloud = "login.microsoftonline.us"         // Azure for US Government
	CloudChina        Cloud = "login.partner.microsoftonline.cn" // Azure operated by 21Vianet
	CloudBleu         Cloud = "login.sovcloud-identity.fr"       // France
	CloudDelos        Cloud = "login.sovcloud-identity.de"       // Germany
	CloudGovSG        Cloud = "login.sovcloud-identity.sg"       // Singapore
)

// Host returns the authority's host in lower case, with the port if there is one.
func (c Cloud) Host() string {
	if c == "" {
		return string(CloudPublic)
	}
	return lowerHost(string(c))
}

// lowerHost lowers the letters of ASCII alone. Others become such letters in
// [strings.ToLower], but in DNS they are other names' (RFC 5892).
func lowerHost(host string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		return c
	}, host)
}

// ExternalID reports whether c is the authority of an external tenant, NAME.ciamlogin.com.
// The issuer that its tokens name is on another host, made of the tenant's ID.
func (c Cloud) ExternalID() bool { return c.below("ciamlogin.com") }

// below reports whether c is one label below a domain.
func (c Cloud) below(domain string) bool {
	host := c.Host()
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	label, parent, _ := strings.Cut(host, ".")
	return label != "" && parent == domain
}

// microsoftHosts are the hosts of Microsoft's authorities. Discovery documents of one
// may name another, and regional endpoints stand below them. They are those that MSAL
// trusts, without the German cloud that was closed in 2021.
var microsoftHosts = map[string]bool{
	"login.microsoftonline.com":        true,
	"login.microsoft.com":              true,
	"login.windows.net":                true,
	"sts.windows.net":                  true,
	"login.microsoftonline.us":         true,
	"login-us.microsoftonline.com":     true,
	"login.usgovcloudapi.net":          true,
	"login.partner.microsoftonline.cn": true,
	"login.chinacloudapi.cn":           true,
	"login.sovcloud-identity.fr":       true,
	"login.sovcloud-identity.de":       true,
	"login.sovcloud-identity.sg":       true,
}

func microsoftHost(host string) bool {
	if microsoftHosts[host] {
		return true
	}
	_, parent, _ := strings.Cut(host, ".") // "westeurope.login.microsoft.com"
	return microsoftHosts[parent]
}

// checkCloud says what is wrong with a Config's cloud.
func checkCloud(c Cloud) *Error {
	h := c.Host()
	if u, err := url.Parse(h); err == nil && (u.Scheme == "https" || u.Scheme == "http") && host.MatchString(u.Host) {
		return errorf("invalid_request", "Config.Cloud is a URL; write its host alone, %q", u.Host)
	}
	switch {
	case !host.MatchString(h) || !strings.ContainsAny(h, ".:") && h != "localhost":
		return errorf("invalid_request",
			"Config.Cloud is not the host of an authority; use a constant such as entra.USGovernment, or write the host without a scheme or path")
	case h == "ciamlogin.com" || strings.HasSuffix(h, ".ciamlogin.com") && !c.ExternalID():
		return errorf("invalid_request", "Config.Cloud is not the authority of an external tenant; write its own host, such as \"contoso.ciamlogin.com\"")
	case h == "b2clogin.com" || strings.Contains(h, ".b2clogin.com"):
		return errorf("invalid_request", "Config.Cloud is a host of Azure AD B2C, which MSAL for Go does not support; "+
			"use an OpenID Connect library with golang.org/x/oauth2, or move the app to an external tenant (NAME.ciamlogin.com)")
	}
	return nil
}
