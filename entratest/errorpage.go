package entratest

import (
	"net/http"
	"strconv"
)

// explain answers /error?code=N, where error_uri points.
func (s *Server) explain(r *request) *answer {
	number, err := strconv.Atoi(r.form.Get("code"))
	kind, known := oauthCodes[number]
	data := pageData{
		Title: "AADSTS error", Heading: "Error lookup", Number: number, Error: "this number is not one that entratest answers.",
		TraceID: r.traceID, CorrelationID: r.correlationID, Timestamp: timestamp(r.now),
	}
	if err != nil || !known {
		return page(http.StatusNotFound, "error", data)
	}
	data.Error = "the OAuth error " + kind.code + "."
	return page(http.StatusOK, "error", data)
}
