package engine

import (
	"math/rand/v2"
	"time"
)

// A Pace says how often a job is polled. All durations are positive.
type Pace struct {
	Interval    time.Duration // from the start of one poll to the next, while somebody watches
	First       time.Duration // from the answer to the submit to the first poll
	MaxInterval time.Duration // what the interval grows to while nobody watches, or the backend does not answer
	Backoff     float64       // factor by which it grows, 1 or more
	Jitter      float64       // part of the interval that is added at random, 0 to 1; not while somebody watches
	Timeout     time.Duration // of one poll
	GiveUp      time.Duration // how long answers may be unreadable
	Grace       time.Duration // how long the backend may not know the job before it is called gone

	Chance func() float64 // decides what is left to chance, from 0 to below 1; nil for rand.Float64
}

// DefaultPace is what a job has that says nothing of polling.
var DefaultPace = Pace{
	Interval:    2 * time.Second,
	First:       500 * time.Millisecond,
	MaxInterval: 30 * time.Second,
	Backoff:     1.5,
	Jitter:      0.2,
	Timeout:     10 * time.Second,
	GiveUp:      10 * time.Minute,
	Grace:       time.Minute,
}

// paceOf is the pace of a job, also of one that is in no config just now.
func (e *Engine) paceOf(n JobName) Pace {
	if job := e.settings.Load().Jobs[n]; job != nil {
		return job.Pace
	}
	return DefaultPace
}

// A moment is a point in time on the engine's own clock: nanoseconds since it was
// made, monotonic. A wall clock that jumps neither stops polling nor ends a
// million intents at once.
type moment int64

const never moment = 1<<63 - 1

func (m moment) add(d time.Duration) moment {
	if m == never || d >= time.Duration(never-m) {
		return never
	}
	return m + moment(d)
}

func (m moment) sub(n moment) time.Duration { return time.Duration(m - n) }

// watched keeps to the interval exactly, so that an observer learns no later than
// a client that polls for itself.
func (p Pace) watched() time.Duration { return p.Interval }

// grow gives the interval after one of d, while nobody watches.
func (p Pace) grow(d time.Duration) time.Duration {
	next := time.Duration(float64(max(d, p.Interval)) * p.Backoff)
	return min(next, max(p.MaxInterval, p.Interval))
}

// after gives the pause after so many tries to deliver.
func (p Pace) after(tries int) time.Duration {
	d := p.Interval
	for range min(tries-1, 100) {
		if d = p.grow(d); d >= p.MaxInterval {
			break
		}
	}
	return d
}

// jittered adds to d, never takes from it: no poll comes sooner than configured.
func (p Pace) jittered(d time.Duration) time.Duration {
	return d + time.Duration(p.chance()*p.Jitter*float64(d))
}

// spread is a random part of the interval.
func (p Pace) spread() time.Duration { return time.Duration(p.chance() * float64(p.Interval)) }

func (p Pace) chance() float64 {
	if p.Chance == nil {
		return rand.Float64()
	}
	return p.Chance()
}
