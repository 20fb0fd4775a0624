package entratest

import (
	"bytes"
	"html"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// A Browser simulates a browser with cookies and its user. It follows redirects, also to apps in the
// process, and fills in the pages of the fake: it chooses the account or enters the username and password,
// passes multifactor authentication, consents, and posts the form of the response mode form_post. It does
// not run scripts. A Browser must be created with [Test.Browser] and is not safe for concurrent use.
//
// Cookies with SameSite are sent as browsers send them. A form_post response, for example, does
// not have an app's cookies with SameSite=Lax.
type Browser struct {
	// Hosts has the apps in the process by their host. Hosts of Microsoft need no entry.
	Hosts Hosts

	// Transport connects to all other hosts, for example to the URL of Server.StartTLS. If nil, the
	// browser does not open them.
	Transport http.RoundTripper

	// Stop reports whether the browser stops before it opens a URL, for example a redirect URI. If nil, it
	// opens every URL whose host is in Hosts, belongs to the fake or is reached through Transport.
	Stop func(*url.URL) bool

	// CancelSignIn controls whether the user selects Cancel on the password page.
	CancelSignIn bool

	// DeclineConsent controls whether the user selects Cancel on the consent page.
	DeclineConsent bool

	// Jar stores the cookies.
	Jar http.CookieJar

	test     *Test
	user     User
	page     *Page
	sameSite map[string]http.SameSite // of the cookies, by host and name
}

// A Page is a page that a [Browser] shows.
type Page struct {
	// URL is the address of the page.
	URL *url.URL
	// Status is the HTTP status. If it is zero, the browser did not open URL, because of Stop or because
	// neither Hosts nor Transport serve its host. URL is then, for example, the redirect URI with the
	// parameters of the authorization response.
	Status int
	// Header is the header of the response.
	Header http.Header
	// Body is the body of the response.
	Body string
}

// maxNavigation is the maximum number of requests of a navigation.
const maxNavigation = 40

// Browser returns a browser without cookies for the user with the given username. An unknown name fails
// the test. If username is empty, the browser shows the sign-in page. hosts are the apps in the process
// and may be nil.
func (t *Test) Browser(username string, hosts Hosts) *Browser {
	t.t.Helper()
	b := &Browser{Hosts: hosts, test: t, sameSite: map[string]http.SameSite{}}
	if username != "" {
		b.user = t.User(username)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.t.Fatalf("entratest: create cookie jar: %v", err)
	}
	b.Jar = jar
	return b
}

// Get opens a URL, as if the user entered it, and returns the first page that is neither a redirect
// nor a page of the fake that the user can fill in. An error page of the fake is returned. A connection
// that fails, or a sign-in that does not finish, fails the test.
func (b *Browser) Get(rawURL string) *Page {
	b.test.t.Helper()
	r, err := http.NewRequestWithContext(b.test.t.Context(), http.MethodGet, rawURL, nil)
	if err != nil {
		b.test.t.Fatalf("entratest: %v", err)
	}
	r.Header.Set("Sec-Fetch-Site", "none")
	return b.navigate(r)
}

// Submit sends the first form of the current page with its hidden fields and with values. It returns a
// page like Get. A page without a form fails the test.
func (b *Browser) Submit(values url.Values) *Page {
	b.test.t.Helper()
	var forms []pageForm
	if b.page != nil {
		forms = parseForms(b.page.Body)
	}
	if len(forms) == 0 {
		b.test.t.Fatalf("entratest: the current page has no form: %s", b.page)
	}
	return b.navigate(b.submit(b.page, forms[0], values))
}

// String returns the status, URL and text of the page, for the output of a test.
func (p *Page) String() string {
	switch {
	case p == nil:
		return "no page"
	case p.Status == 0:
		return "not opened: " + p.URL.Redacted()
	}
	text := regexp.MustCompile(`(?s)<style.*?</style>|<script.*?</script>|<[^>]*>`).ReplaceAllString(p.Body, " ")
	return http.StatusText(p.Status) + " " + p.URL.Redacted() + ": " +
		printable(strings.Join(strings.Fields(html.UnescapeString(text)), " "))
}

// navigate sends r and follows redirects and pages of the fake.
func (b *Browser) navigate(r *http.Request) *Page {
	b.test.t.Helper()
	for range maxNavigation {
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "document")
		p := b.send(r)
		next := b.redirect(r, p)
		if next == nil {
			next = b.fillIn(p)
		}
		if next == nil {
			b.page = p
			return p
		}
		r = next
	}
	b.test.t.Fatalf("entratest: the navigation does not come to an end after %d requests, the last one to %s",
		maxNavigation, address(r.URL))
	return nil
}

// send sends a request with the cookies of its URL and stores the cookies of the response.
func (b *Browser) send(r *http.Request) *Page {
	b.test.t.Helper()
	transport := b.transport(r.URL)
	if transport == nil || b.Stop != nil && b.Stop(r.URL) {
		return &Page{URL: r.URL}
	}
	r.Header.Set("Accept", "text/html,*/*;q=0.8")
	for _, c := range b.Jar.Cookies(r.URL) {
		if b.sendsCookie(r, c.Name) {
			r.AddCookie(c)
		}
	}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		b.test.t.Fatalf("entratest: %s %s: %v", r.Method, address(r.URL), err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		b.test.t.Fatalf("entratest: %s %s: %v", r.Method, address(r.URL), err)
	}
	b.Jar.SetCookies(r.URL, resp.Cookies())
	for _, c := range resp.Cookies() {
		b.sameSite[r.URL.Hostname()+"/"+c.Name] = c.SameSite
	}
	return &Page{URL: r.URL, Status: resp.StatusCode, Header: resp.Header, Body: string(body)}
}

// transport returns the transport to the host of a URL, or nil.
func (b *Browser) transport(u *url.URL) http.RoundTripper {
	host := hostOf(u)
	if b.Hosts.handler(host) != nil {
		return b.Hosts
	}
	if u.Scheme == "https" && b.test.serves(host) {
		return (*inProcess)(b.test.Server)
	}
	return b.Transport
}

// sendsCookie reports whether a request has a cookie
// (https://datatracker.ietf.org/doc/html/draft-ietf-httpbis-rfc6265bis, section 5.2). A cookie without
// SameSite is sent.
func (b *Browser) sendsCookie(r *http.Request, name string) bool {
	if r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		return true
	}
	switch b.sameSite[r.URL.Hostname()+"/"+name] {
	case http.SameSiteStrictMode:
		return false
	case http.SameSiteLaxMode:
		return r.Method == http.MethodGet && r.Header.Get("Sec-Fetch-Dest") == "document"
	}
	return true
}

// redirect returns the request to which p redirects, or nil.
func (b *Browser) redirect(r *http.Request, p *Page) *http.Request {
	b.test.t.Helper()
	to := p.Header.Get("Location")
	if to == "" || p.Status < 300 || p.Status > 399 {
		return nil
	}
	target, err := p.URL.Parse(to)
	if err != nil {
		b.test.t.Fatalf("entratest: redirect of %s: %v", address(p.URL), err)
	}
	next := b.request(http.MethodGet, target, nil)
	if (p.Status == 307 || p.Status == 308) && r.GetBody != nil {
		body, err := r.GetBody()
		if err != nil {
			b.test.t.Fatalf("entratest: %v", err)
		}
		next.Method, next.Body, next.GetBody, next.ContentLength = r.Method, body, r.GetBody, r.ContentLength
		next.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	}
	site := r.Header.Get("Sec-Fetch-Site")
	if site == "same-origin" && siteOf(target) != siteOf(p.URL) {
		site = "cross-site"
	}
	next.Header.Set("Sec-Fetch-Site", site) // that of the chain
	return next
}

// address returns a URL without its query, which may have a code.
func address(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// request returns a request to target.
func (b *Browser) request(method string, target *url.URL, body []byte) *http.Request {
	b.test.t.Helper()
	r, err := http.NewRequestWithContext(b.test.t.Context(), method, target.String(), bytes.NewReader(body))
	if err != nil {
		b.test.t.Fatalf("entratest: %v", err)
	}
	return r
}

// siteOf returns the scheme and the last two labels of the host, which is a site for the
// hosts of tests (https://html.spec.whatwg.org/#site).
func siteOf(u *url.URL) string {
	labels := strings.Split(u.Hostname(), ".")
	if len(labels) > 2 && strings.Trim(u.Hostname(), "0123456789.") != "" {
		labels = labels[len(labels)-2:]
	}
	return u.Scheme + "://" + strings.Join(labels, ".")
}

// A pageForm is a form of a page.
type pageForm struct {
	method, action, id string
	hidden             url.Values
	steps              []string // values of its buttons with the name step
}

// parseForms returns the forms of a page.
func parseForms(page string) []pageForm {
	var forms []pageForm
	open := false
	for _, t := range parseTags(page) {
		if t.name == "form" && t.end {
			open = false
		}
		if t.name == "form" && !t.end && !open { // one form cannot contain another
			open = true
			forms = append(forms, pageForm{
				method: strings.ToUpper(t.attrs["method"]), action: t.attrs["action"], id: t.attrs["id"], hidden: url.Values{},
			})
		}
		if _, disabled := t.attrs["disabled"]; !open || disabled || t.attrs["name"] == "" {
			continue
		}
		switch form := &forms[len(forms)-1]; {
		case t.name == "input" && strings.EqualFold(t.attrs["type"], "hidden"):
			form.hidden.Add(t.attrs["name"], t.attrs["value"])
		case t.name == "button" && t.attrs["name"] == "step":
			form.steps = append(form.steps, t.attrs["value"])
		}
	}
	return forms
}

// submit returns the request that submits a form of p.
func (b *Browser) submit(p *Page, form pageForm, values url.Values) *http.Request {
	b.test.t.Helper()
	target, err := p.URL.Parse(strings.Trim(form.action, htmlSpace))
	if err != nil {
		b.test.t.Fatalf("entratest: form of %s: %v", address(p.URL), err)
	}
	fields := maps.Clone(form.hidden)
	maps.Copy(fields, values)
	site := "same-origin"
	if target.Scheme != p.URL.Scheme || target.Host != p.URL.Host {
		site = "cross-site"
		if siteOf(target) == siteOf(p.URL) {
			site = "same-site"
		}
	}
	if form.method != http.MethodPost {
		target.RawQuery = fields.Encode()
		r := b.request(http.MethodGet, target, nil)
		r.Header.Set("Sec-Fetch-Site", site)
		return r
	}
	r := b.request(http.MethodPost, target, []byte(fields.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", site)
	r.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
	if p.Header.Get("Referrer-Policy") == "no-referrer" {
		r.Header.Set("Origin", "null") // https://fetch.spec.whatwg.org/#append-a-request-origin-header
	}
	return r
}

// fillIn returns the request with which the user continues from a page of the fake, or nil if
// p is another page or the user cannot continue.
func (b *Browser) fillIn(p *Page) *http.Request {
	b.test.t.Helper()
	forms := parseForms(p.Body)
	if strings.Contains(p.Body, "<h1>Signed out</h1>") {
		return b.signedOut(p)
	}
	for _, form := range forms {
		if form.id == "form" && strings.Contains(p.Body, `getElementById("form").submit()`) {
			return b.submit(p, form, nil) // form_post
		}
	}
	if len(forms) == 0 || !forms[0].hidden.Has("ctx") || len(forms[0].steps) == 0 ||
		b.user.Username == "" {
		return nil
	}
	form := forms[0]
	step := form.steps[0]
	values := url.Values{}
	switch {
	case step == "pick":
		if form, step = b.pick(forms); form.hidden == nil {
			return nil
		}
	case step == "password" && b.CancelSignIn, step == "consent" && b.DeclineConsent:
		step = "cancel"
	case step == "password":
		if strings.Contains(p.Body, `role="alert"`) {
			return nil // the password was rejected
		}
		if b.user.Password == "" {
			b.test.t.Fatalf("entratest: the user %s has no Password in the Config", b.user.Username)
		}
		values.Set("username", b.user.Username)
		values.Set("password", b.user.Password)
	}
	values.Set("step", step)
	return b.submit(p, form, values)
}

// pick returns the form of the account picker for the user, or that for another account.
func (b *Browser) pick(forms []pageForm) (form pageForm, step string) {
	for _, form := range forms {
		if strings.EqualFold(form.hidden.Get("username"), b.user.Username) {
			return form, "pick"
		}
	}
	for _, form := range forms {
		if slices.Contains(form.steps, "other") {
			return form, "other"
		}
	}
	return pageForm{}, ""
}

// signedOut loads the frames of the page after a sign-out. It returns the request to the app, or nil.
func (b *Browser) signedOut(p *Page) *http.Request {
	b.test.t.Helper()
	var next *http.Request
	for _, t := range parseTags(p.Body) {
		var target *url.URL
		var err error
		switch {
		case t.name == "iframe" && !t.end:
			target, err = p.URL.Parse(t.attrs["src"])
		case t.name == "a" && t.attrs["id"] == "continue":
			target, err = p.URL.Parse(t.attrs["href"])
		default:
			continue
		}
		if err != nil {
			b.test.t.Fatalf("entratest: link of %s: %v", address(p.URL), err)
		}
		r := b.request(http.MethodGet, target, nil)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		if t.name == "a" {
			next = r
			continue
		}
		r.Header.Set("Sec-Fetch-Mode", "navigate")
		r.Header.Set("Sec-Fetch-Dest", "iframe")
		b.send(r)
	}
	return next
}
