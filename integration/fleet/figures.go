package fleet

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Mean returns the mean of the minutes between from and to.
func Mean(minutes []int, from, to time.Duration) float64 {
	return float64(Sum(minutes, from, to)) / (to - from).Minutes()
}

// Sum returns the sum of the minutes between from and to.
func Sum(minutes []int, from, to time.Duration) (n int) {
	for _, m := range minutes[from/time.Minute : to/time.Minute] {
		n += m
	}
	return n
}

// Windows returns the mean of every window of a width between from and to. There is one for each minute at which a
// window can begin.
func Windows(minutes []int, from, to, width time.Duration) (means []float64) {
	for at := from; at+width <= to; at += time.Minute {
		means = append(means, Mean(minutes, at, at+width))
	}
	return means
}

// PeakToMean returns the highest window of a width after settled, divided by the mean after settled.
func (r Result) PeakToMean(settled, width time.Duration) float64 {
	return slices.Max(Windows(r.Requests, settled, r.World.For, width)) / Mean(r.Requests, settled, r.World.For)
}

// PerLife returns the number of requests of a process in 75 minutes, the mean lifetime of a token.
func (r Result) PerLife() float64 {
	lives := float64(r.World.Processes) * (r.World.For - r.World.StartOver/2).Minutes() / 75
	return float64(Sum(r.Requests, 0, r.World.For)) / lives
}

// Chance returns the PeakToMean of requests at random moments with a mean rate per minute.
func Chance(mean float64, minutes int, width time.Duration, seed uint64) float64 {
	random := rand.New(rand.NewPCG(seed, 0))
	requests := make([]int, minutes)
	for at := random.ExpFloat64() / mean; at < float64(minutes); at += random.ExpFloat64() / mean {
		requests[int(at)]++
	}
	end := time.Duration(minutes) * time.Minute
	return slices.Max(Windows(requests, 0, end, width)) / Mean(requests, 0, end)
}

// Incident has the effects of an outage or of throttling. All rates except
// Normal are multiples of Normal, the mean rate of the two hours before.
type Incident struct {
	Normal      float64 // requests a minute before
	During      float64 // mean rate during it
	FirstMinute float64 // rate in the minute after it
	Highest     float64 // of any minute in the hour after it
	Echo        float64 // highest ten-minute rate from half an hour to three hours after it
	Rejected    int     // requests that returned no token
	Blocked     int     // calls that waited for a token, during it and in the hour after
	Failed      int     // calls that got an error
	Noticed     float64 // fraction of the processes with a failed call
}

// Incident returns the effects of an incident between from and to.
func (r Result) Incident(from, to time.Duration) Incident {
	normal := Mean(r.Requests, from-2*time.Hour, from)
	rate := func(from, to, width time.Duration) float64 {
		return slices.Max(Windows(r.Requests, from, to, width)) / normal
	}
	return Incident{
		Normal:      normal,
		During:      Mean(r.Requests, from, to) / normal,
		FirstMinute: rate(to, to+time.Minute, time.Minute),
		Highest:     rate(to, to+time.Hour, time.Minute),
		Echo:        rate(to+30*time.Minute, to+3*time.Hour, 10*time.Minute),
		Rejected:    Sum(r.Rejected, from, r.World.For),
		Blocked:     Sum(r.Blocked, from, to+time.Hour),
		Failed:      Sum(r.Failed, from, r.World.For),
		Noticed:     float64(r.Noticed) / float64(r.World.Processes),
	}
}

// Ready returns the minute in which the last process got its first token, or NaN.
func (r Result) Ready() float64 {
	left := r.World.Processes
	for minute, n := range r.Started {
		if left -= n; left == 0 {
			return float64(minute + 1)
		}
	}
	return math.NaN()
}

// Factor returns the requests of r divided by those of without, between from and to.
func (r Result) Factor(without Result, from, to time.Duration) float64 {
	return float64(Sum(r.Requests, from, to)) / float64(Sum(without.Requests, from, to))
}

// BusiestSecond returns the most calls of the store in a second between from and to.
func (r SharedResult) BusiestSecond(from, to time.Duration) int {
	return slices.Max(r.StoreCalls[from/time.Second : to/time.Second])
}
