package entra

import (
	"context"
	"crypto/x509"
	"testing"
	"time"
)

func TestWhichFailuresAreRetried(t *testing.T) {
	failed := func(status int) *Error { return &Error{Code: "server_error", StatusCode: status} }
	lost := func(c connectionState, cause error) *Error {
		return &Error{Code: CodeRequestFailed, connection: c, Err: cause}
	}
	unmatched := func(number int) *Error { return &Error{Code: "invalid_client", StatusCode: 401, AADSTS: []int{number}} }
	after := func(status int, d time.Duration) *Error {
		return &Error{Code: "temporarily_unavailable", StatusCode: status, RetryAfter: d}
	}
	for _, tt := range []struct {
		name    string
		err     *Error
		retries int // how many, of an ordinary grant
		single  int // and of one that can be redeemed only once
	}{
		{"408", failed(408), 2, 0},
		{"500", failed(500), 2, 0},
		{"502", failed(502), 2, 0},
		{"503", failed(503), 2, 0},
		{"504", failed(504), 2, 0},
		{"501", failed(501), 0, 0},
		{"429 without Retry-After", failed(429), 0, 0},
		{"429 after a second", after(429, time.Second), 2, 0},
		{"429 after two seconds", after(429, 2*time.Second), 2, 0},
		{"429 after three seconds", after(429, 3*time.Second), 0, 0},
		{"503 after a second", after(503, time.Second), 2, 0},
		{"503 after a minute", after(503, time.Minute), 0, 0},
		{"no connection", lost(connectionMissing, nil), 2, 2},
		{"broken connection", lost(connectionFailed, nil), 2, 0},
		{"broken connection that had worked", lost(connectionStale, nil), 2, 0},
		{"time-out", lost(connectionFailed, context.DeadlineExceeded), 2, 0},
		{"canceled", lost(connectionFailed, context.Canceled), 0, 0},
		{"certificate", lost(connectionMissing, x509.UnknownAuthorityError{}), 0, 0},
		{"not a request", &Error{Code: CodeRequestFailed}, 0, 0},
		{"AADSTS70021", unmatched(70021), 1, 1},
		{"AADSTS700211", unmatched(700211), 1, 1},
		{"AADSTS700213", unmatched(700213), 1, 1},
		{"AADSTS700212", unmatched(700212), 0, 0},
		{"AADSTS7000222", unmatched(7000222), 0, 0},
		{"invalid_grant", &Error{Code: "invalid_grant", StatusCode: 400}, 0, 0},
		{"invalid_response", &Error{Code: CodeInvalidResponse, StatusCode: 200}, 0, 0},
	} {
		for singleUse, want := range map[bool]int{false: tt.retries, true: tt.single} {
			n := 0
			for n < 5 {
				least, ok := tt.err.passing(singleUse).In(n, 0)
				if !ok {
					break
				}
				most, _ := tt.err.passing(singleUse).In(n, 1)
				if least != tt.err.RetryAfter+100*time.Millisecond || most != tt.err.RetryAfter+time.Second {
					t.Errorf("%s: got a wait of %v to %v, want Retry-After plus 100ms to 1s", tt.name, least, most)
				}
				n++
			}
			if n != want {
				t.Errorf("%s, single use %t: got %d retries, want %d", tt.name, singleUse, n, want)
			}
		}
	}
}
