package main

import (
	"bytes"
	"fmt"
	"image/color"
	"math"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// colors of the rules. Color-blind people can distinguish them (Okabe and Ito).
var colors = []color.Color{
	color.RGBA{0x00, 0x72, 0xb2, 0xff},
	color.RGBA{0x56, 0xb4, 0xe9, 0xff},
	color.RGBA{0xd5, 0x5e, 0x00, 0xff},
	color.RGBA{0xe6, 0x9f, 0x00, 0xff},
	color.RGBA{0x00, 0x9e, 0x73, 0xff},
}

const width, height = 20 * vg.Centimeter, 10 * vg.Centimeter

func newPlot(label string) *plot.Plot {
	plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"}
	p := plot.New()
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.Title.Padding = vg.Points(8)
	p.X.Label.TextStyle.Font.Size, p.Y.Label.TextStyle.Font.Size = vg.Points(10), vg.Points(10)
	p.X.Padding, p.Y.Padding = 0, 0
	p.Legend.TextStyle.Font.Size = vg.Points(10)
	p.Legend.Padding = vg.Points(3)
	p.Legend.ThumbnailWidth = vg.Points(20)
	p.Legend.XOffs, p.Legend.YOffs = vg.Points(-6), vg.Points(-6)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{0xdd}, color.Gray{0xdd}
	p.Add(grid)
	if label != "" {
		p.Legend.Add(label)
		p.Legend.Top = true
	}
	return p
}

// every returns ticks at the multiples of step.
func every(step float64) plot.TickerFunc {
	return func(low, high float64) (ticks []plot.Tick) {
		for n := math.Ceil(low / step); n*step <= high+step/1e6; n++ {
			value := math.Round(n*step*1e6) / 1e6
			ticks = append(ticks, plot.Tick{Value: value, Label: strconv.FormatFloat(value, 'f', -1, 64)})
		}
		return ticks
	}
}

// multiples are the ticks of a logarithmic axis.
type multiples struct{}

// Ticks implements [plot.Ticker].
func (multiples) Ticks(low, high float64) (ticks []plot.Tick) {
	for _, value := range []float64{0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200} {
		if low <= value && value <= high {
			ticks = append(ticks, plot.Tick{Value: value, Label: strconv.FormatFloat(value, 'f', -1, 64) + " x"})
		}
	}
	return ticks
}

// counts are the ticks of a logarithmic axis with numbers of requests. Minutes without a request are at none.
type counts struct{ none float64 }

// Ticks implements [plot.Ticker].
func (c counts) Ticks(_, high float64) []plot.Tick {
	ticks := []plot.Tick{{Value: c.none, Label: "0"}}
	for n := 1; float64(n) <= high; n *= 10 {
		ticks = append(ticks, plot.Tick{Value: float64(n), Label: thousands(n)})
	}
	return ticks
}

func save(p *plot.Plot, file string) error {
	canvas := vgsvg.New(width, height)
	p.Draw(margin(draw.New(canvas)))
	return saveCanvas(canvas, file)
}

// savePanels draws plots one above the other.
func savePanels(panels []*plot.Plot, file string) error {
	canvas := vgsvg.New(width, vg.Length(len(panels))*4*vg.Centimeter)
	rows := make([][]*plot.Plot, len(panels))
	for i := range panels {
		rows[i] = panels[i : i+1]
	}
	tiles := draw.Tiles{Rows: len(panels), Cols: 1, PadY: vg.Points(6)}
	for i, row := range plot.Align(rows, tiles, margin(draw.New(canvas))) {
		panels[i].Draw(row[0])
	}
	return saveCanvas(canvas, file)
}

// margin adds a white margin, so the plot is readable on a dark page.
func margin(c draw.Canvas) draw.Canvas {
	const m = 8
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	return draw.Crop(c, vg.Points(m), vg.Points(-2*m), vg.Points(m), vg.Points(-m))
}

// saveCanvas writes an SVG file. It adds alternatives to gonum's font, which not every machine has.
func saveCanvas(canvas *vgsvg.Canvas, file string) error {
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	svg := bytes.ReplaceAll(b.Bytes(), []byte("Liberation Sans"), []byte("Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(file, svg, 0o666)
}
