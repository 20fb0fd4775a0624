package doctor

import (
	"mime"
	"net/http"

	"github.com/entratoken/entra/cmd/entra/internal/plain"
)

func clean(s string, limit int) string { return plain.Text(s, limit) }

func contentType(resp *http.Response) string {
	t, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return "something of no type"
	}
	return clean(t, 50)
}
