package fleet

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Mean is the mean of the minutes from from to to.
func Mean(minutes []int, from, to time.Duration) float64 {
	return float64(Sum(minutes, from, to)) / (to - from).Minutes()
}

// Sum is the sum of the minutes from from to to.
func Sum(minutes []int, from, to time.Duration) (n int) {
	for _, m := range minutes[from/time.Minute : to/time.Minute] {
		n += m
	}
	return n
}

// Windows are the means of every width of time from from to to, one for each minute at which such
// a window can begin.
func Windows(minutes []int, from, to, width time.Duration) (means []float64) {
	for at := from; at+width <= to; at += time.Minute {
		means = append(means, Mean(minutes, at, at+width))
	}
	return means
}

// PeakToMean is the highest window of that width after settled, divided by the mean of all of that
// time.
func (r Result) PeakToMean(settled, width time.Duration) float64 {
	return slices.Max(Windows(r.Requests, settled, r.World.For, width)) / Mean(r.Requests, settled, r.World.For)
}

// PerLife is how many requests were made for every 75 minutes, the mean life of a token, that a
// process ran.
func (r Result) PerLife() float64 {
	lives := float64(r.World.Processes) * (r.World.For - r.World.StartOver/2).Minutes() / 75
	return float64(Sum(r.Requests, 0, r.World.For)) / lives
}

// Chance is what PeakToMean would be of requests that came at random moments, mean of them in a
// minute: no rule can keep below it for long.
func Chance(mean float64, minutes int, width time.Duration, seed uint64) float64 {
	random := rand.New(rand.NewPCG(seed, 0))
	requests := make([]int, minutes)
	for at := random.ExpFloat64() / mean; at < float64(minutes); at += random.ExpFloat64() / mean {
		requests[int(at)]++
	}
	end := time.Duration(minutes) * time.Minute
	return slices.Max(Windows(requests, 0, end, width)) / Mean(requests, 0, end)
}

// An Incident is what a time of trouble at the endpoint came to. Rates are in multiples of the rate
// in the two hours before.
type Incident struct {
	Normal      float64 // requests a minute before
	During      float64 // mean rate while it lasted
	FirstMinute float64 // rate in the minute after it
	Highest     float64 // of any minute in the hour after it
	Echo        float64 // highest ten-minute rate from half an hour to three hours after it
	Refused     int     // requests that brought no token
	Blocked     int     // calls that waited for a token, while it lasted and in the hour after it
	Failed      int     // calls that got an error
	Noticed     float64 // part of the processes that had one of those
}

// Incident measures the time from from to to.
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
		Refused:     Sum(r.Refused, from, r.World.For),
		Blocked:     Sum(r.Blocked, from, to+time.Hour),
		Failed:      Sum(r.Failed, from, r.World.For),
		Noticed:     float64(r.Noticed) / float64(r.World.Processes),
	}
}

// Ready is when all processes had a token, or NaN if that was not seen. In minutes.
func (r Result) Ready() float64 {
	left := r.World.Processes
	for minute, n := range r.Started {
		if left -= n; left == 0 {
			return float64(minute + 1)
		}
	}
	return math.NaN()
}
