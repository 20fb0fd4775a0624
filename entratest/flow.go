package entratest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	maxFlowed = 2048             // requests of all flows
	maxSteps  = 32               // of a flow; a longer one continues in a new flow
	flowIdle  = 10 * time.Minute // a request after a longer pause begins a new flow
)

// A flow is a group of requests that belong together, such as a sign-in with the token
// requests that follow from it. Its steps are never modified, only appended.
type flow struct {
	id      int
	version int // that of flows when the last step was added
	steps   []step
	keys    []string
}

// A step is a request of a flow with the parts that the journal lacks.
type step struct {
	Request
	client        string // ID of the client, also on a sign-in page and in a request to Microsoft Graph
	caller        string // ID of the client to which the assertion of an on-behalf-of request was issued
	user          string // lower-case username, if it is known
	correlationID string
	page          string   // title of the page in the response
	sent          []string // names of the parameters that a redirect sends to the app
	tokens        []token
	message       string // error_description without the number and the trailer
	retryAfter    string
}

// A token is the header and claims of a token in a response. A refresh token has neither.
type token struct {
	Name           string // "access token", "ID token" or "refresh token"
	Header, Claims rawJSON
	audience       string
}

// failed reports whether the response is an error, or was dropped.
func (st *step) failed() bool { return st.Status == 0 || st.Status >= 400 || st.Error != "" }

// flows has the flows of the last requests, oldest first. Server.mu guards it.
type flows struct {
	list    []*flow
	byKey   map[string]*flow
	steps   int           // of all flows, at most maxFlowed
	last    int           // ID of the newest flow
	version int           // number of steps ever added
	changed chan struct{} // closed when a step is added; nil if no one waits
}

// add appends a step to the flow of the first key that belongs to one, or to a new flow.
// The keys then belong to that flow. A retry key, if any, belongs to it only until a
// step with that key succeeds.
func (f *flows) add(st step, retry string, keys ...string) {
	if retry != "" {
		keys = append(keys, retry)
	}
	if f.byKey == nil {
		f.byKey = map[string]*flow{}
	}
	var to *flow
	for _, key := range keys {
		known := f.byKey[key]
		if known != nil && len(known.steps) < maxSteps && st.Time.Sub(known.steps[len(known.steps)-1].Time) < flowIdle {
			to = known
			break
		}
	}
	if to == nil {
		f.last++
		to = &flow{id: f.last}
		f.list = append(f.list, to)
	}
	f.version++
	to.version = f.version
	to.steps = append(to.steps, st)
	for _, key := range keys {
		if f.byKey[key] != to {
			f.byKey[key] = to
			to.keys = append(to.keys, key)
		}
	}
	if !st.failed() {
		delete(f.byKey, retry)
	}
	for f.steps++; f.steps > maxFlowed; {
		f.evictOldest()
	}
	if f.changed != nil {
		close(f.changed)
		f.changed = nil
	}
}

func (f *flows) evictOldest() {
	oldest := f.list[0]
	f.list[0] = nil
	f.list = f.list[1:]
	f.steps -= len(oldest.steps)
	for _, key := range oldest.keys {
		if f.byKey[key] == oldest {
			delete(f.byKey, key)
		}
	}
}

// flowsSince returns the flows that have changed since a version, newest first, and the
// current version. changed is closed at the next change.
func (s *Server) flowsSince(version int) (list []flow, current int, changed <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &s.flows
	for _, fl := range slices.Backward(f.list) {
		if fl.version > version {
			list = append(list, *fl)
		}
	}
	if f.changed == nil {
		f.changed = make(chan struct{})
	}
	return list, f.version, f.changed
}

// newStep returns the step for a request and its response, and the keys of its flow: the
// user's session, the sign-in, the device, and the correlation ID. A retry has another
// correlation ID, but the same client and parameters.
func (s *Server) newStep(e Request, r *request, resp *response) (st step, retry string, keys []string) {
	st = step{
		Request: e, client: strings.ToLower(e.ClientID), correlationID: truncate(r.correlationID, maxText),
		user: truncate(strings.ToLower(r.form.Get("username")), maxText),
		page: resp.page, retryAfter: resp.header.Get("Retry-After"),
	}
	if resp.err != nil {
		st.message = resp.err.message
	}
	body := st.readResponse(r, resp)
	// A Fault may have replaced the handler. The keys therefore come from the request.
	join := func(auth *authentication) {
		if auth != nil && auth.User != "" {
			st.user = auth.User
			keys = append(keys, "session "+auth.SID)
		}
	}
	joinToken := func(raw string) (client string) {
		t, err := parseJWT(raw)
		if err != nil {
			return ""
		}
		var auth authentication
		if s.unseal("aio", t.payload.stringClaim("aio"), &auth) {
			join(&auth)
		}
		return clientOf(t.payload)
	}
	var c code
	if s.unseal("code", r.form.Get("code"), &c) {
		join(&c.Auth)
	}
	var t refreshToken
	if s.unseal("refresh", r.form.Get("refresh_token"), &t) {
		join(&t.Auth)
	}
	st.caller = joinToken(r.form.Get("assertion"))
	joinToken(body.AccessToken)
	if r.endpoint == EndpointGraph || r.endpoint == EndpointUserInfo {
		_, raw, _ := strings.Cut(r.http.Header.Get("Authorization"), " ")
		st.client = joinToken(raw)
	}
	q := r.signIn
	if form := (&signInRequest{}); q == nil && s.unseal("page", r.form.Get("ctx"), form) {
		q = form
	}
	if q != nil {
		join(q.Auth)
		st.client = q.Client
		keys = append(keys, "sign-in "+q.ID)
	}
	var userCode string
	switch {
	case q != nil && q.Device != "":
		keys = append(keys, "device "+q.Device)
	case s.unseal("device", cmp.Or(body.DeviceCode, r.form.Get("device_code")), &userCode):
		keys = append(keys, "device "+userCode)
	}
	keys = append(keys, "correlation "+st.correlationID)
	switch r.endpoint {
	case EndpointDiscovery, EndpointKeys, EndpointInstance, EndpointUserRealm:
		keys = append(keys, "documents "+e.Tenant)
	case EndpointToken:
		retry = truncate(strings.Join([]string{"retry", e.Tenant, st.client, e.GrantType, r.form.Get("scope")}, " "), maxText)
	}
	return st, retry, keys
}

// tokenBody has the members of a response that identify a flow.
type tokenBody struct {
	AccessToken  string `json:"access_token"`
	IDToken      string `json:"id_token"`
	RefreshToken string `json:"refresh_token"`
	DeviceCode   string `json:"device_code"`
}

// readResponse adds the tokens of a response and the names of the parameters that it
// sends to the app.
func (st *step) readResponse(r *request, resp *response) (body tokenBody) {
	if u, err := url.Parse(resp.location); err == nil && resp.location != "" {
		sent := u.Query()
		if fragment, err := url.ParseQuery(u.Fragment); err == nil && u.Fragment != "" {
			sent = fragment
		}
		for name := range sent {
			st.sent = append(st.sent, name)
		}
		slices.Sort(st.sent)
		st.addToken("ID token", sent.Get("id_token"))
	}
	if resp.status != http.StatusOK || r.endpoint != EndpointToken && r.endpoint != EndpointDeviceCode ||
		json.Unmarshal(resp.body, &body) != nil {
		return body
	}
	st.addToken("access token", body.AccessToken)
	st.addToken("ID token", body.IDToken)
	st.addToken("refresh token", body.RefreshToken)
	return body
}

// addToken adds a token of a response, if there is one.
func (st *step) addToken(name, raw string) {
	if raw == "" {
		return
	}
	t := token{Name: name}
	if parsed, err := parseJWT(raw); err == nil && name != "refresh token" {
		t.Header, t.Claims = newRawJSON(parsed.header), newRawJSON(parsed.payload)
		t.audience, _ = parsed.payload["aud"].(string)
	}
	st.tokens = append(st.tokens, t)
}

// A rawJSON is a compact JSON object, truncated to maxForm bytes.
type rawJSON string

func newRawJSON(c claimSet) rawJSON {
	data, err := json.Marshal(c)
	if err != nil {
		panic("entratest: encode claims: " + err.Error())
	}
	return rawJSON(truncate(string(data), maxForm))
}

// String returns the object in lines, for a page that escapes it.
func (j rawJSON) String() string {
	var c claimSet
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if json.Unmarshal([]byte(j), &c) != nil || enc.Encode(c) != nil {
		return string(j) // it was truncated
	}
	return strings.TrimSpace(buf.String())
}

// clientOf returns the client ID in the claims of an access token.
func clientOf(claims claimSet) string {
	id := cmp.Or(claims.stringClaim("azp"), claims.stringClaim("appid"))
	return strings.ToLower(truncate(id, maxText))
}
