package engine

import (
	"context"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
)

// maxExpiring bounds how many intents are ended at the same time. After a night
// without power there can be any number whose deadline has passed.
const maxExpiring = 256

// beginExpiry has an intent ended whose deadline has passed. The caller holds e.mu.
func (e *Engine) beginExpiry(h *held) {
	if e.expiring == maxExpiring {
		e.overdue = append(e.overdue, h)
		return
	}
	e.expiring++
	e.running.Go(func() { e.expire(h) })
}

// expire ends an intent whose deadline has passed, and those that wait for that. The
// jobs at the backend go on. Its goroutine is joined by Stop.
func (e *Engine) expire(h *held) {
	for h != nil {
		h = e.expired(h, e.expireOnce(h))
	}
}

// expired plans what follows and returns the next one to end, nil if there is none.
func (e *Engine) expired(h *held, s step) (next *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest(h)
	if s.over {
		e.forget(h)
	} else {
		h.deadline = e.now().add(storeRetry)
		e.plan(h, h.deadline)
	}
	if len(e.overdue) == 0 {
		e.expiring--
		return nil
	}
	next, e.overdue = e.overdue[0], e.overdue[1:]
	return next
}

func (e *Engine) expireOnce(h *held) step {
	in, err := e.load(e.ctx, h)
	if err != nil {
		return e.storeFailed(h, step{}, err)
	}
	failpoint.Hit(failpoint.Expiring)
	if in.Outgoing != nil {
		return e.giveUp(e.ctx, h, step{}, &in)
	}
	next, events := in.End(intent.TimedOut, intent.Details{Error: deadlinePassed()}, e.store.Now())
	return e.append(e.ctx, h, step{}, in.Seq, next, events)
}

// cancelAtDeadline ends an intent that says so with a cancel at the backend, after
// one last poll, whose outcome in and events are. A backend that just used a word
// we do not know is left alone: the job may well be done.
func (e *Engine) cancelAtDeadline(ctx context.Context, job *Job, in intent.Intent, events []intent.Event) (intent.Intent, []intent.Event) {
	why := intent.Details{Error: deadlinePassed()}
	if in.UnknownState == "" {
		why.Backend = e.askCancel(ctx, job, &in, nil)
	}
	next, last := in.End(intent.TimedOut, why, e.store.Now())
	return next, append(events, last...)
}

func deadlinePassed() *intent.Error {
	return &intent.Error{
		Code:     intent.CodeDeadline,
		Message:  "the deadline of the intent passed before the backend said that the job is over",
		Category: intent.ByDeadline,
	}
}
