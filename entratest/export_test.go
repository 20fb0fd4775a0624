package entratest

import (
	"fmt"
	"html"
	"maps"
	"slices"
	"strings"
)

// MaxSteps is the maximum number of requests of a flow.
const MaxSteps = maxSteps

// FlowTexts returns the requests of each flow, newest flow first, in one line each.
func (s *Server) FlowTexts() []string {
	list, _, _ := s.flowsSince(0)
	var lines []string
	for _, fl := range list {
		var steps []string
		for _, st := range fl.steps {
			words := []string{fmt.Sprint(st.Status), st.Endpoint, st.GrantType, st.Form.Get("step"), st.page, st.user}
			steps = append(steps, strings.Join(strings.Fields(strings.Join(words, " ")), " "))
		}
		lines = append(lines, strings.Join(steps, ", "))
	}
	return lines
}

// TagTexts returns the tags of a page in HTML, with sorted attributes in double quotes.
func TagTexts(page string) []string {
	var texts []string
	for _, t := range parseTags(page) {
		text := "<"
		if t.end {
			text = "</"
		}
		text += t.name
		for _, name := range slices.Sorted(maps.Keys(t.attrs)) {
			text += " " + name + `="` + html.EscapeString(t.attrs[name]) + `"`
		}
		texts = append(texts, text+">")
	}
	return texts
}

// ErrorNumbers returns the AADSTS numbers of all errors.
func ErrorNumbers() []int { return slices.Collect(maps.Keys(oauthCodes)) }

// FlowKeys returns the number of keys that find a flow.
func (s *Server) FlowKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flows.byKey)
}
