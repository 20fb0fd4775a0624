package fleet

import "time"

// World describes a fleet and its token endpoint.
type World struct {
	// Processes is the number of processes. Each has one token.
	Processes int
	// StartOver is the time in which the processes start, one after the other at even intervals. If zero, all start at
	// once.
	StartOver time.Duration
	// For is the duration of the simulation.
	For time.Duration
	// ReadEvery is the mean time between two calls for the token in one process. Calls are independent of each other (a
	// Poisson process). Defaults to 5 seconds.
	ReadEvery time.Duration
	// LifeMin and LifeMax bound the uniformly distributed lifetimes of tokens. They default to 60 and 90 minutes, as
	// Microsoft documents for access tokens.
	LifeMin, LifeMax time.Duration
	// Latency is the response time of the endpoint. Defaults to 0.3 seconds.
	Latency time.Duration
	// DownFrom and DownFor are the start and length of an outage, in which every response is an error.
	DownFrom, DownFor time.Duration
	// ThrottledFrom and ThrottledFor are the start and length of throttling, in which the endpoint issues Capacity
	// tokens a minute and rejects further requests, with status 429 and RetryAfter, or with status 503 if that is zero.
	ThrottledFrom, ThrottledFor time.Duration
	Capacity                    int
	RetryAfter                  time.Duration
	// Seed determines all random numbers. The same seed gives the same run.
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

// endpoint is the token endpoint of a world.
type endpoint struct {
	World
	credit float64       // tokens that it may issue while throttled
	last   time.Duration // when credit was updated
}

// response is the response to a token request.
type response struct {
	ok         bool
	retryAfter time.Duration
}

// respond returns the response to a request at now. Requests are in the order of their times.
func (e *endpoint) respond(now time.Duration) response {
	switch {
	case now >= e.DownFrom && now < e.DownFrom+e.DownFor:
		return response{}
	case now < e.ThrottledFrom || now >= e.ThrottledFrom+e.ThrottledFor:
		return response{ok: true}
	}
	// A token bucket with the capacity of one second.
	perSecond := float64(e.Capacity) / 60
	e.credit = min(e.credit+perSecond*(now-e.last).Seconds(), max(perSecond, 1))
	e.last = now
	if e.credit < 1 {
		return response{retryAfter: e.RetryAfter}
	}
	e.credit--
	return response{ok: true}
}
