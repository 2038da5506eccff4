package engine

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
)

// A step is what a poll came to, as far as the schedule is concerned.
type step struct {
	job        *Job
	started    moment // when the backend was asked, or is about to be
	last       bool   // its deadline had passed when its turn came
	outcome    outcome
	retryAfter time.Duration // the backend's wish; 0 for none
	waited     bool          // the backend was asked to wait with its answer
	peers      crowdName     // who can share a request with it; zero for nobody
	anew       manner        // nothing was learnt: ask at once, like this; usual if not so
	aside      bool          // it was not asked after all: as before, now
	tookCancel bool          // what a client canceled meanwhile is stored
	delivered  bool          // the backend has the submit now
	doubt      bool          // it may have it from an earlier try
	extend     time.Duration // by so much its deadline is later than the end of its time in the queue
	next       time.Duration // when to go on, in place of what the pace says; 0 for that
	over       bool          // the intent has ended, or is not ours any more
	kept       bool          // it has ended, and the store has not taken that yet
	told       bool          // how it ended is the backend's word, and not ours
	health     health        // of the backend, as the request showed it
	again      time.Duration // the store did not take it: try again after this; 0 if it did
	took       time.Duration // until the backend had answered, or had not; 0 if it was not asked for this one alone
	shared     bool          // it was asked about in the request of another
	news       bool          // an event of it was stored
	unknown    bool          // the backend used a word that the config does not map
}

// poll asks the backend about the one whose turn it is and plans what follows. Its
// goroutine is joined by Stop.
func (e *Engine) poll(t turn, started moment) {
	h := t.h
	ctx, done := e.ctx, func() {}
	if h.manner != delivers { // a request that makes a job is not cut off
		ctx, done = e.during(h)
	}
	s := e.pollOnce(ctx, h, started)
	done()
	e.measure(h, &s)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.noteSlow(h, e.now().sub(started))
	if h.manner == waits {
		t.lane.long--
		delete(e.interrupts, h)
	}
	e.leave(t, s.verdict(h))
	e.finish(h, s)
}

// verdict is what a step says of the backend, which was asked about these.
func (s *step) verdict(about ...*held) verdict {
	v := verdict{health: s.health, started: s.started, retryAfter: s.retryAfter, about: about}
	if s.job != nil {
		v.pace = s.job.Pace
	}
	return v
}

// finish ends a step of h and plans what follows. The caller holds e.mu.
func (e *Engine) finish(h *held, s step) {
	e.rest(h)
	switch {
	case s.over:
		e.forget(h)
	case s.kept:
		e.await(h)
	case s.anew != usual && s.job != nil:
		h.manner = s.anew
		e.enlist(h, s.peers)
		e.enter(h, s.job.Backend, e.now())
	case s.aside && s.job != nil:
		e.enlist(h, s.peers)
		e.plan(h, e.now())
	default:
		e.settle(h, s)
	}
}

// await has h do nothing until its end is written. The caller holds e.mu.
func (e *Engine) await(h *held) {
	if h.draft != nil && len(h.draft.changes) > 0 {
		h.busy, h.ended = true, true
	} else { // it was written while the step came to its end
		e.forget(h)
	}
}

// settle notes the outcome of a poll and plans the next. The caller holds e.mu.
func (e *Engine) settle(h *held, s step) {
	now := e.now()
	manner := h.manner
	h.manner = usual
	if s.outcome != notPolled {
		h.polled = s.started
		h.floor = now.add(s.retryAfter)
		if s.retryAfter == 0 {
			h.floor = 0
		}
	}
	if s.again > 0 { // what was asked counts against the pace although nothing was stored of it
		due := now.add(s.again)
		if s.job != nil && s.outcome != notPolled {
			due = max(due, s.started.add(s.job.Pace.Interval))
		}
		e.plan(h, due)
		return
	}
	h.last = s.outcome
	switch {
	case s.outcome == answered:
		h.failures = 0
	case h.failures == 0:
		h.failing = s.started
		fallthrough
	default:
		h.failures++
	}
	if s.job == nil { // it went away meanwhile: park
		e.place(h, now)
		return
	}
	e.enlist(h, s.peers)
	if s.delivered {
		e.setDelivered(h)
		h.deadline, h.polled = h.deadline.add(s.extend), never
	}
	if s.next > 0 {
		e.plan(h, now.add(s.next))
		return
	}
	if manner == plainly && s.outcome == answered {
		e.stopWaiting(s.job, now)
	}
	if h.canceled {
		h.canceled = !s.tookCancel
		e.pollSoon(h)
		return
	}
	e.plan(h, max(e.due(h, s, now), now))
}

// due applies the pace: the plain interval while somebody watches; else, and as
// long as the backend does not answer, one that grows.
func (e *Engine) due(h *held, s step, now moment) moment {
	pace := s.job.Pace
	if s.waited && s.outcome == answered && now.sub(s.started) >= longEnough {
		h.interval = 0
		return now
	}
	if (s.outcome == answered || s.outcome == missing) && h.watched > now {
		h.interval = pace.watched()
		return h.crowd.inStep(s.started.add(h.interval), h.interval)
	}
	if h.interval == 0 {
		h.interval = pace.Interval
	} else {
		h.interval = pace.grow(h.interval)
	}
	due := s.started.add(pace.jittered(h.interval))
	if h.interval > pace.Interval {
		return due // others take it along
	}
	return h.crowd.inStep(due, h.interval)
}

// pollOnce asks the backend once and stores what it says.
func (e *Engine) pollOnce(ctx context.Context, h *held, started moment) step {
	s := step{started: started, last: started >= h.deadline, job: e.settings.Load().Jobs[*h.name]}
	if s.job == nil {
		return s
	}
	in, err := e.recall(ctx, h)
	if err != nil {
		return e.storeFailed(h, s, err)
	}
	if s.over = in.Status.Terminal(); s.over {
		return s
	}
	s.peers = peersOf(s.job, &in)
	s.started = e.asking(started)
	if in.Outgoing != nil {
		return e.deliverOnce(ctx, h, s, &in)
	}
	if h.manner == waits {
		return e.waitOnce(ctx, h, s, &in)
	}
	asked := e.now()
	answer, r, err := e.askStatus(ctx, s.job, &in)
	s.took = e.now().sub(asked)
	return e.accept(ctx, h, s, &in, said{code: answer.Code, answer: &answer, reading: r, err: err})
}

// asking is the moment at which a step that was started asks the backend. With a slow
// store that is much later, and the pause to the next request counts from it.
func (e *Engine) asking(started moment) moment {
	if now := e.now(); now.sub(started) > beatWidth {
		return now
	}
	return started
}

// accept stores what the backend said about the intent of h.
func (e *Engine) accept(ctx context.Context, h *held, s step, in *intent.Intent, q said) step {
	s.health = q.health()
	next, events, s := e.read(ctx, h, s, in, q)
	if ctx.Err() != nil {
		return s.cutOff()
	}
	e.remember(in, s.started, q)
	if s.last && !next.Status.Terminal() {
		next, events = e.cancelAtDeadline(ctx, s.job, next, events)
	}
	pause := max(s.job.Pace.Interval, s.retryAfter)
	if len(events) == 0 && !learnt(in, &next) && pause == s.job.Pace.Interval {
		return s
	}
	next.Due = e.wall(s.started.add(pause))
	failpoint.Hit(failpoint.Polled)
	return e.appendOrKeep(ctx, h, s, in.Seq, next, events)
}

// learnt reports whether next knows anything that the store does not. Most polls
// of a job that runs for an hour learn nothing, and cost no write.
func learnt(in, next *intent.Intent) bool {
	return next.Polling != in.Polling || next.Progress != in.Progress || next.Message != in.Message ||
		next.UnknownState != in.UnknownState || next.Waiting != in.Waiting
}

// cutOff is a step that came to nothing, since the engine stops or the lease is over:
// nothing that was read half may count.
func (s step) cutOff() step {
	s.health, s.again = unclear, storeRetry
	return s
}
