package signin

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"html/template"
	"net/http"
)

// style is all that the page has besides text.
const style = `:root{color-scheme:light dark}
body{background:Canvas;color:CanvasText;font:1.1rem/1.5 system-ui,sans-serif;max-width:34rem;margin:12vh auto 0;padding:0 1.25rem}
h1{font-size:1.6rem;line-height:1.2}
a{display:inline-block;padding:.35rem 0;margin-right:1.5rem}
dl{font-size:.85rem;opacity:.75;margin-top:2rem;overflow-wrap:anywhere}
dt{float:left;margin-right:.5rem}dd{margin:0}`

var pages = template.Must(template.New("page").Parse(`<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{{.Title}}</title>
<style>` + style + `</style>
</head>
<body>
<main>
<h1>{{.Title}}</h1>
<p>{{.Text}}</p>
{{with .Links}}<p>{{range .}}<a href="{{.URL}}">{{.Text}}</a> {{end}}</p>
{{end}}{{if .Code}}<dl>
<dt>Code</dt><dd>{{.Code}}{{range .AADSTS}} AADSTS{{.}}{{end}}</dd>
{{with .CorrelationID}}<dt>Correlation ID</dt><dd>{{.}}</dd>
{{end}}{{with .TraceID}}<dt>Trace ID</dt><dd>{{.}}</dd>
{{end}}</dl>
{{end}}</main>
</body>
</html>
`))

// policy lets nothing into the page but its own style, and the page into no frame.
var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// page is the page that is shown if the Config has none.
func page(w http.ResponseWriter, _ *http.Request, p Problem) {
	var b bytes.Buffer
	if err := pages.Execute(&b, p); err != nil {
		http.Error(w, p.Title, p.Status)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	w.WriteHeader(p.Status)
	_, _ = b.WriteTo(w) // the browser may be gone
}
