package verify

import (
	"errors"
	"net/url"
	"strings"

	"github.com/entratoken/entra"
)

// The v1.0 issuers. The public cloud and US Government share one, China has its
// own; Microsoft's tools for Azure (aks-engine, the Azure SDK for Java) know
// these two and no other. The newer sovereign clouds' is not documented, so the
// common one is expected there until Config.V1Issuer says otherwise, as it is of
// private hosts.
const (
	v1Issuer      = "https://sts.windows.net/{tenantid}/"
	v1IssuerChina = "https://sts.chinacloudapi.cn/{tenantid}/"
)

// tenantPlaceholder stands for the tenant ID in the issuers that Entra
// publishes for all tenants at once.
const tenantPlaceholder = "{tenantid}"

// issuerTemplate is an issuer with a gap for the tenant ID.
type issuerTemplate struct{ before, after string }

func newIssuerTemplate(s string) (issuerTemplate, bool) {
	before, after, ok := strings.Cut(s, tenantPlaceholder)
	return issuerTemplate{before, after}, ok
}

// tenant returns the tenant ID in an issuer that fits the template.
func (t issuerTemplate) tenant(issuer string) (string, bool) {
	rest, ok := strings.CutPrefix(issuer, t.before)
	if !ok || t.before == "" { // the zero template is that of no issuer
		return "", false
	}
	id, ok := strings.CutSuffix(rest, t.after)
	return id, ok && isGUID(id)
}

// is tells whether an issuer is the template's for that tenant.
func (t issuerTemplate) is(issuer, tenant string) bool {
	id, ok := t.tenant(issuer)
	return ok && id == tenant
}

// setIssuers derives the two issuers of the cloud: v2.0 is the authority's own,
// v1.0 the one given, or the cloud's.
func (r *rules) setIssuers(v1 string) error {
	u, err := url.Parse("https://" + r.host)
	if err != nil || u.Host != r.host || u.Hostname() == "" {
		return errors.New("Config.Cloud is not a host, with a port if it needs one")
	}
	cloud := entra.Cloud(r.host)
	switch {
	case outOfScope(r.host) && !cloud.ExternalID():
		return errors.New("Config.Cloud is a host of Azure AD B2C, whose tokens follow other rules and are not supported, or no whole host of External ID")
	case cloud.ExternalID():
		return r.setExternalIssuers(v1)
	}
	r.v2, _ = newIssuerTemplate("https://" + r.host + "/" + tenantPlaceholder + "/v2.0")
	if v1 == "" {
		v1 = v1Issuer
		if r.host == entra.CloudChina.Host() {
			v1 = v1IssuerChina
		}
	}
	return r.setV1Issuer(v1)
}

func (r *rules) setV1Issuer(v1 string) error {
	var ok bool
	if r.v1, ok = newIssuerTemplate(v1); !ok || !strings.HasPrefix(v1, "https://") {
		return errors.New("Config.V1Issuer must begin with https:// and have {tenantid} where the tenant ID stands")
	}
	if r.v1 == r.v2 {
		return errors.New("Config.V1Issuer is the v2.0 issuer")
	}
	return nil
}

// setExternalIssuers does it for External ID: an authority serves one tenant there, and
// the issuer's host is made of that tenant's ID, https://ID.ciamlogin.com/ID/v2.0. The
// v1.0 issuer is not documented, so those tokens are refused unless it is configured.
//
// Sources: "Microsoft Entra External ID" in MSAL's pages on authorities; the issuer in
// the openid-configuration of external tenants.
func (r *rules) setExternalIssuers(v1 string) error {
	if r.anyTenant || len(r.tenants) != 1 {
		return errors.New("Config.Tenants must have the ID of the one tenant whose authority the External ID host in Config.Cloud is")
	}
	for id := range r.tenants {
		r.v2, _ = newIssuerTemplate("https://" + id + ".ciamlogin.com/" + tenantPlaceholder + "/v2.0")
	}
	if v1 == "" {
		return nil
	}
	return r.setV1Issuer(v1)
}

// outOfScope tells hosts of External ID (ciamlogin.com) and Azure AD B2C
// (b2clogin.com), whose issuers and keys differ from Entra ID's.
func outOfScope(host string) bool {
	host, _, _ = strings.Cut(strings.ToLower(host), ":")
	host = strings.TrimRight(host, ".") // a name's end, which may be written
	return strings.HasSuffix(host, ".ciamlogin.com") || strings.HasSuffix(host, ".b2clogin.com")
}

// keysURL is where the authority publishes its keys. One tenant alone is asked
// for its own document, which is the narrower; otherwise the one for all.
//
// The address is made from the configured host, not read from the "jwks_uri" of
// the openid-configuration: it is the documented one in every cloud, saves a
// request, and a document cannot send us to another host. The v2.0 document is
// asked for v1.0 tokens too: the keys are the same, and only there do they name
// their issuer.
func (r *rules) keysURL(app string) string {
	tenant := "common"
	if !r.anyTenant && len(r.tenants) == 1 {
		for id := range r.tenants {
			tenant = id
		}
	}
	u := "https://" + r.host + "/" + tenant + "/discovery/v2.0/keys"
	if app != "" {
		u += "?appid=" + url.QueryEscape(app)
	}
	return u
}

// isGUID tells a GUID in the form in which Entra writes it: lower case.
func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
		default:
			return false
		}
	}
	return true
}

// hostOf returns the host of an https URL, "" if it is not one.
func hostOf(issuer string) string {
	rest, ok := strings.CutPrefix(issuer, "https://")
	if !ok {
		return ""
	}
	host, _, _ := strings.Cut(rest, "/")
	return host
}
