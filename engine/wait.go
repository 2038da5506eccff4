package engine

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
)

// longEnough is how long an answer has to take for the next poll to follow at once:
// the backend did wait. After a quicker one the interval counts, or a backend that
// ignores the query would be asked without a pause.
const longEnough = time.Second

// mayWait reports whether this poll may wait at the backend. Half of the lane
// is left to those that do not wait, and half of the rest to those that somebody
// watches. What failed is asked plainly until it is answered, and so is what somebody
// waits for already. The caller holds e.mu.
func (e *Engine) mayWait(t turn, job *Job, now moment) bool {
	l, h := t.lane, t.h
	if t.circuit == nil || t.circuit.state != closed {
		return false // whether the backend works is to be known soon
	}
	if job == nil || !job.Adapter.Waits() || h.manner != usual || h.failures > 0 || h.deadline <= now || e.resting[h] != nil {
		return false
	}
	room := l.inFlight / 2
	if h.watched <= now {
		room /= 2
	}
	return l.long < room && e.lesson(job.JobName).noWait <= now
}

var errInterrupted = errors.New("somebody wants to cancel the job")

// retryCut is the pause after a poll was cut that waited at the backend.
const retryCut = time.Second

// waitOnce is pollOnce with a request that the backend is to answer when there is
// something new. The deadline cuts it.
func (e *Engine) waitOnce(ctx context.Context, h *held, s step, in *intent.Intent) step {
	s.waited = true
	plain, err := e.statusRequest(s.job, in)
	if err != nil {
		return e.accept(ctx, h, s, in, said{err: err})
	}
	wait, done := e.interruptible(ctx, h, s.job.Adapter.WaitTimeout(s.job.Pace.Timeout))
	defer done()
	asked := e.now()
	answer, err := e.askUntil(wait, s.job, in, s.job.Adapter.WaitRequest(plain))
	s.took = e.now().sub(asked)
	switch {
	case ctx.Err() != nil:
		return s.cutOff()
	case e.now() >= h.deadline, errors.Is(context.Cause(wait), errInterrupted):
		s.again = retryCut
		return s
	case wait.Err() != nil, err == nil && refusesToWait(answer.Code):
		s.anew = plainly
		return s
	case err != nil:
		return e.accept(ctx, h, s, in, said{err: err})
	}
	r := s.job.Adapter.ReadPoll(e.opened(s.job, in), answer)
	e.keep(in, plain, answer, r, s.started)
	return e.accept(ctx, h, s, in, said{code: answer.Code, answer: &answer, reading: r})
}

// interruptible gives a poll of h that waits its limit.
func (e *Engine) interruptible(ctx context.Context, h *held, limit time.Duration) (context.Context, func()) {
	limit = min(limit, h.deadline.sub(e.now()))
	ctx, stop := context.WithTimeout(ctx, limit)
	ctx, cancel := context.WithCancelCause(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.interrupts[h] = cancel
	if e.resting[h] != nil {
		cancel(errInterrupted)
	}
	return ctx, func() { cancel(nil); stop() }
}

// interrupt ends the poll of h that waits at the backend, if it is one. The caller
// holds e.mu.
func (e *Engine) interrupt(h *held) {
	if cancel := e.interrupts[h]; cancel != nil {
		cancel(errInterrupted)
	}
}

// refusesToWait tells answers that the query may be to blame for from those about
// the backend's health. A plain poll then shows whether it was.
func refusesToWait(code int) bool {
	switch code {
	case http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented, http.StatusGatewayTimeout:
		return true
	}
	return code >= 400 && code < 500
}

// stopWaiting has the job polled without waiting for a while: what was refused with
// the query was answered without it. The caller holds e.mu.
func (e *Engine) stopWaiting(job *Job, now moment) {
	e.lesson(job.JobName).noWait = now.add(lessonLasts)
	if e.told.first("wait", job.Scope, job.Name) {
		e.log().Warn("the backend does not wait with its answers; it is polled by the interval",
			"job", job.Name, "for", lessonLasts, "check", "poll wait")
	}
}
