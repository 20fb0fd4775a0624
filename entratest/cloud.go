package entratest

import (
	"slices"
	"strings"
)

// A cloud is a national or sovereign cloud, or the public one.
type cloud struct {
	hosts []string // hosts of its authority; the first is the canonical one
	v1    string   // prefix of the issuers of version 1 tokens
	name  string   // cloud_instance_name
	graph string   // msgraph_host
}

// clouds are the clouds that [Server.Client] serves: the national clouds
// (https://learn.microsoft.com/entra/identity-platform/authentication-national-cloud)
// and the sovereign clouds known to Microsoft's libraries.
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

// sovereignCloud returns a cloud of which only the sign-in host is documented.
func sovereignCloud(domain string) cloud {
	return cloud{
		hosts: []string{"login." + domain},
		v1:    "https://sts.windows.net/", name: domain, graph: "graph.microsoft.com",
	}
}

// cloudOf returns the cloud that the host belongs to, or nil. Regional hosts,
// such as westeurope.login.microsoft.com, belong to their cloud.
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

// canonicalHost returns the canonical host of the cloud that host belongs to, or
// "" if the cloud is unknown. A host of External ID is its own canonical host.
func (reg *registry) canonicalHost(host string) string {
	if externalIDName(host) != "" || reg.tenantByHost[strings.ToLower(host)] != nil {
		return strings.ToLower(host)
	}
	if c := cloudOf(host); c != nil {
		return c.hosts[0]
	}
	return ""
}

// cloudAt returns the cloud of an authority's base URL. Unknown hosts count as
// the public cloud.
func cloudAt(base string) *cloud {
	if c := cloudOf(strings.TrimPrefix(base, "https://")); c != nil {
		return c
	}
	return &clouds[0]
}

// externalIDName returns NAME for a host NAME.ciamlogin.com of External ID, and
// "" for any other host. Such a host serves one tenant: NAME is the tenant's ID
// or the first label of its domain
// (https://learn.microsoft.com/entra/external-id/customers/concept-authentication-methods-customers).
func externalIDName(host string) string {
	name, ok := strings.CutSuffix(strings.ToLower(host), ".ciamlogin.com")
	if !ok || strings.ContainsAny(name, ".:/") {
		return ""
	}
	return name
}

// isExternalID reports whether the host of a base URL belongs to External ID.
func (reg *registry) isExternalID(base string) bool {
	host := strings.TrimPrefix(base, "https://")
	return externalIDName(host) != "" || reg.tenantByHost[host] != nil
}

// servedBy reports whether the authority of a base URL serves the tenant.
func (reg *registry) servedBy(t *Tenant, base string) bool {
	host := strings.TrimPrefix(base, "https://")
	if owner := reg.tenantByHost[host]; owner != nil {
		return owner == t
	}
	name := externalIDName(host)
	label, _, _ := strings.Cut(strings.ToLower(t.Domain), ".")
	return name == "" || name == t.ID || name == label
}

// v2Issuer returns the issuer of version 2 tokens of the tenant. In External ID,
// its host is made of the tenant's ID, for any host in the request.
func (reg *registry) v2Issuer(base, tenant string) string {
	if reg.isExternalID(base) {
		base = "https://" + tenant + ".ciamlogin.com"
	}
	return base + "/" + tenant + "/v2.0"
}

// tokenEndpointBase returns the base URL of the token endpoint for a request to
// host. For a regional host, such as westeurope.login.microsoft.com, it is the URL of
// that host. For any other host it is base.
func tokenEndpointBase(base, host string) string {
	host = strings.ToLower(strings.TrimSuffix(host, ":443"))
	label, authority, _ := strings.Cut(host, ".")
	named := cloudOf(authority) != nil && slices.Contains(cloudOf(authority).hosts, authority)
	if label != "" && (named || "https://"+authority == base) {
		return "https://" + host
	}
	return base
}

// v1Issuer returns the issuer of version 1 tokens of the tenant.
func v1Issuer(base, tenant string) string { return cloudAt(base).v1 + tenant + "/" }
