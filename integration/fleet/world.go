package fleet

import "time"

// A World is what surrounds a rule. A zero field means what its comment says.
type World struct {
	// Processes is how many there are, each with one token.
	Processes int
	// StartOver is how long it takes until all processes have started, one after the other at even
	// intervals. 0: all start at once.
	StartOver time.Duration
	// For is how long the fleet is watched.
	For time.Duration
	// ReadEvery is the mean time between two calls for the token in one process; calls arrive
	// independently of each other (a Poisson process). 0: 5 seconds.
	ReadEvery time.Duration
	// LifeMin and LifeMax bound the lives of tokens, uniformly. 0: 60 and 90 minutes, which is what
	// Microsoft documents for access tokens.
	LifeMin, LifeMax time.Duration
	// Latency is how long the endpoint takes to answer, whatever it answers. 0: 0.3 seconds.
	Latency time.Duration
	// DownFrom and DownFor are an outage: every request is answered with an error. DownFor 0: none.
	DownFrom, DownFor time.Duration
	// ThrottledFrom and ThrottledFor are a time in which the endpoint gives Capacity tokens a minute
	// and answers all further requests with status 429 and RetryAfter. ThrottledFor 0: none.
	ThrottledFrom, ThrottledFor time.Duration
	Capacity                    int
	RetryAfter                  time.Duration
	// Seed makes the run: the same seed gives the same run.
	Seed uint64
}

func (w World) withDefaults() World {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&w.ReadEvery, 5 * time.Second},
		{&w.LifeMin, 60 * time.Minute},
		{&w.LifeMax, 90 * time.Minute},
		{&w.Latency, 300 * time.Millisecond},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	return w
}

// An endpoint is the token endpoint of a world.
type endpoint struct {
	World
	credit float64       // tokens it may still give, while it is throttled
	last   time.Duration // when credit was brought up to date
}

// A verdict is what the endpoint makes of a request.
type verdict struct {
	ok         bool
	retryAfter time.Duration
}

// ask judges a request that is sent at now. Requests come in the order of their times.
func (e *endpoint) ask(now time.Duration) verdict {
	switch {
	case now >= e.DownFrom && now < e.DownFrom+e.DownFor:
		return verdict{}
	case now < e.ThrottledFrom || now >= e.ThrottledFrom+e.ThrottledFor:
		return verdict{ok: true}
	}
	// A bucket that holds a second's worth of tokens.
	perSecond := float64(e.Capacity) / 60
	e.credit = min(e.credit+perSecond*(now-e.last).Seconds(), max(perSecond, 1))
	e.last = now
	if e.credit < 1 {
		return verdict{retryAfter: e.RetryAfter}
	}
	e.credit--
	return verdict{ok: true}
}
