package kubernetes_test

import (
	"context"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/entratoken/entra"
	"github.com/entratoken/entra/integration/recipes/internal/recipetest"
	"github.com/entratoken/entra/integration/recipes/kubernetes"
)

// serve is an API server whose config map has the token of the request.
func serve(w http.ResponseWriter, r *http.Request) {
	_, token, _ := strings.Cut(r.Header.Get("Authorization"), "Bearer ")
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path != "/api/v1/namespaces/default/configmaps/token" || token == "" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	fmt.Fprintf(w, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"token"},"data":{"token":%q}}`, token)
}

func TestAuthenticate(t *testing.T) {
	recipetest.Fit{Resource: recipetest.Kubernetes, Open: func(
		t *testing.T, client *entra.Client,
	) func(context.Context) (string, error) {
		server := httptest.NewTLSServer(http.HandlerFunc(serve))
		t.Cleanup(server.Close)
		config := &rest.Config{Host: server.URL, TLSClientConfig: rest.TLSClientConfig{
			CAData: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}}
		kubernetes.Authenticate(config, client)
		c, err := dynamic.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		configMaps := c.Resource(schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}).Namespace("default")
		return func(ctx context.Context) (string, error) {
			m, err := configMaps.Get(ctx, "token", metav1.GetOptions{})
			if err != nil {
				return "", err
			}
			token, _ := m.Object["data"].(map[string]any)["token"].(string)
			return token, nil
		}
	}}.Test(t)
}
