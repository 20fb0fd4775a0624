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

// chromium is a window of a headless browser with an empty profile.
type chromium struct {
	ctx       context.Context
	artifacts string // directory of its screenshots; see `go test -artifacts -outputdir DIR`
}

// newChromium starts a browser that runs until the test ends. In addition to the system's roots, it trusts the public
// key of the fake's certificate.
func (f *fake) newChromium(t *testing.T) *chromium {
	t.Helper()
	pin := sha256.Sum256(f.leaf.RawSubjectPublicKeyInfo)
	return newChromium(t, chromedp.Flag("ignore-certificate-errors-spki-list", base64.StdEncoding.EncodeToString(pin[:])))
}

// newChromium starts a browser that trusts the system's roots.
func newChromium(t *testing.T, more ...chromedp.ExecAllocatorOption) *chromium {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WindowSize(800, 900),
		chromedp.NoSandbox, // the sandbox does not work for root
		chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
	)
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), append(options, more...)...)
	t.Cleanup(cancel)
	return openWindow(t, ctx)
}

// fresh opens a window of the same browser with a new profile, without cookies.
func (c *chromium) fresh(t *testing.T) *chromium {
	t.Helper()
	return openWindow(t, c.ctx, chromedp.WithNewBrowserContext())
}

// tab opens another tab of the window, with the same cookies.
func (c *chromium) tab(t *testing.T) *chromium {
	t.Helper()
	return openWindow(t, c.ctx)
}

func openWindow(t *testing.T, ctx context.Context, options ...chromedp.ContextOption) *chromium {
	t.Helper()
	ctx, cancel := chromedp.NewContext(ctx, options...)
	t.Cleanup(cancel)
	// The window has the focus, as in front of a person.
	if _, err := chromedp.Call(ctx, emulation.SetFocusEmulationEnabled,
		emulation.SetFocusEmulationEnabledParams{Enabled: true}); err != nil {
		t.Fatal(err)
	}
	return &chromium{ctx: ctx, artifacts: t.ArtifactDir()}
}

// do runs actions in the window. Each waits for its element. After a minute the test fails and logs the page.
func (c *chromium) do(t *testing.T, actions ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	eval(t, c, chromedp.Steps(actions...))
}

// eval runs an action and returns its result.
func eval[T any](t *testing.T, c *chromium, action chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, time.Minute)
	defer cancel()
	result, err := chromedp.Run(ctx, action)
	if err != nil {
		t.Fatalf("%v\n%s", err, c.text(t))
	}
	return result
}

// text returns the location of the window and the text of its page.
func (c *chromium) text(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(c.ctx, 10*time.Second)
	defer cancel()
	location, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		t.Errorf("get the location: %v", err)
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		t.Errorf("get the text: %v", err)
	}
	return location + "\n" + text
}

// wantText fails the test unless the page contains all parts.
func (c *chromium) wantText(t *testing.T, want ...string) {
	t.Helper()
	text := c.text(t)
	for _, part := range want {
		if !strings.Contains(text, part) {
			t.Errorf("got a page without %q:\n%s", part, text)
		}
	}
}

// screenshot saves a picture of the page.
func (c *chromium) screenshot(t *testing.T, name string) {
	t.Helper()
	png := eval(t, c, chromedp.FullScreenshot(100))
	if err := os.WriteFile(filepath.Join(c.artifacts, name+".png"), png, 0o600); err != nil {
		t.Fatal(err)
	}
}
