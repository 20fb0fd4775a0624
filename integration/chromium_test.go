package integration_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// A chromium is a window of a headless browser with an empty profile.
type chromium struct {
	ctx       context.Context
	artifacts string // where its screenshots go; kept by `go test -artifacts -outputdir DIR`
}

// newChromium starts one. It trusts the fake's certificate by its public key, and nothing else that
// Debian's certificates don't vouch for. It ends with the test.
func (f *fake) newChromium(t *testing.T) *chromium {
	t.Helper()
	pin := sha256.Sum256(f.leaf.RawSubjectPublicKeyInfo)
	return newChromium(t, chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(pin[:])))
}

// newChromium starts one that trusts what Debian's certificates vouch for.
func newChromium(t *testing.T, more ...chromedp.ExecAllocatorOption) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(800, 900),
		chromedp.NoSandbox, // which can't be had as root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	t.Cleanup(cancel)
	return openWindow(t, ctx)
}

// fresh opens a window of the same browser with a profile of its own, without cookies.
func (c *chromium) fresh(t *testing.T) *chromium {
	t.Helper()
	return openWindow(t, c.ctx, chromedp.WithNewBrowserContext())
}

// tab opens another tab beside a window, with the same cookies.
func (c *chromium) tab(t *testing.T) *chromium {
	t.Helper()
	return openWindow(t, c.ctx)
}

func openWindow(t *testing.T, ctx context.Context, options ...chromedp.ContextOption) *chromium {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx, options...)
	t.Cleanup(cancel)
	// A person looks at the window, so it has the focus.
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled,
		emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	return &chromium{ctx: ctx, artifacts: t.ArtifactDir()}
}

// do acts in the window. Each step waits for what it acts on; a minute of that fails the test, which
// then shows the page.
func (c *chromium) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	ask(t, c, chromedp.Steps(actions...))
}

// ask is do for an action with a result.
func ask[T any](t *testing.T, c *chromium, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.text(t))
	}
	return result
}

// text is where the window is and what it says.
func (c *chromium) text(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	location, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		t.Errorf("no page: %v", err)
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Errorf("no text: %v", err)
	}
	return location + "\n" + text
}

// wantText fails the test unless the page says all of it.
func (c *chromium) wantText(t *testing.T, want ...string) {
	t.Helper()
	text := c.text(t)
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q:\n%s", part, text)
		}
	}
}

// screenshot keeps a picture of the page.
func (c *chromium) screenshot(t *testing.T, name string) {
	t.Helper()
	png := ask(t, c, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(c.artifacts, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}
