package entratest

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// An aadstsError is an error of Entra.
type aadstsError struct {
	number   int
	code     string // the OAuth error
	status   int
	message  string // error_description without the number and the trailer
	suberror string
	subcode  string // error_subcode in a redirect
	claims   string
}

// oauthCodes maps AADSTS numbers to the OAuth error and the HTTP status at the
// token endpoint. The numbers are documented at
// https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
// Errors and statuses were observed in responses of Entra.
var oauthCodes = map[int]struct {
	code   string
	status int
}{
	28000:   {"invalid_request", 400},
	28003:   {"invalid_request", 400},
	50001:   {"invalid_resource", 400},
	50011:   {"invalid_client", 400},
	50013:   {"invalid_grant", 400},
	50020:   {"interaction_required", 400},
	50027:   {"invalid_client", 401},
	50034:   {"invalid_grant", 400},
	50049:   {"invalid_instance", 400},
	50057:   {"invalid_grant", 400},
	50058:   {"login_required", 400},
	50059:   {"invalid_request", 400},
	50076:   {"interaction_required", 400},
	50079:   {"interaction_required", 400},
	50105:   {"invalid_grant", 400},
	50126:   {"invalid_grant", 400},
	50147:   {"invalid_request", 400},
	50173:   {"invalid_grant", 400},
	50194:   {"invalid_request", 400},
	65001:   {"invalid_grant", 400},
	65004:   {"access_denied", 400},
	70000:   {"invalid_grant", 400},
	70003:   {"unsupported_grant_type", 400},
	70005:   {"unsupported_response_type", 400},
	70007:   {"invalid_request", 400},
	70008:   {"invalid_grant", 400},
	70011:   {"invalid_scope", 400},
	70016:   {"authorization_pending", 400},
	70018:   {"bad_verification_code", 400},
	70019:   {"expired_token", 400},
	90002:   {"invalid_request", 400},
	90013:   {"invalid_request", 400},
	90014:   {"invalid_request", 400},
	90023:   {"invalid_request", 400},
	90033:   {"temporarily_unavailable", 503},
	90055:   {"temporarily_unavailable", 429},
	90094:   {"access_denied", 400},
	240002:  {"invalid_request", 400},
	500011:  {"invalid_resource", 400},
	500112:  {"invalid_client", 400},
	500113:  {"invalid_request", 400},
	500131:  {"invalid_grant", 400},
	500133:  {"invalid_grant", 400},
	501051:  {"invalid_grant", 400},
	501481:  {"invalid_grant", 400},
	501491:  {"invalid_request", 400},
	54005:   {"invalid_grant", 400},
	650053:  {"invalid_client", 400},
	650057:  {"invalid_resource", 400},
	700005:  {"invalid_grant", 400},
	700016:  {"unauthorized_client", 400},
	700022:  {"invalid_request", 400},
	700023:  {"invalid_client", 401},
	700024:  {"invalid_client", 401},
	700025:  {"invalid_client", 401},
	700027:  {"invalid_client", 401},
	700030:  {"invalid_client", 401},
	700054:  {"unsupported_response_type", 400},
	700082:  {"invalid_grant", 400},
	700084:  {"invalid_grant", 400},
	700211:  {"invalid_client", 401},
	700212:  {"invalid_client", 401},
	700213:  {"invalid_client", 401},
	900144:  {"invalid_request", 400},
	900561:  {"invalid_request", 405},
	901002:  {"invalid_request", 400},
	1002012: {"invalid_scope", 400},
	7000114: {"unauthorized_client", 400},
	7000215: {"invalid_client", 401},
	7000218: {"invalid_client", 401},
	7000222: {"invalid_client", 401},
	9001023: {"invalid_request", 400},
	9002313: {"invalid_request", 400},
	9002325: {"invalid_request", 400},
	9002326: {"invalid_request", 400},
	9002327: {"invalid_request", 400},
	9002332: {"invalid_request", 400},
}

// newError returns the error with the given AADSTS number.
func newError(aadsts int, format string, args ...any) *aadstsError {
	kind := oauthCodes[aadsts]
	return &aadstsError{number: aadsts, code: kind.code, status: kind.status, message: fmt.Sprintf(format, args...)}
}

func methodError(r *request, allowed string) *aadstsError {
	return newError(900561, "This endpoint accepts %s requests, not %s.", allowed, printable(r.http.Method))
}

func notInTenantError(u *User, t *Tenant, client *App) *aadstsError {
	return newError(50020, "The account '%s' is not a member or guest of the tenant '%s' "+
		"and cannot use the app '%s' (%s) there. Use another account.",
		printable(u.Username), t.Name, client.ClientID, client.Name)
}

func notAssignedError(u *User, app *App) *aadstsError {
	return newError(50105, "The user '%s' is not assigned to a role of the app '%s' (%s).",
		printable(u.Username), app.ClientID, app.Name)
}

func consentRequiredError(client *App) *aadstsError {
	aerr := newError(65001, "The user or an administrator has not consented to use the app '%s' named '%s'. "+
		"Request consent interactively.", client.ClientID, client.Name)
	aerr.suberror = "consent_required"
	return aerr
}

// description returns error_description: number, message and trailer. An error
// without a number has only the message.
func (aerr *aadstsError) description(r *request) string {
	if aerr.number == 0 {
		return aerr.message
	}
	return fmt.Sprintf("AADSTS%d: %s Trace ID: %s Correlation ID: %s Timestamp: %s",
		aerr.number, aerr.message, r.traceID, r.correlationID, timestamp(r.now))
}

// response returns the JSON response of the token endpoint
// (https://learn.microsoft.com/entra/identity-platform/reference-error-codes#handling-error-codes-in-your-application).
func (aerr *aadstsError) response(r *request) *response {
	body := struct {
		Error         string `json:"error"`
		Description   string `json:"error_description"`
		Codes         []int  `json:"error_codes"`
		Timestamp     string `json:"timestamp"`
		TraceID       string `json:"trace_id"`
		CorrelationID string `json:"correlation_id"`
		URI           string `json:"error_uri,omitempty"`
		SubError      string `json:"suberror,omitempty"`
		Claims        string `json:"claims,omitempty"`
	}{
		Error: aerr.code, Description: aerr.description(r), Codes: []int{aerr.number},
		Timestamp: timestamp(r.now), TraceID: r.traceID, CorrelationID: r.correlationID,
		URI:      r.base + "/error?code=" + strconv.Itoa(aerr.number),
		SubError: aerr.suberror, Claims: aerr.claims,
	}
	resp := jsonResponse(aerr.status, body)
	resp.err = aerr
	return resp
}

// timestamp formats t as in errors of Entra.
func timestamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05Z") }

// printable returns s in a form that is safe to repeat in a description: short
// and without control characters.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	if runes := []rune(s); len(runes) > 200 {
		s = string(runes[:200]) + "..."
	}
	return s
}

// handleErrorLookup serves /error?code=N, the target of error_uri.
func (s *Server) handleErrorLookup(r *request) *response {
	number, err := strconv.Atoi(r.form.Get("code"))
	kind, known := oauthCodes[number]
	data := pageData{
		Title: "AADSTS error", Heading: "Error lookup", Number: number, Error: "entratest does not send this error.",
		TraceID: r.traceID, CorrelationID: r.correlationID, Timestamp: timestamp(r.now),
	}
	if err != nil || !known {
		return page(http.StatusNotFound, "error", data)
	}
	data.Error = "the OAuth error " + kind.code + "."
	return page(http.StatusOK, "error", data)
}
