package httpclient

import (
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds the effect of a Retry-After header.
const maxRetryAfter = time.Hour

// RetryAfter parses the Retry-After header: seconds or a date (RFC 9110, section 10.2.3). It returns at most an hour,
// and 0 if the header is missing or invalid. A date counts from the Date of the response, since the clock of the server
// may differ from ours.
func RetryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	var d time.Duration
	if n, err := strconv.ParseInt(v, 10, 64); err == nil {
		d = time.Duration(max(0, min(n, int64(maxRetryAfter/time.Second)))) * time.Second
	} else if t, err := http.ParseTime(v); err == nil {
		now, err := http.ParseTime(h.Get("Date"))
		if err != nil {
			now = time.Now()
		}
		d = t.Sub(now)
	}
	return max(0, min(d, maxRetryAfter))
}

// DescribeBody describes a response by its size, its content type and its status, without repeating it.
func DescribeBody(status int, h http.Header, size int) string {
	kind := "without a content type"
	value, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	if t, _, err := mime.ParseMediaType(value); err == nil {
		kind = t
	}
	if len(kind) > 50 {
		kind = "with an unusual content type"
	}
	return fmt.Sprintf("%d bytes, %s, status %d", size, kind, status)
}
