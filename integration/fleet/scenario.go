package fleet

import "time"

// Settled is when a fleet that started all at once is expected to be at peace.
const Settled = 2 * time.Hour

// The worlds of docs/fleet.md. All have the same seed.

// Together is a fleet whose processes start all at once, as after a power failure.
func Together(processes int) World {
	return World{Processes: processes, For: 72 * time.Hour, Seed: 1}
}

// Rolling is a fleet that is started process by process over half an hour, as in a deployment.
func Rolling(processes int) World {
	w := Together(processes)
	w.StartOver = 30 * time.Minute
	return w
}

// Trouble is when incidents begin: at a time when the start is forgotten.
const Trouble = 8 * time.Hour

// calm is a fleet that has been started with no haste.
func calm(processes int) World {
	return World{Processes: processes, StartOver: 4 * time.Hour, For: Trouble + 5*time.Hour, Seed: 1}
}

// Outage is a time in which the endpoint answers nothing but errors.
func Outage(processes int, lasting time.Duration) World {
	w := calm(processes)
	w.DownFrom, w.DownFor = Trouble, lasting
	return w
}

// Storm is half an hour in which the endpoint gives fewer tokens than the fleet needs, 100 a minute
// for 10,000 processes, and answers the rest with status 429 and a Retry-After of a minute.
func Storm(processes int) World {
	w := calm(processes)
	w.ThrottledFrom, w.ThrottledFor = Trouble, 30*time.Minute
	w.Capacity, w.RetryAfter = processes/100, time.Minute
	return w
}

// ColdStart is a fleet whose processes start all at once at an endpoint that gives 600 tokens a
// minute to 10,000 of them.
func ColdStart(processes int) World {
	return World{
		Processes: processes, For: 2 * time.Hour, Seed: 1,
		ThrottledFor: 2 * time.Hour, Capacity: 6 * processes / 100, RetryAfter: time.Minute,
	}
}
