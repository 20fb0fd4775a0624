package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/entratoken/entra/examples/contoso"
	"github.com/entratoken/entra/examples/hops"
)

// report writes a table of the calls of a round. The round began at start.
func report(out io.Writer, company *contoso.Contoso, round int, calls []hops.Hop, start time.Time) {
	fmt.Fprintf(out, "\nRound %d, in %v\n", round, time.Since(start).Round(time.Millisecond))
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(table, "  "+strings.Join(cells, "\t")) }
	row("CALL", "FLOW", "TOKEN", "SUBJECT", "AUDIENCE", "SCP / ROLES", "LIFETIME", "REFRESH IN", "FROM")
	for _, c := range calls {
		from := "cache"
		if c.Token.Obtained.After(start) {
			from = "Entra"
		}
		grant := "scp " + c.Caller.Scopes
		if c.Caller.Roles != "" && c.Caller.Scopes == "" {
			grant = "roles " + c.Caller.Roles
		}
		refresh := "never" // the token expires with its assertion
		if !c.Token.Refresh.IsZero() {
			refresh = minutes(time.Until(c.Token.Refresh))
		}
		row(c.From+" -> "+c.To, c.Token.Flow, c.Caller.Kind, name(company, c.Caller.Subject),
			name(company, c.Caller.Audience), grant,
			minutes(c.Token.Expires.Sub(c.Token.Obtained)), refresh, from)
	}
	table.Flush()
}

// name returns the name of the app whose client ID is s, or s if it is unknown.
func name(company *contoso.Contoso, s string) string {
	for _, app := range []string{"webapp", "api-a", "api-b", "daemon"} {
		if company.Entra.App(app).ClientID == s {
			return app
		}
	}
	return s
}

func minutes(d time.Duration) string { return fmt.Sprintf("%.0f min", d.Minutes()) }
