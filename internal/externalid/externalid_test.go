package externalid_test

import (
	"testing"

	"github.com/entratoken/entra/internal/externalid"
)

func TestTenant(t *testing.T) {
	const id, other = "aaaaaaaa-1111-4000-8000-00000000a11c", "bbbbbbbb-1111-4000-8000-00000000a11c"
	for issuer, want := range map[string]string{
		"https://" + id + ".ciamlogin.com/" + id + "/v2.0":                                                     id,
		"https://" + id + ".ciamlogin.com/" + other + "/v2.0":                                                  "",
		"https://" + id + ".ciamlogin.com/" + id + "/v1.0":                                                     "",
		"https://" + id + ".ciamlogin.com/" + id + "/v2.0/":                                                    "",
		"https://" + id + ".ciamlogin.com.evil.example/" + id + "/v2.0":                                        "",
		"https://" + id + ".evil.example/" + id + "/v2.0":                                                      "",
		"https://contoso.ciamlogin.com/" + id + "/v2.0":                                                        "",
		"https://contoso.ciamlogin.com/contoso/v2.0":                                                           "",
		"http://" + id + ".ciamlogin.com/" + id + "/v2.0":                                                      "",
		"https://AAAAAAAA-1111-4000-8000-00000000A11C.ciamlogin.com/AAAAAAAA-1111-4000-8000-00000000A11C/v2.0": "",
		"https://.ciamlogin.com//v2.0":                                                                         "",
		"https://":                                                                                             "",
		"":                                                                                                     "",
	} {
		if got := externalid.Tenant(issuer); got != want {
			t.Errorf("%s: got %q, want %q", issuer, got, want)
		}
	}
}
