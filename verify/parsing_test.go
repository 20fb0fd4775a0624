package verify_test

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/entratoken/entra/entratest"
	"github.com/entratoken/entra/internal/testkit"
	"github.com/entratoken/entra/verify"
)

// A token costs memory in proportion to its size up to verify.MaxTokenSize, and almost none beyond.
func TestTokenCostIsBounded(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	v := mustNew(t, sampleConfig(s))
	valid := s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon"})
	if _, err := v.Verify(context.Background(), valid); err != nil {
		t.Fatal(err)
	}
	header, rest, _ := strings.Cut(valid, ".")
	_, signature, _ := strings.Cut(rest, ".")
	for name, text := range map[string]string{
		"dots": ".", "strings": `"a",`, "arrays": `[],`, "nested": `[`, "members": `"a":0,`, "escapes": `"\u0041",`,
	} {
		for _, size := range []int{1 << 10, 16 << 10, verify.MaxTokenSize, 1 << 20, 10 << 20} {
			junk := strings.Repeat(text, size/len(text))
			payload := base64.RawURLEncoding.EncodeToString([]byte(`{"groups":[` + junk + `"a"]}`))
			for _, raw := range []string{junk, header + "." + payload + "." + signature, payload + "." + payload + "." + signature} {
				limit := testkit.Cost{Fixed: 64 << 10, PerByte: 40}
				testkit.CostsAtMost(t, name, limit, raw[:min(len(raw), verify.MaxTokenSize)], func(string) {
					_, _ = v.Verify(context.Background(), raw)
				})
			}
		}
	}
}

// The cost of a document of keys is linear in its size, and it is read up to 1 MiB.
func TestKeysCostIsLinear(t *testing.T) {
	s := entratest.NewServer(entratest.Sample())
	raw := s.Mint(entratest.MintOptions{Resource: "api-b", Client: "daemon"})
	for name, text := range map[string]string{
		"keys": `{"kty":"RSA","kid":"a","n":"AQAB","e":"AQAB"},`, "empty": `{},`, "arrays": `[],`, "nested": `[`,
		"zeros": `0,`,
	} {
		for _, size := range []int{1 << 10, 64 << 10, 1<<20 - 100, 5 << 20} {
			body := `{"keys":[` + strings.Repeat(text, size/len(text)) + `{}]}`
			cfg := sampleConfig(s)
			cfg.HTTPClient = &http.Client{Transport: testkit.RoundTripper(func(req *http.Request) (*http.Response, error) {
				resp := testkit.Response(req, http.StatusOK, "application/json", "")
				resp.Body = io.NopCloser(strings.NewReader(body))
				return resp, nil
			})}
			limit := testkit.Cost{Fixed: 3 << 20, PerByte: 100}
			testkit.CostsAtMost(t, name, limit, body[:min(len(body), 1<<20)], func(string) {
				_, _ = mustNew(t, cfg).Verify(context.Background(), raw)
			})
		}
	}
}
