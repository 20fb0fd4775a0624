package httpclient_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/entratoken/entra/internal/httpclient"
)

// A date in Retry-After counts by the server's clock, which may differ from ours by hours. The Date of the response
// says what that clock shows (RFC 9110, section 6.6.1).
func TestRetryAfterFollowsClockOfServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // at midnight UTC, 2000-01-01
		const at = "Sat, 01 Jan 2000 00:00:30 GMT"
		for _, tt := range []struct {
			name, retryAfter, date string
			want                   time.Duration
		}{
			{"seconds", "30", "Sat, 01 Jan 2000 05:00:00 GMT", 30 * time.Second},
			{"date, equal clocks", at, "Sat, 01 Jan 2000 00:00:00 GMT", 30 * time.Second},
			{"date, our clock is behind", "Sat, 01 Jan 2000 05:00:30 GMT", "Sat, 01 Jan 2000 05:00:00 GMT",
				30 * time.Second},
			{"date, our clock is ahead", "Fri, 31 Dec 1999 19:00:30 GMT", "Fri, 31 Dec 1999 19:00:00 GMT",
				30 * time.Second},
			{"date without Date", at, "", 30 * time.Second},
			{"date with an invalid Date", at, "yesterday", 30 * time.Second},
			{"date in the past", "Fri, 31 Dec 1999 23:59:59 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", 0},
			{"date in two hours", "Sat, 01 Jan 2000 02:00:00 GMT", "Sat, 01 Jan 2000 00:00:00 GMT", time.Hour},
			{"negative", "-1", "", 0},
			{"two hours", "7200", "", time.Hour},
			{"beyond 64 bits", "99999999999999999999", "", 0},
			{"text", "soon", "", 0},
			{"missing", "", "", 0},
		} {
			h := http.Header{"Retry-After": {tt.retryAfter}, "Date": {tt.date}}
			if got := httpclient.RetryAfter(h); got != tt.want {
				t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
			}
		}
	})
}
