package main

import (
	"image/color"
	"math"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/entratoken/entra/integration/fleet"
	"github.com/entratoken/entra/internal/refresh"
)

// drawn returns the results of the rules in the plots.
func (r results) drawn() results { return r[:len(drawn())] }

// start draws the first twelve hours after all processes started at once, minute by minute.
func (r results) start(file string) error {
	const hours, highest = 12, 700
	var panels []*plot.Plot
	for i, p := range r.drawn() {
		panel := newPlot(p.name)
		panel.X.Tick.Marker = every(1)
		panel.Y.Tick.Marker = every(200)
		rate := fleet.Windows(p.together.Requests, 0, hours*time.Hour, time.Minute)
		rate[0] = math.Min(rate[0], highest) // all processes send a request
		panel.Add(thin(line(rate, 0, 1.0/60, i)))
		limits(panel, 0, hours, 0, highest)
		panels = append(panels, panel)
	}
	panels[0].Title.Text = "Token requests a minute, 10,000 processes that start at once"
	panels[len(panels)-1].X.Label.Text = "hours since the start"
	return savePanels(panels, file)
}

// days draws how uneven the requests stay in the first day, by ten-minute means.
func (r results) days(file string) error {
	p := newPlot("")
	p.Title.Text = "How uneven the requests stay: ten-minute means divided by the mean"
	p.X.Label.Text = "hours since all processes started at once"
	p.X.Tick.Marker, p.Y.Tick.Marker = every(2), every(0.4)
	const width, shown = 10 * time.Minute, 24 * time.Hour
	for i := len(r.drawn()) - 1; i >= 0; i-- { // the first rule on top
		requests := r[i].together.Requests
		mean := fleet.Mean(requests, fleet.Settled, 72*time.Hour)
		windows := fleet.Windows(requests, fleet.Settled, shown, width)
		var points []float64
		for j := 0; j < len(windows); j += 2 {
			points = append(points, windows[j]/mean)
		}
		p.Add(line(points, 2+width.Hours()/2, 2.0/60, i))
	}
	p.Add(dashed(fleet.Settled.Hours(), shown.Hours(), 1.2))
	limits(p, fleet.Settled.Hours(), shown.Hours(), 0, 2.6)
	r.legend(p)
	return save(p, file)
}

// outage draws the requests around an outage.
func (r results) outage(file string) error {
	return r.incident(file, "An outage of 15 minutes: requests a minute, in multiples of the rate before",
		"minutes since the outage began", outage, func(p played) fleet.Result { return p.outage })
}

// storm draws the requests around half an hour in which the endpoint throttles.
func (r results) storm(file string) error {
	return r.incident(file, "Half an hour of throttling: requests a minute, in multiples of the rate before",
		"minutes since the throttling began", stormFor, func(p played) fleet.Result { return p.storm })
}

func (r results) incident(file, title, axis string, lasting time.Duration, result func(played) fleet.Result) error {
	const before, after = 15 * time.Minute, 60 * time.Minute
	const lowest, highest = 0.2, 300
	p := newPlot("")
	p.Title.Text, p.X.Label.Text = title, axis
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, multiples{}
	p.X.Tick.Marker = every(15)
	p.Add(shade(0, lasting.Minutes(), lowest, highest))
	for i := len(r.drawn()) - 1; i >= 0; i-- {
		requests := result(r[i]).Requests
		normal := fleet.Mean(requests, fleet.Trouble-2*time.Hour, fleet.Trouble)
		rate := fleet.Windows(requests, fleet.Trouble-before, fleet.Trouble+lasting+after, time.Minute)
		for j := range rate {
			rate[j] = math.Max(rate[j]/normal, lowest)
		}
		p.Add(line(rate, 0.5-before.Minutes(), 1, i))
	}
	limits(p, -before.Minutes(), (lasting + after).Minutes(), lowest, highest)
	r.legend(p)
	return save(p, file)
}

// notice draws the processes with failed calls by the length of an outage.
func (r results) notice(file string) error {
	p := newPlot("")
	p.Title.Text = "Outages: processes in which a call failed, in %"
	p.X.Label.Text = "length of the outage in minutes"
	p.X.Tick.Marker, p.Y.Tick.Marker = every(5), every(10)
	for i := len(r.drawn()) - 1; i >= 0; i-- {
		parts := []float64{0}
		for _, part := range r[i].noticed {
			parts = append(parts, 100*part)
		}
		p.Add(line(parts, 0, step.Minutes(), i))
	}
	limits(p, 0, (steps * step).Minutes(), 0, 60)
	r.legend(p)
	p.Legend.Left, p.Legend.XOffs = true, -p.Legend.XOffs
	return save(p, file)
}

// storeOutage draws the requests around an outage of the store that processes share, in which their token is due.
func storeOutage(file string) error {
	const before, after = 15 * time.Minute, 60 * time.Minute
	const lowest, highest = 0.5, 20_000
	world, store := fleet.Outage(processes, 0), fleet.StoreOutage(outage)
	hasty := store
	hasty.Hasty = true
	lines := []struct {
		name   string
		result fleet.Result
	}{
		{"one token in a store", fleet.RunShared(world, store).Result},
		{"one token in a store, without the rules below", fleet.RunShared(world, hasty).Result},
		{"a token for each process, without a store", fleet.Run(world, fleet.Of(refresh.Policy{}))},
	}
	p := newPlot("")
	p.Title.Text = "The store down for 15 minutes: requests a minute, 10,000 processes"
	p.X.Label.Text = "minutes since the outage of the store began"
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, counts{none: lowest}
	p.X.Tick.Marker = every(15)
	p.Add(shade(0, outage.Minutes(), lowest, highest))
	p.Legend.Top = true
	for i := len(lines) - 1; i >= 0; i-- {
		rate := fleet.Windows(lines[i].result.Requests, fleet.Trouble-before, fleet.Trouble+outage+after, time.Minute)
		for j := range rate {
			rate[j] = math.Max(rate[j], lowest)
		}
		p.Add(line(rate, 0.5-before.Minutes(), 1, i))
	}
	for i, l := range lines {
		p.Legend.Add(l.name, thumb(i))
	}
	limits(p, -before.Minutes(), (outage + after).Minutes(), lowest, highest)
	return save(p, file)
}

// limits sets the visible range. Adding to a plot only widens it.
func limits(p *plot.Plot, left, right, bottom, top float64) {
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = left, right, bottom, top
}

func (r results) legend(p *plot.Plot) {
	p.Legend.Top = true
	for i, one := range r.drawn() {
		p.Legend.Add(one.name, thumb(i))
	}
}

// line draws values from x on at distances of dx.
func line(values []float64, x, dx float64, rule int) *plotter.Line {
	points := make(plotter.XYs, len(values))
	for i, v := range values {
		points[i] = plotter.XY{X: x + float64(i)*dx, Y: v}
	}
	l, err := plotter.NewLine(points)
	if err != nil { // a value is not a number
		panic(err)
	}
	l.Color, l.Width = colors[rule], vg.Points(1.4)
	if rule == 0 {
		l.Width = vg.Points(2.2)
	}
	return l
}

func thin(l *plotter.Line) *plotter.Line {
	l.Width = vg.Points(0.8)
	return l
}

func thumb(rule int) *plotter.Line { return line([]float64{0, 0}, 0, 1, rule) }

func dashed(from, to, y float64) *plotter.Line {
	l := line([]float64{y, y}, from, to-from, 1)
	l.Color, l.Width, l.Dashes = color.Gray{0x60}, vg.Points(0.8), []vg.Length{vg.Points(4), vg.Points(3)}
	return l
}

func shade(from, to, bottom, top float64) *plotter.Polygon {
	area, err := plotter.NewPolygon(plotter.XYs{{X: from, Y: bottom}, {X: to, Y: bottom}, {X: to, Y: top},
		{X: from, Y: top}})
	if err != nil {
		panic(err)
	}
	area.Color, area.LineStyle.Width = color.Gray{0xe8}, 0
	return area
}
