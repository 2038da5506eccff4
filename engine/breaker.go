package engine

import (
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A breaker tells when the backend of one job is down, and how it is asked then. It
// delays and never fails anything.
//
//	closed     everything passes. 10 failures in a row, of 3 intents and over 2
//	           seconds in which nothing was answered, open it: one job that is
//	           always answered with 500 does not, and neither does one answer of two
//	open       one probe at a time passes, about another intent each time, at an
//	           interval that grows as that of an intent does. An answer releases it
//	releasing  as many pass at the same time as were answered since. 10 failures in
//	           a row of 3 intents open it again; when the lane is full or nobody
//	           waits any more it is closed
//
// A failure is in a row with others if nothing was answered since its request began:
// one that hangs while others are answered says nothing about the backend.
//
// It has no clock and no lock: the engine gives it the moment, under Engine.mu.
type breaker struct {
	state    breakerState
	failures int                   // in a row
	since    moment                // when the first of them was asked
	voices   [openVoices]intent.ID // different intents among them
	heard    int                   // how many of voices there are
	alive    moment                // when something was answered last
	running  int                   // requests under way that it let pass
	window   int                   // while releasing: how many there may be
	down     moment                // when it was opened that was closed
	released moment                // when it was that was open

	// While it is open:
	probe    moment        // when the next probe may begin
	probing  bool          // one is under way
	asked    moment        // when the last one began, or it was opened
	floor    moment        // the backend's Retry-After
	interval time.Duration // what probe was made from
	shortest time.Duration // the job's interval: no probe follows another sooner
}

type breakerState uint8

const (
	closed breakerState = iota
	open
	releasing
)

// What it takes to open a breaker.
const (
	openFailures = 10
	openVoices   = 3
	openAfter    = 2 * time.Second
)

// probeJitter is the least part of the interval by which a probe is put off at
// random: many of us may be in front of the same backend.
const probeJitter = 0.2

// A health is what came of a request, as far as it says whether the backend works.
type health uint8

const (
	unclear health = iota // nothing was asked, or it was cut short
	alive                 // it was answered, be it with a 404 or with nonsense
	sick                  // no answer in time, 429 or 5xx
)

// A verdict is what a request that the breaker let pass came to.
type verdict struct {
	health     health
	started    moment
	retryAfter time.Duration // the backend's wish; 0 for none
	pace       Pace          // of the job
	about      []*held       // whom it was about
}

// admits reports whether a request may go now.
func (b *breaker) admits(now moment) bool {
	switch b.state {
	case open:
		return !b.probing && now >= b.probe
	case releasing:
		return b.running < b.window
	}
	return true
}

// soonest is the moment from now on before which nothing may go.
func (b *breaker) soonest(now moment) moment {
	if b.state == open {
		return max(now, b.probe)
	}
	return now
}

// begin notes that a request goes that was admitted, and reports whether it is a
// probe. A finish has to follow.
func (b *breaker) begin(now moment) (probe bool) {
	b.running++
	if b.state != open {
		return false
	}
	b.probing, b.asked = true, now
	return true
}

// finish notes what came of a request.
func (b *breaker) finish(now moment, probe bool, v verdict) {
	b.running--
	if probe {
		b.probing = false
	}
	b.note(now, probe, v)
}

// outlast has a request that was admitted hold up no other any more. What comes of it
// is noted when it is known; a probe that takes so long counts as one that failed.
func (b *breaker) outlast(now moment, probe bool, pace Pace) {
	b.running--
	if !probe {
		return
	}
	if b.probing = false; b.state == open {
		b.putOff(now, verdict{pace: pace})
	}
}

// note draws the conclusion from what came of a request.
func (b *breaker) note(now moment, probe bool, v verdict) {
	switch v.health {
	case alive:
		b.answered(now)
	case sick:
		b.failed(now, probe, v)
	case unclear:
		if probe {
			b.probe = max(b.probe, b.asked.add(b.shortest))
		}
	}
}

// answered notes that the backend has answered somebody.
func (b *breaker) answered(now moment) {
	b.failures, b.heard, b.alive = 0, 0, now
	switch b.state {
	case open:
		b.state, b.window, b.released = releasing, 2, now
	case releasing:
		if b.window++; b.window > openFailures {
			b.interval = 0 // this was more than a flicker: the next outage is another
		}
	case closed:
	}
}

func (b *breaker) failed(now moment, probe bool, v verdict) {
	switch {
	case v.started < b.alive:
		return
	case b.state == open:
		if probe {
			b.putOff(now, v)
		}
		return
	}
	b.count(v)
	switch {
	case b.failures < openFailures || b.heard < openVoices:
	case b.state == releasing:
		b.open(now, v)
	case now.sub(b.since) >= openAfter:
		b.down, b.interval = now, 0
		b.open(now, v)
	}
}

// count adds a failure to those in a row, and whose it was.
func (b *breaker) count(v verdict) {
	if b.failures == 0 {
		b.since = v.started
	}
	b.since = min(b.since, v.started) // they do not end in the order in which they began
	b.failures++
	for _, h := range v.about {
		if b.heard == openVoices {
			return
		}
		b.hear(h.lease.ID)
	}
}

func (b *breaker) hear(id intent.ID) {
	if slices.Contains(b.voices[:b.heard], id) {
		return
	}
	b.voices[b.heard] = id
	b.heard++
}

func (b *breaker) open(now moment, v verdict) {
	b.state, b.failures, b.heard = open, 0, 0
	b.asked, b.shortest = now, v.pace.Interval
	b.putOff(now, v)
}

// putOff plans the next probe. A Retry-After of the answer is for the whole backend
// then.
func (b *breaker) putOff(now moment, v verdict) {
	pace := v.pace
	pace.Jitter = max(pace.Jitter, probeJitter)
	if b.interval == 0 {
		b.interval = pace.Interval
	} else {
		b.interval = pace.grow(b.interval)
	}
	b.floor = now.add(v.retryAfter)
	b.probe = max(now.add(pace.jittered(b.interval)), b.floor)
}

// hurry pulls the next probe forward, because there is a reason to believe that the
// backend is back: no sooner after the last than the job's interval, nor than the
// backend's Retry-After.
func (b *breaker) hurry() {
	if b.state == open {
		b.probe = max(min(b.probe, b.asked.add(b.shortest)), b.floor)
	}
}

// settle closes a breaker that is released, if there is nothing left to bound.
func (b *breaker) settle(unbounded bool) {
	if b.state == releasing && b.failures == 0 && unbounded {
		b.state = closed
	}
}
