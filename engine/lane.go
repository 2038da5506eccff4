package engine

import (
	"slices"
	"time"

	"golang.org/x/time/rate"
)

// A lane is the way to one backend: how many polls are on it, how fast they may
// follow each other, and who waits. Intents that somebody watches go first, so that
// a backlog of a million that nobody looks at delays no observer; jobs take turns, so
// that the backlog of one does not delay the others. It outlives generations: a reload
// does not double what a backend gets, and a backend that is down stays known as such.
// Guarded by Engine.mu.
type lane struct {
	limit    *rate.Limiter
	inFlight int
	running  int        // requests that have a place
	long     int        // of those, polls that wait at the backend
	sent     sent       // and submits that are delivered
	sendings []*sending // those that have a place
	retries  budget
	circuits map[*JobName]*circuit
	order    []*circuit // whose turn it is first
	ends     queue      // those whose deadline has passed: no breaker keeps them from their end
	ending   int        // of the running, those
	probe    moment     // no job's breaker may probe before
	turns    int        // given so far
	next     moment     // when the next poll may pass that may not now; never if nobody waits for that
}

// probeGap is between the probes of all the jobs of a backend: however many they are,
// one that is down gets no more.
const probeGap = time.Second

// A turn is a place on a lane.
type turn struct {
	lane    *lane
	circuit *circuit // nil for an end
	h       *held
	retry   bool
	probe   bool
	sending *sending // nil for a poll
}

// A queue is first in, first out. An entry that waits no more, because its turn
// came in another queue or its deadline did, is skipped.
type queue struct{ entries []*held }

func (q *queue) push(h *held) { q.entries = append(q.entries, h) }

func (q *queue) pop() *held {
	for len(q.entries) > 0 {
		h := q.entries[0]
		q.entries[0] = nil
		q.entries = q.entries[1:]
		if h.waiting {
			return h
		}
	}
	q.entries = nil
	return nil
}

// empty forgets entries at the front that wait no more.
func (q *queue) empty() bool {
	for len(q.entries) > 0 && !q.entries[0].waiting {
		q.entries[0] = nil
		q.entries = q.entries[1:]
	}
	return len(q.entries) == 0
}

// laneOf returns the lane of a backend, with the limits that it has now.
func (e *Engine) laneOf(b *Backend) *lane {
	l, ok := e.lanes[b.Name]
	if !ok {
		l = &lane{
			limit:    rate.NewLimiter(rate.Limit(b.Rate), burst(b.Rate)),
			retries:  budget{tokens: budgetTokens, at: e.now()},
			circuits: make(map[*JobName]*circuit),
			next:     never,
		}
		e.lanes[b.Name] = l
	}
	l.inFlight = b.InFlight
	if l.limit.Limit() != rate.Limit(b.Rate) {
		now := time.Now()
		l.limit.SetLimitAt(now, rate.Limit(b.Rate))
		l.limit.SetBurstAt(now, burst(b.Rate))
	}
	return l
}

// burst lets a tenth of a second's polls go at once: what comes due together need
// not be spread more finely than that.
func burst(r float64) int { return max(1, int(r/10)) }

// enter lets h wait for its turn on the lane. Its deadline stays in the heap. The
// caller holds e.mu.
func (e *Engine) enter(h *held, b *Backend, now moment) {
	l := e.laneOf(b)
	h.waiting = true
	if h.deadline > now {
		e.place(h, h.deadline)
	}
	switch c := l.circuitOf(h.name); {
	case h.deadline <= now:
		l.ends.push(h)
	case h.undelivered:
		c.submits.push(h)
	case isRetry(h):
		c.retries.push(h)
	case h.watched > now || h.manner != usual:
		h.ahead = true
		c.watched.push(h)
	default:
		c.others.push(h)
	}
	e.pump(l)
}

// isRetry reports whether the last poll of h failed.
func isRetry(h *held) bool { return h.last == unavailable }

// hurry puts h, which waits already, before those that nobody watches. A retry is not
// spared its budget. The caller holds e.mu.
func (e *Engine) hurry(h *held, b *Backend) {
	if !h.ahead && !isRetry(h) {
		h.ahead = true
		e.laneOf(b).circuitOf(h.name).watched.push(h)
	}
}

// pump starts what has a place and what the rate and the breakers let pass. The caller
// holds e.mu.
func (e *Engine) pump(l *lane) {
	l.outlast(e.now())
	e.pumpAt(l, min(e.startTurns(l), l.soonestOutlast()))
}

// startTurns gives turns for as long as there are, and returns when there may be one by
// time alone.
func (e *Engine) startTurns(l *lane) moment {
	for l.running < l.places() && e.ctx.Err() == nil {
		now := time.Now()
		place := l.limit.ReserveN(now, 1)
		if wait := place.DelayFrom(now); wait > 0 {
			place.CancelAt(now)
			return e.now().add(wait)
		}
		t, ok := l.take(e.now())
		if !ok {
			place.CancelAt(now)
			return l.soonest(e.now())
		}
		e.run(t)
	}
	return never
}

// pumpAt has the schedule pump again at a moment. The caller holds e.mu.
func (e *Engine) pumpAt(l *lane, at moment) {
	if l.next = at; at < e.alarm {
		e.wakeLocked()
	}
}

// take gives the next one who waits its turn, if there is one who may go. Retries are
// first, since their budget keeps them few and might else never come. Submits and the
// polls that somebody watches take turns.
//
// Where the backend is down or just back, polls that have not failed find out whether
// it works, and a submit only if nobody else can: one that is not answered may be lost.
func (l *lane) take(now moment) (turn, bool) {
	if !l.mayPoll() {
		return l.takeSubmit(now, closed, releasing)
	}
	if l.ending < max(1, l.inFlight/2) { // the end of ten thousand must not keep the others from being asked about
		if h := l.ends.pop(); h != nil {
			l.running++
			l.ending++
			return turn{lane: l, h: h}, true
		}
	}
	if t, ok := l.takeRetry(now, closed); ok {
		return t, true
	}
	if l.turns++; l.turns%2 == 0 {
		if t, ok := l.takeSubmit(now, closed, releasing); ok {
			return t, true
		}
	}
	if t, ok := l.takeFrom(now, toWatched, closed, releasing, open); ok {
		return t, true
	}
	if t, ok := l.takeSubmit(now, closed, releasing); ok {
		return t, true
	}
	if t, ok := l.takeFrom(now, toOthers, closed, releasing, open); ok {
		return t, true
	}
	if t, ok := l.takeRetry(now, releasing); ok {
		return t, true
	}
	if t, ok := l.takeFrom(now, toRetries, open); ok { // one at a time needs no budget
		return t, true
	}
	return l.takeSubmit(now, open)
}

func toWatched(c *circuit) *queue { return &c.watched }
func toOthers(c *circuit) *queue  { return &c.others }
func toRetries(c *circuit) *queue { return &c.retries }

// takeSubmit is takeFrom for submits, within what they may have of the lane.
func (l *lane) takeSubmit(now moment, states ...breakerState) (turn, bool) {
	var nobody queue
	return l.takeFrom(now, func(c *circuit) *queue {
		if !l.maySend(c) {
			return &nobody
		}
		return &c.submits
	}, states...)
}

// takeRetry is takeFrom for retries, within their budget.
func (l *lane) takeRetry(now moment, state breakerState) (turn, bool) {
	if !l.retries.allows(now, l) {
		return turn{}, false
	}
	t, ok := l.takeFrom(now, toRetries, state)
	if ok {
		l.retries.begin()
		t.retry = true
	}
	return t, ok
}

// takeFrom gives the turn to the first job in one of these states that may have one and
// has somebody in that queue, and puts it last.
func (l *lane) takeFrom(now moment, which func(*circuit) *queue, states ...breakerState) (turn, bool) {
	for i, c := range l.order {
		if !slices.Contains(states, c.state) || c.state == open && now < l.probe || !c.admits(now) {
			continue
		}
		h := which(c).pop()
		if h == nil {
			continue
		}
		copy(l.order[i:], l.order[i+1:])
		l.order[len(l.order)-1] = c
		t := turn{lane: l, circuit: c, h: h, probe: c.begin(now)}
		if t.probe {
			l.probe = now.add(probeGap)
		}
		l.running++
		return t, true
	}
	return turn{}, false
}

// soonest is when somebody may go who may not now, by time alone.
func (l *lane) soonest(now moment) moment {
	at := never
	for _, c := range l.order {
		switch {
		case c.state == open && !c.probing && l.mayPoll() && (c.polls() || l.maySend(c) && !c.submits.empty()):
			at = min(at, max(c.probe, l.probe))
		case c.state != open && l.mayPoll() && !c.retries.empty() && c.admits(now):
			at = min(at, l.retries.next(now, l))
		}
	}
	return at
}

// run starts the poll whose turn it is, and those that go with it. The caller holds
// e.mu.
func (e *Engine) run(t turn) {
	now, h := e.now(), t.h
	job := e.settings.Load().Jobs[*h.name]
	e.start(h)
	if h.undelivered {
		h.manner = delivers
		t.sending = t.lane.send(t, now, e.paceOf(*h.name))
		e.running.Go(func() { e.poll(t, now) })
		return
	}
	all, started := e.gather(h, job, now)
	if t.circuit != nil {
		t.circuit.excuse(all)
	}
	if len(all) > 1 {
		e.running.Go(func() { e.pollTogether(t, all, started) })
		return
	}
	if e.mayWait(t, job, now) {
		h.manner = waits
		t.lane.long++
	}
	e.running.Go(func() { e.poll(t, started) })
}

// start takes h out of all that it waits in. The caller holds e.mu.
func (e *Engine) start(h *held) {
	e.queue.remove(h)
	e.unseat(h)
	h.waiting, h.ahead, h.busy = false, false, true
	e.tellOfSlow(h)
}

// leave notes what a poll or a delivery came to and gives its place, if it still has it,
// to the next one. The caller holds e.mu.
func (e *Engine) leave(t turn, v verdict) {
	placed := t.sending == nil || t.lane.arrive(t.sending)
	if t.sending == nil {
		t.lane.running--
	}
	t.lane.retries.finish(t.retry, v.health)
	switch {
	case t.circuit == nil:
		t.lane.ending--
	case placed:
		e.change(t.lane, t.circuit, func(now moment) { t.circuit.finish(now, t.probe, v) })
	default:
		e.change(t.lane, t.circuit, func(now moment) { t.circuit.note(now, false, v) })
	}
	e.pump(t.lane)
}
