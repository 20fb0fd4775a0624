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

// A printer writes lines of a word and a text: in colour and wrapped in a terminal, each
// on one line elsewhere.
type printer struct {
	w      io.Writer
	colour bool
	width  int // 0: lines are not wrapped
}

// printer returns one for standard output. Colours are off where NO_COLOR is set
// (https://no-color.org) or the terminal has none; nothing is said by colour alone. Shells
// keep COLUMNS to themselves, most of them: without it a terminal has at least 80.
func (s *System) printer() *printer {
	p := &printer{w: s.Stdout, colour: s.Terminal && s.Getenv("NO_COLOR") == "" && s.Getenv("TERM") != "dumb"}
	if s.Terminal {
		p.width = 80
		if n, err := strconv.Atoi(s.Getenv("COLUMNS")); err == nil && n >= 40 {
			p.width = n
		}
	}
	return p
}

var colours = map[doctor.Status]string{doctor.OK: "32", doctor.Warn: "33", doctor.Fail: "1;31", doctor.Skip: "2"}

func (p *printer) paint(code, text string) string {
	if !p.colour || code == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// step prints a step of the doctor: status, name and text, with the advice below.
func (p *printer) step(st doctor.Step) {
	took := ""
	if st.Took >= time.Millisecond {
		took = fmt.Sprintf(" (%d ms)", st.Took.Milliseconds())
	}
	p.wrapped(p.paint(colours[st.Status], fmt.Sprintf("%-5s", st.Status))+fmt.Sprintf(" %-14s", st.Name), 20, st.Text+took)
	if st.Advice != "" {
		p.wrapped(strings.Repeat(" ", 20)+"-> ", 23, st.Advice)
	}
	if st.CorrelationID != "" {
		ids := "correlation ID " + st.CorrelationID
		if st.TraceID != "" {
			ids += ", trace ID " + st.TraceID
		}
		p.wrapped(strings.Repeat(" ", 20)+"   ", 23, ids)
	}
}

// summary says what came of it all.
func (p *printer) summary(steps []doctor.Step) {
	n := map[doctor.Status]int{}
	first := ""
	for _, st := range steps {
		n[st.Status]++
		if st.Status == doctor.Fail && first == "" {
			first = st.Name
		}
	}
	fmt.Fprintln(p.w)
	switch {
	case n[doctor.Fail] > 0:
		fmt.Fprintln(p.w, p.paint(colours[doctor.Fail], count(n[doctor.Fail], "failure")+", the first in "+first+"."))
	case n[doctor.Warn] > 0:
		fmt.Fprintln(p.w, p.paint(colours[doctor.Warn], "It works, with "+count(n[doctor.Warn], "warning")+"."))
	default:
		fmt.Fprintln(p.w, p.paint(colours[doctor.OK], "All is well."))
	}
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// wrapped prints head, then text from column indent on.
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

// line prints a name and a value below each other's.
func (p *printer) line(name, value string) { p.wrapped(fmt.Sprintf("%-10s", name), 10, value) }
