package engine

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
)

// expire ends an intent whose deadline has passed. The job at the backend goes on.
// Its goroutine is joined by Stop.
func (e *Engine) expire(h *held) {
	s := e.expireOnce(h)
	e.mu.Lock()
	defer e.mu.Unlock()
	h.busy = false
	if s.over {
		e.forget(h)
		return
	}
	h.deadline = e.now().add(storeRetry)
	e.plan(h, h.deadline)
}

func (e *Engine) expireOnce(h *held) step {
	in, err := e.store.Get(e.ctx, h.lease.ID)
	if err != nil {
		return e.storeFailed(h, step{}, err)
	}
	next, events := in.End(intent.TimedOut, intent.Details{Error: deadlinePassed()}, time.Now())
	return e.append(e.ctx, h, step{}, in.Seq, next, events)
}

// cancelAtDeadline ends an intent that says so with a cancel at the backend, after
// one last poll, whose outcome in and events are. A backend that just used a word
// we do not know is left alone: the job may well be done.
func (e *Engine) cancelAtDeadline(ctx context.Context, job *Job, in intent.Intent, events []intent.Event) (intent.Intent, []intent.Event) {
	why := intent.Details{Error: deadlinePassed()}
	if in.UnknownState == "" {
		why.Backend = e.cancelJob(ctx, job, &in)
	}
	next, last := in.End(intent.TimedOut, why, time.Now())
	return next, append(events, last...)
}

// cancelJob asks the backend to cancel and returns its answer as one word.
func (e *Engine) cancelJob(ctx context.Context, job *Job, in *intent.Intent) string {
	q, ok, err := job.Adapter.CancelRequest(in)
	if !ok {
		return ""
	}
	if err == nil {
		var answer adapter.Answer
		if answer, err = e.ask(ctx, job, in, q); err == nil {
			return job.Adapter.ReadCancel(answer).String()
		}
	}
	e.log().Warn("canceling a job at the backend", "intent", in.ID, "job", in.Job, "err", err)
	return adapter.CancelUnavailable.String()
}

func deadlinePassed() *intent.Error {
	return &intent.Error{
		Code:     intent.CodeDeadline,
		Message:  "the deadline of the intent passed before the backend said that the job is over",
		Category: intent.ByDeadline,
	}
}
