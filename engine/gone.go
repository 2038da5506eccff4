package engine

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// miss counts how long the backend has not known a job, and ends the intent when
// that is past its grace: an API may show a job later than it has named it. What it
// says is gone is gone at once.
func (e *Engine) miss(h *held, s step, in intent.Intent, r adapter.PollReading) (intent.Intent, []intent.Event) {
	e.log().Debug("the backend does not know the job", "intent", in.ID, "job", in.Job, "reason", r.Reason, "attempt", h.failures+1)
	if h.last == missing {
		in.Missing += s.started.sub(h.polled)
	}
	if r.Outcome != adapter.Gone && in.Missing < s.job.Pace.Grace {
		return in, nil
	}
	return goneAs(in, r.Reason, e.store.Now())
}

// goneAs ends an intent whose job the backend does not know (any more): as what the
// cancel made of it, if there was one.
func goneAs(in intent.Intent, reason string, now time.Time) (intent.Intent, []intent.Event) {
	if in.Cancel != "" {
		return in.End(intent.Canceled, intent.Details{Error: &intent.Error{
			Code:     intent.CodeCanceled,
			Message:  "the backend does not know the job any more, after a cancel was sent to it: " + reason,
			Category: intent.ByClient,
		}}, now)
	}
	return in.End(intent.Failed, intent.Details{Error: &intent.Error{
		Code:     intent.CodeJobLost,
		Message:  "the backend does not know the job (any more): " + reason,
		Category: intent.ByProtocol,
	}}, now)
}

// NoteCancel notes that a client has canceled a job at the backend, past us, and the
// backend took it: what the job becomes is read in that light, and soon. It is called
// before the client learns of the backend's answer, and it does nothing if the job
// has no running intent.
func (e *Engine) NoteCancel(ctx context.Context, scope, statusURL string) {
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer done()
	id, err := e.store.ByJob(ctx, store.JobKey{Scope: scope, StatusURL: statusURL})
	if err != nil {
		return // unknown jobs are canceled too
	}
	e.Void(id)
	h, busy := e.trySeize(id)
	if h == nil && e.ledger != nil && e.takeOver(ctx, id) == nil {
		h, busy = e.trySeize(id)
	}
	switch {
	case h == nil:
		return
	case busy != nil:
		e.mu.Lock()
		h.canceled = true
		e.mu.Unlock()
		return
	}
	s := e.storeCancel(ctx, h, intent.CancelTaken)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest(h)
	if s.over {
		e.forget(h)
		return
	}
	h.canceled = s.again > 0 // the next poll stores it then
	e.pollSoon(h)
}

// storeCancel stores what is known of a cancel while no step of h is under way.
func (e *Engine) storeCancel(ctx context.Context, h *held, c intent.Cancel) step {
	in, err := e.load(ctx, h)
	if err != nil {
		return e.storeFailed(h, step{}, err)
	}
	if in.Cancel == c || in.Cancel == intent.CancelTaken {
		return step{over: in.Status.Terminal()}
	}
	in.Cancel = c
	return e.append(ctx, h, step{over: in.Status.Terminal()}, in.Seq, in, nil)
}

// takeCancel lets the step under way store a cancel that came during it.
func (e *Engine) takeCancel(h *held, in *intent.Intent) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.canceled {
		in.Cancel = intent.CancelTaken
	}
	return h.canceled
}

// pollSoon pulls the next poll forward, as the first watcher does: to one interval
// after the last. The caller holds e.mu.
func (e *Engine) pollSoon(h *held) {
	pace := e.paceOf(*h.name)
	h.interval = 0
	due := e.now()
	if h.polled != never {
		due = max(due, h.polled.add(pace.watched()))
	}
	e.plan(h, due)
}
