package entratest

import (
	"slices"
	"strings"
)

// A cloud is one of Microsoft's, or of its partners'.
type cloud struct {
	hosts []string // of its authority, the first being the one that names it
	v1    string   // what the issuers of version 1 tokens begin with
	name  string   // cloud_instance_name
	graph string   // msgraph_host
}

// clouds are those whose hosts [Server.Client] answers for: the national clouds
// (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud)
// and the sovereign ones that Microsoft's libraries know.
var clouds = []cloud{
	{
		hosts: []string{"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net"},
		v1:    "https://sts.windows.net/", name: "microsoftonline.com", graph: "graph.microsoft.com",
	},
	{
		hosts: []string{"login.partner.microsoftonline.cn", "login.chinacloudapi.cn"},
		v1:    "https://sts.chinacloudapi.cn/", name: "partner.microsoftonline.cn", graph: "microsoftgraph.chinacloudapi.cn",
	},
	{
		hosts: []string{"login.microsoftonline.us", "login.usgovcloudapi.net"},
		v1:    "https://sts.windows.net/", name: "microsoftonline.us", graph: "graph.microsoft.us",
	},
	{
		hosts: []string{"login-us.microsoftonline.com"},
		v1:    "https://sts.windows.net/", name: "microsoftonline.us", graph: "graph.microsoft.us",
	},
	sovereignCloud("sovcloud-identity.fr"),
	sovereignCloud("sovcloud-identity.de"),
	sovereignCloud("sovcloud-identity.sg"),
}

// sovereign is a cloud of which no more than the sign-in host is documented.
func sovereignCloud(domain string) cloud {
	return cloud{hosts: []string{"login." + domain}, v1: "https://sts.windows.net/", name: domain, graph: "graph.microsoft.com"}
}

// cloudOf is the cloud that the host belongs to, nil if it is none of theirs.
// Regional hosts, such as westeurope.login.microsoft.com, belong to their cloud.
func cloudOf(host string) *cloud {
	host = strings.ToLower(host)
	for i := range clouds {
		for _, alias := range clouds[i].hosts {
			if host == alias || strings.HasSuffix(host, "."+alias) {
				return &clouds[i]
			}
		}
	}
	return nil
}

// cloudHost is the host that names the cloud of that host, "" if there is none. An
// external tenant's names itself.
func canonicalHost(host string) string {
	if externalIDName(host) != "" {
		return strings.ToLower(host)
	}
	if c := cloudOf(host); c != nil {
		return c.hosts[0]
	}
	return ""
}

// cloudAt is the cloud of an authority's base URL. A host of one's own stands
// for the public cloud.
func cloudAt(base string) *cloud {
	if c := cloudOf(strings.TrimPrefix(base, "https://")); c != nil {
		return c
	}
	return &clouds[0]
}

// externalName is NAME of a host of External ID, NAME.ciamlogin.com, "" for any other. Such
// a host serves one tenant, whose ID or whose domain's first label is its name
// (https://learn.microsoft.com/entra/external-id/customers/concept-authentication-methods-customers).
func externalIDName(host string) string {
	name, ok := strings.CutSuffix(strings.ToLower(host), ".ciamlogin.com")
	if !ok || strings.ContainsAny(name, ".:/") {
		return ""
	}
	return name
}

// external reports whether the host of a base URL is one of External ID.
func isExternalID(base string) bool { return externalIDName(strings.TrimPrefix(base, "https://")) != "" }

// servedAt reports whether the authority of a base URL is one of the tenant's.
func (t *Tenant) servedBy(base string) bool {
	name := externalIDName(strings.TrimPrefix(base, "https://"))
	label, _, _ := strings.Cut(strings.ToLower(t.Domain), ".")
	return name == "" || name == t.ID || name == label
}

// v2Issuer is the issuer of version 2 tokens of the tenant. That of an external tenant is
// on a host made of its ID, whichever of its hosts was asked.
func v2Issuer(base, tenant string) string {
	if isExternalID(base) {
		base = "https://" + tenant + ".ciamlogin.com"
	}
	return base + "/" + tenant + "/v2.0"
}

// regional is the base URL of the authority for token requests: in a region that was
// asked, such as westeurope.login.microsoft.com, the region's.
func tokenEndpointBase(base, host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, ":443"))
	label, authority, _ := strings.Cut(host, ".")
	named := cloudOf(authority) != nil && slices.Contains(cloudOf(authority).hosts, authority)
	if label != "" && (named || "https://"+authority == base) {
		return "https://" + host
	}
	return base
}

// v1Issuer is the issuer of version 1 tokens of the tenant.
func v1Issuer(base, tenant string) string { return cloudAt(base).v1 + tenant + "/" }
