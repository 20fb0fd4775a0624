package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A person works with the web app in a browser.
type person struct {
	side    *side
	number  int
	site    string // URL of the web app
	browser http.Client
	random  *rand.Rand
	signIn  bool        // the person expects to sign in
	leave   atomic.Bool // the person should sign out and in again
	order   atomic.Bool // the person should order an export
	served  sync.Map    // addresses of the processes that have shown a page to the person
}

func newPerson(s *side, number int) *person {
	p := &person{side: s, number: number, site: s.site.url, random: rand.New(rand.NewPCG(uint64(number), 0)),
		signIn: true}
	p.browser.Timeout = 20 * time.Second
	p.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.browser.Jar, _ = cookiejar.New(nil) // never fails
	return p
}

const pagesEvery = 250 * time.Millisecond // on average

// work opens pages until ctx ends, and then signs out.
func (p *person) work(ctx context.Context) {
	p.pause(ctx, 2*time.Second)
	for ctx.Err() == nil {
		p.open(context.WithoutCancel(ctx))
		if p.order.Load() {
			p.orderExport(context.WithoutCancel(ctx))
		}
		if p.leave.Swap(false) {
			p.signOut(context.WithoutCancel(ctx))
		}
		p.pause(ctx, 2*pagesEvery)
	}
	p.signOut(context.WithoutCancel(ctx))
}

func (p *person) pause(ctx context.Context, most time.Duration) {
	select {
	case <-time.After(time.Duration(p.random.Int64N(int64(most)))):
	case <-ctx.Done():
	}
}

// open opens the page with the orders and signs in if the web app requires it.
func (p *person) open(ctx context.Context) {
	start := time.Now()
	signedIn, err := p.follow(ctx, p.site+"/orders")
	c := &p.side.counts
	c.pages.Add(1)
	c.slowed(time.Since(start))
	if err != nil {
		c.failed.Add(1)
		p.side.logf("a page for %s: %v", userName(p.number), err)
		return
	}
	if signedIn {
		c.signIns.Add(1)
		if !p.signIn {
			c.unexpected.Add(1)
			p.side.logf("%s had to go through Entra again", userName(p.number))
		}
	}
	p.signIn = false
}

// orderExport orders an export, and later again if the desk cannot begin a delegation because the store fails.
func (p *person) orderExport(ctx context.Context) {
	_, err := p.follow(ctx, p.site+exportPath)
	if errors.Is(err, errUnavailable) {
		return
	}
	c := &p.side.counts
	p.order.Store(false)
	c.pages.Add(1)
	if err != nil {
		c.failed.Add(1)
		p.side.logf("the export for %s: %v", userName(p.number), err)
		return
	}
	c.exports.Add(1)
}

// errUnavailable is the error of a page that should be opened again later.
var errUnavailable = errors.New("status 503")

// follow opens a page, through the redirects of a sign-in if there is one.
func (p *person) follow(ctx context.Context, address string) (signedIn bool, err error) {
	for range 8 {
		page, err := p.get(ctx, address, nil)
		switch {
		case err != nil:
			return false, err
		case page.status == http.StatusOK:
			p.served.Store(page.servedBy, true)
			return signedIn, p.check(page.body)
		case page.status == http.StatusServiceUnavailable:
			return false, fmt.Errorf("%w: %s", errUnavailable, heading.FindString(page.body))
		case page.location == "":
			return false, fmt.Errorf("status %d: %s", page.status, heading.FindString(page.body))
		}
		if address = page.location; !strings.HasPrefix(address, p.site+"/") {
			signedIn = true
			callback, err := p.side.fake.short.SignIn(ctx, address, username(p.number))
			if err != nil {
				return false, err
			}
			address = callback.String()
		}
	}
	return false, fmt.Errorf("a loop of redirects")
}

var (
	namePattern = regexp.MustCompile(`User \d{3}`)
	heading     = regexp.MustCompile(`<h1>.*</h1>`)
)

// check checks that the web app and both APIs knew the user.
func (p *person) check(body string) error {
	names := namePattern.FindAllString(body, -1)
	for _, name := range names {
		if name != userName(p.number) {
			p.side.counts.crossed.Add(1)
			return fmt.Errorf("it has the data of %s", name)
		}
	}
	if len(names) < 3 {
		return fmt.Errorf("the name is there %d times, want 3", len(names))
	}
	return nil
}

// A page is a response of the web app.
type page struct {
	status   int
	location string // of a redirect
	servedBy string // address of the process
	body     string
}

func (p *person) get(ctx context.Context, address string, cookies []*http.Cookie) (*page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	for _, c := range cookies {
		req.AddCookie(c)
	}
	resp, err := p.browser.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	got := &page{status: resp.StatusCode, servedBy: resp.Header.Get(servedBy), body: string(body)}
	if next, err := resp.Location(); err == nil {
		got.location = next.String()
	}
	return got, nil
}

// signOut signs out and checks that no process serves the session any more.
func (p *person) signOut(ctx context.Context) {
	site, err := url.Parse(p.site)
	if err != nil {
		panic(err)
	}
	cookies := p.browser.Jar.Cookies(site)
	c := &p.side.counts
	c.signOuts.Add(1)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.site+"/logout", nil)
	if err != nil {
		panic(err)
	}
	req.Header.Set("Origin", p.site)
	resp, err := p.browser.Do(req)
	if err == nil {
		resp.Body.Close()
		if resp.StatusCode != http.StatusSeeOther {
			err = fmt.Errorf("status %d", resp.StatusCode)
		}
	}
	if err != nil {
		c.failed.Add(1)
		p.side.logf("the sign-out of %s: %v", userName(p.number), err)
		return
	}
	p.signIn = true
	p.browser.Jar, _ = cookiejar.New(nil) // never fails
	for range 2 * p.side.replicas {
		if page, err := p.get(ctx, p.site+"/orders", cookies); err == nil &&
			(page.status == http.StatusOK || strings.Contains(page.body, userName(p.number))) {
			c.afterSignOut.Add(1)
			p.side.logf("a page for %s after the sign-out", userName(p.number))
		}
	}
	p.browser.Jar, _ = cookiejar.New(nil)
}
