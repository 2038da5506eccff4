package engine

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// A Cancellation is somebody's wish that an intent end.
type Cancellation struct {
	Reason string      // for the event; may be empty
	Header http.Header // the requester's, to go with the request to the backend; nil for none
}

// These can be returned by [Engine.Cancel].
var (
	// ErrOver: the intent has ended, or the backend says that there is nothing to
	// cancel although its status does not say so (yet).
	ErrOver = errors.New("there is nothing to cancel any more")
	// ErrNotCanceled: the backend refused or did not answer. Nothing has changed.
	ErrNotCanceled = errors.New("the backend did not cancel the job")
)

// cancelTimeout bounds a cancel, the step that it has to wait for included.
const cancelTimeout = 5 * time.Second

// Cancel cancels the job at the backend and ends the intent as CANCELED, if the
// backend accepts or the config knows no way to cancel. If the backend says that
// the job is over, one poll tells how it ended, and that is the outcome. Cancel
// returns the intent as it then stands, also beside ErrOver.
func (e *Engine) Cancel(ctx context.Context, id intent.ID, c Cancellation) (intent.Intent, error) {
	ctx, done := context.WithTimeout(ctx, cancelTimeout)
	defer done()
	h, err := e.seize(ctx, id)
	if errors.Is(err, store.ErrEnded) {
		in, _ := e.store.Get(ctx, id) // for the answer only
		return in, ErrOver
	}
	if err != nil {
		return intent.Intent{}, err
	}
	in, s, err := e.cancelSeized(ctx, h, c)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest(h)
	if s.over {
		e.forget(h)
		return in, err
	}
	e.afterCancel(h, s)
	return in, err
}

// afterCancel goes on with an intent that a cancel did not end. If it was asked about,
// that was a poll as any other. The caller holds e.mu.
func (e *Engine) afterCancel(h *held, s step) {
	now, pace := e.now(), e.paceOf(*h.name)
	if s.outcome != notPolled {
		h.polled, h.floor = s.started, now.add(s.retryAfter)
	}
	last := h.polled
	if last == never {
		last = now
	}
	e.plan(h, max(last.add(pace.Interval), now))
}

// cancelSeized is Cancel while no other step of the intent can run.
func (e *Engine) cancelSeized(ctx context.Context, h *held, c Cancellation) (intent.Intent, step, error) {
	in, err := e.load(ctx, h)
	if err != nil {
		return in, e.storeFailed(h, step{}, err), err
	}
	if in.Status.Terminal() {
		return in, step{over: true}, ErrOver
	}
	job := e.settings.Load().Jobs[*h.name]
	if in.Outgoing != nil {
		return e.cancelUndelivered(ctx, h, in, c)
	}
	switch said := e.askCancel(ctx, job, &in, c.Header); said {
	case cancelNotConfigured, adapter.CancelAccepted.String():
		failpoint.Hit(failpoint.Canceling)
		next, events := in.End(intent.Canceled, intent.Details{Error: canceledBy(c), Backend: said}, e.store.Now())
		in, s, err := e.conclude(ctx, h, step{}, in, next, events)
		if err != nil && said != cancelNotConfigured {
			e.mu.Lock()
			h.canceled = true // the next poll stores it then
			e.mu.Unlock()
		}
		return in, s, err
	case adapter.CancelOver.String():
		return e.outcomeOf(ctx, h, job, in)
	default:
		return in, e.storeCancel(ctx, h, intent.CancelSent), fmt.Errorf("%w: %s", ErrNotCanceled, said)
	}
}

// cancelUndelivered ends an intent whose submit is never sent then. Of one that was
// sent without an answer nobody knows the job's name.
func (e *Engine) cancelUndelivered(ctx context.Context, h *held, in intent.Intent, c Cancellation) (intent.Intent, step, error) {
	said := "not_sent"
	if in.Outgoing.Sent {
		said = "unknown"
	}
	next, events := in.End(intent.Canceled, intent.Details{Error: canceledBy(c), Backend: said}, e.store.Now())
	return e.conclude(ctx, h, step{}, in, next, events)
}

// cancelNotConfigured stands for the backend's answer where it is not asked.
const cancelNotConfigured = "not_configured"

// askCancel cancels the job at the backend and returns its answer as one word.
func (e *Engine) askCancel(ctx context.Context, job *Job, in *intent.Intent, with http.Header) string {
	if job == nil {
		return cancelNotConfigured // it went from the config, and how to cancel with it
	}
	in = e.opened(job, in)
	q, ok, err := job.Adapter.CancelRequest(in)
	switch {
	case err != nil:
	case !ok:
		return cancelNotConfigured
	default:
		for name, values := range with {
			if _, own := q.Header[name]; !own {
				if q.Header == nil {
					q.Header = make(http.Header)
				}
				q.Header[name] = values
			}
		}
		var answer adapter.Answer
		if answer, err = e.ask(ctx, job, in, q); err == nil {
			if !isSick(answer.Code) {
				e.reached(job.JobName)
			}
			return job.Adapter.ReadCancel(in, answer).String()
		}
	}
	e.log().Warn("canceling a job at the backend", "intent", in.ID, "job", in.Job, "err", err)
	return adapter.CancelUnavailable.String()
}

// outcomeOf polls a job of which the backend says that it is over.
func (e *Engine) outcomeOf(ctx context.Context, h *held, job *Job, in intent.Intent) (intent.Intent, step, error) {
	s := step{started: e.now(), outcome: unavailable}
	_, r, err := e.askStatus(ctx, job, &in)
	s.retryAfter = r.RetryAfter
	if err != nil || r.Outcome != adapter.Readable || !r.Reading.Status.Terminal() {
		return in, s, ErrOver
	}
	if r.Fetch != nil {
		r.Reading = e.fetchResult(ctx, job, &in, *r.Fetch, r.Reading)
	}
	next, events := in.Apply(r.Reading, e.store.Now())
	return e.conclude(ctx, h, s, in, next, events)
}

// conclude stores how a canceled intent ended.
func (e *Engine) conclude(ctx context.Context, h *held, s step, in, next intent.Intent, events []intent.Event) (intent.Intent, step, error) {
	// How the job ended must be stored although the client may leave.
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer done()
	s = e.append(ctx, h, s, in.Seq, next, events)
	if !s.over {
		return in, s, fmt.Errorf("storing how %s ended: %w", in.ID, store.ErrUnavailable)
	}
	return next, s, nil
}

func canceledBy(c Cancellation) *intent.Error {
	return &intent.Error{Code: intent.CodeCanceled, Message: c.Reason, Category: intent.ByClient}
}

// seize waits until no step of an intent is under way, and keeps others from being
// started until rest. An intent that nobody here holds is taken.
func (e *Engine) seize(ctx context.Context, id intent.ID) (*held, error) {
	for {
		if err := e.writeKeptOf(ctx, id); err != nil {
			return nil, err
		}
		h, busy := e.trySeize(id)
		switch {
		case h == nil:
			if err := e.takeOver(ctx, id); err != nil {
				return nil, err
			}
			continue
		case busy == nil:
			return h, nil
		}
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: it does not answer the poll that is under way", ErrNotCanceled)
		}
	}
}

// takeOver holds an intent that nobody here holds, whoever else does.
func (e *Engine) takeOver(ctx context.Context, id intent.ID) error {
	if some, err := e.payDebtsOf(ctx, id); some || err != nil {
		return err // it is held again then, or over
	}
	taken, err := e.store.Take(ctx, id)
	if err == nil {
		e.hold(taken.Lease, &taken.Intent, e.now())
	}
	return err
}

// trySeize returns the held intent if there is one, and what is closed when its
// step is over if one is under way.
func (e *Engine) trySeize(id intent.ID) (*held, <-chan struct{}) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.holds[id]
	if h != nil && !h.busy && e.lost(h) {
		e.forget(h)
		h = nil
	}
	if h == nil {
		return nil, nil
	}
	if h.busy {
		e.interrupt(h)
		if e.resting[h] == nil {
			e.resting[h] = make(chan struct{})
		}
		return h, e.resting[h]
	}
	e.start(h)
	delete(e.parked, h)
	return h, nil
}

// Quiet waits until no step of an intent is under way. An observer can hear of an end
// while the poll that brought it is not through yet.
func (e *Engine) Quiet(ctx context.Context, id intent.ID) {
	e.mu.Lock()
	h := e.holds[id]
	if h == nil || !h.busy {
		e.mu.Unlock()
		return
	}
	if e.resting[h] == nil {
		e.resting[h] = make(chan struct{})
	}
	over := e.resting[h]
	e.mu.Unlock()
	select {
	case <-over:
	case <-ctx.Done():
	}
}

// rest notes that a step of h is over, and lets go whoever waits for that. The
// caller holds e.mu.
func (e *Engine) rest(h *held) {
	h.busy = false
	e.tellSharers(h)
	e.tellNews(h.lease.ID)
	e.tellSoon(h)
	if waits := e.resting[h]; waits != nil {
		close(waits)
		delete(e.resting, h)
	}
}
