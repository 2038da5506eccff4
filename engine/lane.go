package engine

import (
	"time"

	"golang.org/x/time/rate"
)

// A lane is the way to one backend: how many polls are on it, how fast they may
// follow each other, and who waits. Intents that somebody watches go first, so that
// a backlog of a million that nobody looks at delays no observer. It outlives
// generations: a reload does not double what a backend gets. Guarded by Engine.mu.
type lane struct {
	limit       *rate.Limiter
	inFlight    int
	running     int
	long        int   // of those, polls that wait at the backend
	delivering  int   // and submits that are delivered
	submits     queue // that are to be delivered
	watched     queue
	others      queue
	submitsTurn bool
	next        moment // when the rate lets the next poll pass; never if nobody waits for that
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

// laneOf returns the lane of a backend, with the limits that it has now.
func (e *Engine) laneOf(b *Backend) *lane {
	l, ok := e.lanes[b.Name]
	if !ok {
		l = &lane{limit: rate.NewLimiter(rate.Limit(b.Rate), burst(b.Rate)), next: never}
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
	switch {
	case h.undelivered:
		l.submits.push(h)
	case h.watched > now || h.deadline <= now || h.manner != usual:
		l.watched.push(h)
	default:
		l.others.push(h)
	}
	e.pump(l)
}

// hurry puts h, which waits already, before those that nobody watches. The caller
// holds e.mu.
func (e *Engine) hurry(h *held, b *Backend) { e.laneOf(b).watched.push(h) }

// pump starts the polls that have a place and that the rate lets pass. The caller
// holds e.mu.
func (e *Engine) pump(l *lane) {
	l.next = never
	for l.running < l.inFlight && e.ctx.Err() == nil {
		now := time.Now()
		turn := l.limit.ReserveN(now, 1)
		if wait := turn.DelayFrom(now); wait > 0 {
			turn.CancelAt(now)
			if l.next = e.now().add(wait); l.next < e.alarm {
				e.wakeLocked()
			}
			return
		}
		h := l.first()
		if h == nil {
			turn.CancelAt(now)
			return
		}
		e.run(l, h)
	}
}

// first takes out who goes next. Submits and the polls that somebody watches take
// turns; half of the lane is left to polls, or a backend that is slow to take submits
// would not be polled.
func (l *lane) first() *held {
	order := []*queue{&l.watched, &l.submits, &l.others}
	if l.submitsTurn = !l.submitsTurn; l.submitsTurn {
		order[0], order[1] = order[1], order[0]
	}
	for _, q := range order {
		if q == &l.submits && l.delivering >= max(l.inFlight/2, 1) {
			continue
		}
		if h := q.pop(); h != nil {
			return h
		}
	}
	return nil
}

// run starts the poll of h, and of those that go with it. The caller holds e.mu.
func (e *Engine) run(l *lane, h *held) {
	now := e.now()
	job := e.settings.Load().Jobs[*h.name]
	e.start(h)
	l.running++
	if h.undelivered {
		h.manner = delivers
		l.delivering++
		e.running.Go(func() { e.poll(l, h, now) })
		return
	}
	all, started := e.gather(h, job, now)
	if len(all) > 1 {
		e.running.Go(func() { e.pollTogether(l, all, started) })
		return
	}
	if e.mayWait(l, h, job, now) {
		h.manner = waits
		l.long++
	}
	e.running.Go(func() { e.poll(l, h, started) })
}

// start takes h out of all that it waits in. The caller holds e.mu.
func (e *Engine) start(h *held) {
	e.queue.remove(h)
	e.unseat(h)
	h.waiting, h.busy = false, true
}

// leave gives the place of a finished poll to the next one. The caller holds e.mu.
func (e *Engine) leave(l *lane) {
	l.running--
	e.pump(l)
}
