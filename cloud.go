package entra

import "strings"

// Cloud is a Microsoft identity platform: the host, with a port if it needs one,
// of the authority that signs users in and issues tokens. The zero value is the
// public cloud. A private cloud or a test server is written as its host:
//
//	entra.Cloud("login.example.internal:8443")
//
// Sources: "Microsoft Entra authentication & national clouds" in Microsoft's
// identity platform documentation, and the hosts that MSAL knows.
type Cloud string

// The clouds that Microsoft and its partners run.
const (
	Public       Cloud = "login.microsoftonline.com"        // Azure, worldwide; the same as ""
	USGovernment Cloud = "login.microsoftonline.us"         // Azure for US Government
	China        Cloud = "login.partner.microsoftonline.cn" // Azure operated by 21Vianet
	Bleu         Cloud = "login.sovcloud-identity.fr"       // France
	Delos        Cloud = "login.sovcloud-identity.de"       // Germany
	GovSG        Cloud = "login.sovcloud-identity.sg"       // Singapore
)

// Host returns the authority's host in lower case, with the port if there is one.
func (c Cloud) Host() string {
	if c == "" {
		return string(Public)
	}
	return strings.ToLower(string(c))
}

// microsoftHosts are the hosts of Microsoft's authorities. Discovery documents of one
// may name another, and regional endpoints stand below them.
var microsoftHosts = map[string]bool{
	"login.microsoftonline.com":        true,
	"login.microsoft.com":              true,
	"login.windows.net":                true,
	"sts.windows.net":                  true,
	"login.microsoftonline.us":         true,
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
