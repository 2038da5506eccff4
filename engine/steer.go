package engine

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// These can be returned by [Engine.PollNow].
var (
	// ErrNoJob: the current settings do not have the intent's job.
	ErrNoJob = errors.New("the config does not have this job: nobody knows how to ask for it")
	// ErrNotYet: the poll has not come to its end, or could not begin yet. It is planned.
	ErrNotYet = errors.New("the poll is planned and not over yet")
)

// PollNow has an intent polled without waiting for when that is due, and returns when
// the poll is over or ctx ends. The limits of the backend count, its Retry-After and its
// breaker too: a backend that is down is probed. Of a submit that is to be delivered it
// is the next try. An intent that has ended is store.ErrEnded.
func (e *Engine) PollNow(ctx context.Context, id intent.ID) error {
	in, err := e.store.Get(ctx, id)
	switch {
	case err != nil:
		return err
	case in.Status.Terminal():
		return store.ErrEnded
	case e.Job(JobName{Scope: in.Scope, Name: in.Job}) == nil:
		return ErrNoJob
	}
	over := e.summon(id)
	if over == nil {
		if err := e.takeOver(ctx, id); err != nil {
			return err
		}
		if over = e.summon(id); over == nil {
			return ErrNotYet // it ended, or went on, as it arrived here
		}
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		return ErrNotYet
	}
}

// summon plans a step of an intent for now and returns what is closed when it, or the
// one under way, is over; nil if nobody here holds the intent.
func (e *Engine) summon(id intent.ID) <-chan struct{} {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := e.holds[id]
	if h == nil || !h.busy && e.lost(h) {
		return nil
	}
	job := e.settings.Load().Jobs[*h.name]
	if job != nil && !h.busy {
		e.prefer(h, job)
	}
	if e.resting[h] == nil {
		e.resting[h] = make(chan struct{})
	}
	return e.resting[h]
}

// prefer has h, which is at rest, asked about next. It is asked alone, since what the
// backend says of one among many is not remembered. The caller holds e.mu.
func (e *Engine) prefer(h *held, job *Job) {
	if h.crowd != nil && h.manner == usual {
		h.manner = alone
	}
	l, c := e.circuitOf(job)
	c.hurry()
	if h.waiting {
		e.hurry(h, job.Backend)
	} else {
		due := e.now()
		if h.polled != never {
			due = max(due, h.polled.add(min(pressGap, job.Pace.Interval)))
		}
		e.plan(h, due)
	}
	e.pump(l)
}

// pressGap is between two polls of an intent, however often an operator asks for one.
const pressGap = time.Second

// An Ending is an operator's word that an intent is over.
type Ending struct {
	Status   intent.Status   // FAILED or CANCELED; default CANCELED
	Reason   string          // for the event
	Category intent.Category // whose error it is; default client
}

// End ends an intent without a word to the backend, whose job goes on. It returns the
// intent as it then stands. One that has ended is ErrOver.
func (e *Engine) End(ctx context.Context, id intent.ID, w Ending) (intent.Intent, error) {
	h, err := e.seize(ctx, id)
	switch {
	case errors.Is(err, store.ErrEnded):
		in, _ := e.store.Get(ctx, id) // for the answer only
		return in, ErrOver
	case err != nil:
		return intent.Intent{}, err
	}
	in, s, err := e.endSeized(ctx, h, w)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.rest(h)
	if s.over {
		e.forget(h)
	} else {
		e.pollSoon(h)
	}
	return in, err
}

// endSeized is End while no step of the intent can run.
func (e *Engine) endSeized(ctx context.Context, h *held, w Ending) (intent.Intent, step, error) {
	in, err := e.load(ctx, h)
	switch {
	case err != nil:
		return in, e.storeFailed(h, step{}, err), err
	case in.Status.Terminal():
		return in, step{over: true}, ErrOver
	}
	next, events := in.End(cmp.Or(w.Status, intent.Canceled), intent.Details{Error: &intent.Error{
		Code:     intent.CodeOperator,
		Message:  cmp.Or(w.Reason, "an operator ended it"),
		Category: cmp.Or(w.Category, intent.ByClient),
	}}, e.store.Now())
	return e.conclude(ctx, h, step{}, in, next, events)
}
