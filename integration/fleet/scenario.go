package fleet

import "time"

// Settled is the time after which a fleet that started at once should be evenly spread.
const Settled = 2 * time.Hour

// The scenarios of docs/fleet.md have the same seed.

// Together returns a fleet whose processes start at once, as after a power failure.
func Together(processes int) World {
	return World{Processes: processes, For: 72 * time.Hour, Seed: 1}
}

// Rolling returns a fleet whose processes start one by one over half an hour, as in a deployment.
func Rolling(processes int) World {
	w := Together(processes)
	w.StartOver = 30 * time.Minute
	return w
}

// Trouble is the time at which incidents begin, long after the start.
const Trouble = 8 * time.Hour

// calm returns a fleet that starts slowly.
func calm(processes int) World {
	return World{Processes: processes, StartOver: 4 * time.Hour, For: Trouble + 5*time.Hour, Seed: 1}
}

// Outage returns a fleet with an outage of the endpoint.
func Outage(processes int, lasting time.Duration) World {
	w := calm(processes)
	w.DownFrom, w.DownFor = Trouble, lasting
	return w
}

// Storm returns a fleet that is throttled for half an hour. The endpoint issues fewer tokens than the fleet needs, 100
// a minute for 10,000 processes, and rejects the rest with status 429 and a Retry-After of a minute.
func Storm(processes int) World {
	w := calm(processes)
	w.ThrottledFrom, w.ThrottledFor = Trouble, 30*time.Minute
	w.Capacity, w.RetryAfter = processes/100, time.Minute
	return w
}

// ColdStart returns a fleet whose processes start at once. The endpoint issues 600 tokens a minute for 10,000
// processes.
func ColdStart(processes int) World {
	return World{
		Processes: processes, For: 2 * time.Hour, Seed: 1,
		ThrottledFor: 2 * time.Hour, Capacity: 6 * processes / 100, RetryAfter: time.Minute,
	}
}

// ThrottledStart returns ColdStart with a Retry-After of its own. If that is zero, requests are rejected with status
// 503.
func ThrottledStart(processes int, retryAfter time.Duration) World {
	w := ColdStart(processes)
	w.RetryAfter = retryAfter
	return w
}

// DeadStart returns a fleet whose processes start at once. Every request fails with status 503 for two hours.
func DeadStart(processes int) World {
	return World{Processes: processes, For: 2 * time.Hour, Seed: 1, DownFor: 2 * time.Hour}
}

// StoreOutage returns a store that fails when an incident begins.
func StoreOutage(lasting time.Duration) Store { return Store{DownFrom: Trouble, DownFor: lasting} }
