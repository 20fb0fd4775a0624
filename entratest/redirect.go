package entratest

import (
	"net"
	"net/url"
	"strings"
)

// redirectsTo reports whether the app registered the redirect URI. It compares
// exactly, but for the port of a loopback address
// (https://learn.microsoft.com/entra/identity-platform/reply-url#localhost-exceptions).
func (a *App) redirectsTo(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.User != nil || strings.ContainsAny(uri, "#\\ \t\r\n") {
		return false
	}
	for _, registered := range a.RedirectURIs {
		if registered == uri {
			return true
		}
		reg, err := url.Parse(registered)
		if err != nil || !isLoopback(reg.Hostname()) || u.Scheme != "http" || reg.Scheme != "http" {
			continue
		}
		if u.Hostname() == reg.Hostname() && u.EscapedPath() == reg.EscapedPath() && u.RawQuery == reg.RawQuery && u.ForceQuery == reg.ForceQuery {
			return true
		}
	}
	return false
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func wrongRedirect(a *App, uri string) *refusal {
	return refuse(50011, "The redirect URI '%s' is none that the app '%s' has registered.", quote(uri), a.ClientID)
}
