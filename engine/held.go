package engine

import (
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A held is what the engine keeps in memory of an intent that it works on. There
// may be a million of them, so it is small and says nothing that the store knows.
// Its fields are guarded by Engine.mu, but for those of a poll under way (busy),
// which belong to that poll.
type held struct {
	lease       store.Lease
	name        *JobName // shared by all intents of a job
	deadline    moment
	crowd       *crowd   // those that it can share a request with; nil for none
	places      [3]int32 // in the heaps; -1 if not there
	failures    int32    // polls in a row that brought no reading
	last        outcome
	manner      manner
	status      uint8 // as the tally counts it
	busy        bool  // a step is under way
	waiting     bool  // a poll is due and waits for its turn in its lane
	cancels     bool  // the job is canceled at the backend at the deadline, whatever the config says
	undelivered bool  // the backend is still to get the submit; deadline is then when that is given up
	ahead       bool  // among those that wait and somebody watches
	ended       bool  // how it ended is known, and the store has not taken that yet; it is busy until then
	canceled    bool  // a client has canceled the job while a step was under way, and that is not stored yet

	polled   moment        // start of the last poll; never if there was none
	failing  moment        // start of the first of the failures
	floor    moment        // Retry-After: no poll before
	interval time.Duration // what due was made from, as long as nobody watches
	watched  moment        // somebody watches until then

	draft *draft // nil if it is not known here how the intent stands
}

// An outcome is how the last poll ended, as far as give_up must know.
type outcome uint8

const (
	notPolled outcome = iota
	answered
	unreadable
	unavailable
	missing
)

// hold makes the engine responsible for an intent and plans its next step.
func (e *Engine) hold(lease store.Lease, in *intent.Intent, due moment) {
	e.holdSpread(lease, in, due, due)
}

// holdSpread is hold for what was due before: others may take it with them from ready.
func (e *Engine) holdSpread(lease store.Lease, in *intent.Intent, ready, due moment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if old, ok := e.holds[in.ID]; ok {
		if old.lease.Epoch > lease.Epoch {
			return // it was taken while this one was on its way here
		}
		e.forget(old)
	}
	h := &held{
		lease:       lease,
		name:        e.intern(JobName{Scope: in.Scope, Name: in.Job}),
		deadline:    e.at(lastMoment(in)),
		cancels:     in.Cancels,
		undelivered: in.Outgoing != nil,
		places:      [3]int32{-1, -1, -1},
		polled:      never,
	}
	e.arrive(h)
	if early, ok := e.early[in.ID]; ok {
		if h.watched = early.watched; early.wanted > e.now() {
			e.answers.want(in.ID).wanted = early.wanted
		}
		delete(e.early, in.ID)
	}
	if h.undelivered {
		e.countUndelivered(*h.name, 1)
	}
	e.holds[in.ID] = h
	e.redraftLocked(h, in)
	e.count(h, in)
	e.enlist(h, peersOf(e.settings.Load().Jobs[*h.name], in))
	e.plan(h, due)
	if h.crowd != nil {
		h.crowd.ready.set(h, ready)
	}
}

// lastMoment is when something ends that does not end by itself.
func lastMoment(in *intent.Intent) time.Time {
	if in.Outgoing != nil {
		return in.Outgoing.Until
	}
	return in.Deadline
}

// intern returns the one copy of a job's name.
func (e *Engine) intern(n JobName) *JobName {
	if p, ok := e.names[n]; ok {
		return p
	}
	e.names[n] = &n
	return &n
}

// plan puts h into the heap for its next step: a poll, or its end. The caller
// holds e.mu.
func (e *Engine) plan(h *held, due moment) {
	at := min(max(due, h.floor), h.deadline)
	e.place(h, at)
	e.seat(h, at)
}

// place is the only way into the heap: what comes before the moment that the
// schedule sleeps until wakes it. The caller holds e.mu.
func (e *Engine) place(h *held, at moment) {
	e.queue.set(h, at)
	if at < e.alarm {
		e.wakeLocked()
	}
}

// forget ends responsibility for h. The caller holds e.mu.
func (e *Engine) forget(h *held) {
	e.queue.remove(h)
	e.undraft(h)
	e.enlist(h, crowdName{})
	e.setDelivered(h)
	e.discount(h)
	h.waiting = false
	delete(e.parked, h)
	if e.holds[h.lease.ID] == h {
		delete(e.holds, h.lease.ID)
	}
	e.tellSoon(h)
}

// setDelivered notes that the backend has what h stands for, or will not get it. The
// caller holds e.mu.
func (e *Engine) setDelivered(h *held) {
	if h.undelivered {
		h.undelivered = false
		e.countUndelivered(*h.name, -1)
	}
}

// A Polled is what is known of the polls of an intent. Zero times are those that
// there are not.
type Polled struct {
	Last      time.Time // when the last one began
	Next      time.Time // when the next is planned, or can be at the soonest
	Failures  int       // how many in a row have brought no reading
	Failing   time.Time // when the first of those began
	DownSince time.Time // since when polls of the job are held back, because its backend is down
}

// Polling tells what is known of the polls of an intent, and whether this engine holds it.
// If another one does, it is what that one has told; see AwaitPolling.
func (e *Engine) Polling(id intent.ID) (Polled, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h, ok := e.holds[id]
	if !ok {
		return e.polledElsewhere(id), false
	}
	p := Polled{Failures: int(h.failures)}
	if h.polled != never {
		p.Last = e.wall(h.polled)
	}
	if h.failures > 0 {
		p.Failing = e.wall(h.failing)
	}
	job := e.settings.Load().Jobs[*h.name]
	if job == nil {
		return p, true
	}
	_, c := e.circuitOf(job)
	if c.state == open {
		p.DownSince = e.wall(c.down)
	}
	switch {
	case h.busy:
	case h.waiting:
		p.Next = e.wall(c.soonest(e.now()))
	default:
		p.Next = e.wall(max(e.queue.slots[h.places[inSchedule]].at, c.soonest(0)))
	}
	return p, true
}
