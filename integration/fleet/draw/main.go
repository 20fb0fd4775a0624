// Draw runs the simulations of package fleet, draws their results as SVG files, and writes their figures into fleet.md,
// between marker lines.
//
//	go run ./fleet/draw -docs ../docs
//
// The runs are seeded: the same code writes the same files.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/entratoken/entra/integration/fleet"
	"github.com/entratoken/entra/integration/internal/page"
	"github.com/entratoken/entra/internal/refresh"
)

const processes = 10_000

func main() {
	docs := flag.String("docs", "../docs", "the directory of fleet.md and the plots")
	flag.Parse()
	if err := write(*docs); err != nil {
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func write(docs string) error {
	r := runAll()
	for name, draw := range map[string]func(string) error{
		"fleet-days.svg":   r.days,
		"fleet-start.svg":  r.start,
		"fleet-outage.svg": r.outage,
		"fleet-notice.svg": r.notice,
		"fleet-storm.svg":  r.storm,
		"fleet-store.svg":  storeOutage,
	} {
		if err := draw(filepath.Join(docs, name)); err != nil {
			return err
		}
	}
	return page.Fill(filepath.Join(docs, "fleet.md"), map[string]string{
		"days":    r.daysTable(),
		"outage":  r.outageTable(),
		"storm":   r.stormTable(),
		"retries": retriesTable(),
		"shared":  sharedTable(),
	})
}

// drawn returns the rules of the plots.
func drawn() []fleet.Rule {
	ours := fleet.Of(refresh.Policy{})
	ours.Name = "entra: " + ours.Name
	return []fleet.Rule{ours, fleet.Plain(drawnFrom(0.7, 0.8)), fleet.XOAuth2(), fleet.FiveMinutes(), fleet.HalfLife()}
}

// all returns the rules of the tables.
func all() []fleet.Rule {
	return append(drawn(),
		fleet.Plain(drawnFrom(0.6, 0.7)),
		fleet.Spread(drawnFrom(0.6, 0.7)),
		fleet.Patient(drawnFrom(0.6, 0.7)),
		fleet.Plain(drawnFrom(0.6, 0.8)), fleet.Plain(drawnFrom(0.7, 0.9)), fleet.Plain(drawnFrom(0.75, 0.75)),
		fleet.Plain(drawnFrom(0.5, 0.9)),
		fleet.Of(drawnFrom(0.7, 0.8)), fleet.Of(drawnFrom(0.65, 0.75)), fleet.Of(drawnFrom(0.6, 0.75)),
		fleet.Of(drawnFrom(0.5, 0.7)),
	)
}

// drawnFrom returns a policy with random refresh points between two fractions of the lifetime.
func drawnFrom(from, to float64) refresh.Policy { return refresh.Policy{EarlyFrom: from, EarlyTo: to} }

// played has the results of one rule in every world.
type played struct {
	name                     string
	together, small, rolling fleet.Result
	outage, storm, cold      fleet.Result
	noticed                  []float64 // fraction of the processes with a failed call, for outages of one, two ... steps
	inOutage, inStorm        fleet.Incident
	longest                  time.Duration // longest outage without a failed call
}

type results []played

const (
	outage   = 15 * time.Minute
	step     = 2 * time.Minute
	steps    = 20
	stormFor = 30 * time.Minute
)

// runAll simulates every rule in every world on all CPUs.
func runAll() results {
	rules := all()
	done := make(results, len(rules))
	next := make(chan int)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for i := range next {
				done[i] = play(rules[i])
			}
		})
	}
	for i := range rules {
		next <- i
	}
	close(next)
	workers.Wait()
	return done
}

func play(rule fleet.Rule) played {
	p := played{
		name:     rule.Name,
		together: fleet.Run(fleet.Together(processes), rule),
		small:    fleet.Run(fleet.Together(processes/10), rule),
		rolling:  fleet.Run(fleet.Rolling(processes), rule),
		outage:   fleet.Run(fleet.Outage(processes, outage), rule),
		storm:    fleet.Run(fleet.Storm(processes), rule),
		cold:     fleet.Run(fleet.ColdStart(processes), rule),
	}
	p.inOutage = p.outage.Incident(fleet.Trouble, fleet.Trouble+outage)
	p.inStorm = p.storm.Incident(fleet.Trouble, fleet.Trouble+stormFor)
	for i := 1; i <= steps; i++ {
		lasting := time.Duration(i) * step
		w := fleet.Outage(processes, lasting)
		w.For = fleet.Trouble + lasting + time.Hour
		noticed := fleet.Run(w, rule).Noticed
		p.noticed = append(p.noticed, float64(noticed)/processes)
		if noticed == 0 && p.longest == lasting-step {
			p.longest = lasting
		}
	}
	return p
}
