package entratest

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entratoken/entra/internal/aadsts"
)

// A diagram is a flow as a sequence diagram: a lane for each party, and an arrow for each
// request with its response.
type diagram struct {
	ID           int
	Title, Start string
	About        []string // users, and domains of tenants
	Errors       int
	Lanes        []*lane
	Arrows       []arrow
}

// A lane is a party of a flow.
type lane struct {
	Name string
	X    string // position in percent of the width
	rank int    // browser, apps, Entra, APIs
}

// An arrow is a request from one lane to another, and its response.
type arrow struct {
	From, To, Back         *lane // Back gets the response; a redirect reaches the app
	Clock                  string
	Inferred               bool // the request was not sent to this server
	Method, Endpoint, Kind string
	Status                 int
	Failed, Injected       bool
	Outcome, RetryAfter    string
	Params                 []param
	Tokens                 []token
	AADSTS                 int
	Error, Message         string
	Meaning, Fix           string
}

type param struct{ Name, Value string }

// kindNames are readable names of endpoints and grant types. For others, kind returns the value of the request.
var kindNames = map[string]string{
	EndpointAuthorize: "sign-in", EndpointLogin: "sign-in", EndpointDeviceAuth: "sign-in", EndpointLogout: "sign-out",
	EndpointAdminConsent: "admin consent", EndpointDeviceCode: "device code",
	EndpointUserInfo: "Microsoft Graph", EndpointGraph: "Microsoft Graph", EndpointDiscovery: "documents",
	EndpointKeys: "documents", EndpointInstance: "documents", EndpointUserRealm: "documents", "": "unknown request",
	grantTypeCode: "authorization code", grantTypeRefresh: "refresh token", grantTypeCredentials: "client credentials",
	grantTypeOnBehalfOf: "on-behalf-of", grantTypePassword: "password grant",
	grantTypeDevice: "device code", grantTypeDeviceShort: "device code",
}

// kind returns a readable name of the endpoint, or of the grant type of a token request.
func (st *step) kind() string {
	name := st.Endpoint
	if name == EndpointToken {
		name = cmp.Or(st.GrantType, "token request")
	}
	return cmp.Or(kindNames[name], name)
}

// fromBrowser reports whether a browser sends the request.
func (st *step) fromBrowser() bool {
	switch st.Endpoint {
	case EndpointAuthorize, EndpointLogin, EndpointLogout, EndpointAdminConsent, EndpointDeviceAuth:
		return true
	}
	return false
}

// resource returns the app to which an access token grants access. For other tokens, it returns nil.
func (s *Server) resource(t *token) *App {
	if t.Name != "access token" {
		return nil
	}
	return s.registry.resourceByKey[resourceKey(t.audience)]
}

// apis returns the client IDs of the apps that are APIs in a flow: those that get tokens
// from their callers, and never request one for themselves.
func (s *Server) apis(fl flow) map[string]bool {
	apis, clients := map[string]bool{}, map[string]bool{}
	for _, st := range fl.steps {
		if st.GrantType == grantTypeOnBehalfOf {
			apis[st.client] = true
		} else {
			clients[st.client] = true
		}
		for _, t := range st.tokens {
			if app := s.resource(&t); app != nil {
				apis[app.ClientID] = true
			}
		}
	}
	maps.DeleteFunc(apis, func(id string, _ bool) bool { return clients[id] })
	return apis
}

// diagram returns the diagram of a flow.
func (s *Server) diagram(fl flow) *diagram {
	d := &diagram{ID: fl.id, Start: fl.steps[0].Time.Format("15:04:05")}
	apis := s.apis(fl)
	lanes := map[string]*lane{}
	at := func(key, name string, rank int) *lane {
		if lanes[key] == nil {
			lanes[key] = &lane{Name: name, rank: rank}
			d.Lanes = append(d.Lanes, lanes[key])
		}
		return lanes[key]
	}
	app := func(id string) *lane {
		rank := 1
		if apis[id] || id == graphID {
			rank = 3
		}
		return at("app "+id, s.clientName(id), rank)
	}
	var kinds, about []string
	for _, st := range fl.steps {
		a := s.arrow(&st)
		a.From, a.To = app(st.client), at("Entra", "Entra", 2)
		if st.fromBrowser() {
			a.From = at("browser", "Browser", 0)
		}
		if st.Endpoint == EndpointGraph || st.Endpoint == EndpointUserInfo {
			a.To = app(graphID)
		}
		if a.Back = a.From; len(st.sent) > 0 && st.client != "" {
			a.Back = app(st.client)
			a.Outcome = "sends " + strings.Join(st.sent, ", ") + " to " + a.Back.Name
		}
		if st.GrantType == grantTypeOnBehalfOf && st.caller != "" {
			d.Arrows = append(d.Arrows, arrow{From: app(st.caller), To: a.From, Back: a.From, Clock: a.Clock, Inferred: true})
		}
		d.Arrows = append(d.Arrows, a)
		if a.Failed {
			d.Errors++
		}
		kinds = append(kinds, st.kind())
		about = append(about, s.userName(st.user), s.domain(st.Tenant))
	}
	for id := range apis {
		app(id)
	}
	slices.SortFunc(d.Lanes, func(a, b *lane) int { return cmp.Or(a.rank-b.rank, cmp.Compare(a.Name, b.Name)) })
	for i, l := range d.Lanes {
		l.X = fmt.Sprintf("%.2f%%", 100*(float64(i)+0.5)/float64(len(d.Lanes)))
	}
	d.Title = strings.Join(distinct(kinds), ", ")
	slices.Sort(about)
	d.About = distinct(about)
	return d
}

// arrow returns the arrow for a step, without its lanes.
func (s *Server) arrow(st *step) arrow {
	a := arrow{
		Clock: st.Time.Format("15:04:05.000"), Method: st.Method, Endpoint: cmp.Or(st.Endpoint, st.Path),
		Status: st.Status, Failed: st.failed(), Injected: st.Injected, RetryAfter: st.retryAfter,
		Tokens: st.tokens, AADSTS: st.AADSTS, Error: st.Error, Message: st.message,
	}
	switch st.Endpoint {
	case EndpointToken:
		a.Kind = st.kind()
	case EndpointLogin:
		a.Kind = st.Form.Get("step")
	}
	var names []string
	for _, t := range st.tokens {
		name := t.Name
		if app := s.resource(&t); app != nil {
			name += " for " + app.Name
		}
		names = append(names, name)
	}
	switch a.Outcome = strings.Join(names, ", "); {
	case st.page != "":
		a.Outcome = "page: " + st.page
	case st.Status == 0:
		a.Outcome = "connection dropped"
	case a.Outcome == "":
		a.Outcome = http.StatusText(st.Status)
	}
	a.Params = []param{{"URL", "https://" + st.Host + st.Path}, {"correlation ID", st.correlationID}}
	for _, name := range slices.Sorted(maps.Keys(st.Form)) {
		a.Params = append(a.Params, param{name, strings.Join(st.Form[name], ", ")})
	}
	if code, known := aadsts.Lookup(st.AADSTS); known {
		scope, _, _ := strings.Cut(st.Form.Get("scope"), " ")
		if i := strings.LastIndexByte(scope, '/'); i > 0 {
			scope = scope[:i]
		}
		a.Meaning = code.Meaning
		a.Fix = code.Fix(aadsts.Names{Tenant: st.Tenant, Client: url.QueryEscape(st.client), Host: st.Host, Resource: scope})
	}
	return a
}

// clientName returns the name of the app with a client ID.
func (s *Server) clientName(id string) string {
	if app := s.registry.appByID[id]; app != nil {
		return app.Name
	}
	return cmp.Or(id, "unknown client")
}

// userName returns a username as it is registered.
func (s *Server) userName(lower string) string {
	if u := s.registry.userByName[lower]; u != nil {
		return u.Username
	}
	return lower
}

// domain returns the domain of the tenant with an ID.
func (s *Server) domain(id string) string {
	if t := s.registry.tenantByName[id]; t != nil {
		return t.Domain
	}
	return id
}

// distinct returns the texts that are not empty, without repetitions.
func distinct(list []string) []string {
	var out []string
	for _, text := range list {
		if text != "" && !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// A flowFilter selects the flows that have a step with each value that is set.
type flowFilter struct{ App, User, Tenant, Outcome string }

// parseFlowFilter reads a filter from the query of the console.
func parseFlowFilter(q url.Values) flowFilter {
	return flowFilter{
		App: strings.ToLower(q.Get("app")), User: strings.ToLower(q.Get("user")), Tenant: strings.ToLower(q.Get("tenant")),
		Outcome: q.Get("outcome"),
	}
}

func (f flowFilter) matches(fl flow) bool {
	var app, user, tenant, failed bool
	for _, st := range fl.steps {
		app = app || st.client == f.App || st.caller == f.App
		user = user || st.user == f.User
		tenant = tenant || st.Tenant == f.Tenant
		failed = failed || st.failed()
	}
	return (app || f.App == "") && (user || f.User == "") && (tenant || f.Tenant == "") &&
		(f.Outcome == "" || (f.Outcome == "error") == failed)
}
