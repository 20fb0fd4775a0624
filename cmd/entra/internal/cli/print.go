package cli

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entratoken/entra/cmd/entra/internal/doctor"
)

// printer writes lines that consist of a head and a text.
type printer struct {
	w     io.Writer
	color bool
	width int // of wrapped lines; if zero, lines are not wrapped
}

// printer returns a printer for standard output. In a terminal it wraps lines and uses
// colors, unless NO_COLOR is set (https://no-color.org) or the terminal does not support
// them. Few shells export COLUMNS, so the width defaults to 80.
func (s *System) printer() *printer {
	p := &printer{w: s.Stdout, color: s.Terminal && s.getenv("NO_COLOR") == "" && s.getenv("TERM") != "dumb"}
	if s.Terminal {
		p.width = 80
		if n, err := strconv.Atoi(s.getenv("COLUMNS")); err == nil && n >= 40 {
			p.width = n
		}
	}
	return p
}

// colors are the ANSI codes of the outcomes.
var colors = map[doctor.Status]string{
	doctor.StatusOK: "32", doctor.StatusWarn: "33", doctor.StatusFail: "1;31", doctor.StatusSkip: "2",
}

func (p *printer) paint(code, text string) string {
	if !p.color || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// step prints the status, name and text of a step, followed by the advice.
func (p *printer) step(st doctor.Step) {
	took := ""
	if st.Took >= time.Millisecond {
		took = fmt.Sprintf(" (%d ms)", st.Took.Milliseconds())
	}
	p.wrapped(p.paint(colors[st.Status], fmt.Sprintf("%-5s", st.Status))+fmt.Sprintf(" %-14s", st.Name), 20, st.Text+took)
	if st.Advice != "" {
		p.wrapped(strings.Repeat(" ", 20)+"-> ", 23, st.Advice)
	}
	if st.CorrelationID != "" {
		p.wrapped(strings.Repeat(" ", 23), 23, requestIDs(st.CorrelationID, st.TraceID))
	}
}

func requestIDs(correlation, trace string) string {
	s := "correlation ID " + correlation
	if trace != "" {
		s += ", trace ID " + trace
	}
	return s
}

// summary prints the overall result.
func (p *printer) summary(steps []doctor.Step) {
	n := map[doctor.Status]int{}
	first := ""
	for _, st := range steps {
		n[st.Status]++
		if st.Status == doctor.StatusFail && first == "" {
			first = st.Name
		}
	}
	fmt.Fprintln(p.w)
	switch {
	case n[doctor.StatusFail] > 0:
		fmt.Fprintln(p.w, p.paint(colors[doctor.StatusFail], count(n[doctor.StatusFail], "failure")+"; the first is in "+
			first+"."))
	case n[doctor.StatusWarn] > 0:
		fmt.Fprintln(p.w, p.paint(colors[doctor.StatusWarn], "No failures, "+count(n[doctor.StatusWarn], "warning")+"."))
	default:
		fmt.Fprintln(p.w, p.paint(colors[doctor.StatusOK], "No problems found."))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrapped prints head and text. Wrapped lines start in column indent.
func (p *printer) wrapped(head string, indent int, text string) {
	fmt.Fprint(p.w, head)
	room := p.width - indent
	if p.width == 0 || room < 20 {
		fmt.Fprintln(p.w, text)
		return
	}
	used := 0
	for i, word := range strings.Fields(text) {
		n := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case used+1+n > room:
			fmt.Fprint(p.w, "\n", strings.Repeat(" ", indent))
			used = 0
		default:
			fmt.Fprint(p.w, " ")
			used++
		}
		fmt.Fprint(p.w, word)
		used += n
	}
	fmt.Fprintln(p.w)
}

// line prints a name and a value in two columns.
func (p *printer) line(name, value string) { p.wrapped(fmt.Sprintf("%-10s", name), 10, value) }
