package entratest

import (
	"fmt"
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

// ErrorNumbers returns the AADSTS numbers of all errors.
func ErrorNumbers() []int { return slices.Collect(maps.Keys(oauthCodes)) }

// FlowKeys returns the number of keys that find a flow.
func (s *Server) FlowKeys() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.flows.byKey)
}
