package kubernetes

import (
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"k8s.io/client-go/rest"
)

// recipe client-go azidentity

func authenticate(config *rest.Config, credential azcore.TokenCredential) {
	config.Wrap(func(base http.RoundTripper) http.RoundTripper { return &transport{credential, base} })
}

type transport struct {
	credential azcore.TokenCredential
	base       http.RoundTripper
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	options := policy.TokenRequestOptions{Scopes: []string{"6dae42f8-4368-4678-94ff-3960e28e3630/.default"}}
	token, err := t.credential.GetToken(req.Context(), options)
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token.Token)
	return t.base.RoundTrip(req)
}

// end recipe

var _ = authenticate
