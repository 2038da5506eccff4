package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// An opening is an intent on its way into the store: what the answer to a submit
// made of it, and when it is to be polled first.
type opening struct {
	intent intent.Intent
	events []intent.Event
	pause  time.Duration
}

// open makes the job that the answer names an intent. What the answer says of the
// job's state comes with it.
func (x *exchange) open(r adapter.SubmitReading) opening {
	now := x.engine.store.Now()
	var in intent.Intent
	if x.reservation != nil {
		in = x.reservation.Intent
	} else {
		in = x.newIntent(now)
	}
	if body, whole := x.capture.whole(); whole {
		x.engine.sealBody(&in, body)
	}
	in, events := in.Begin(now)
	in, more := in.Deliver(r.Delivery, now)
	events = append(events, more...)
	in.Memory = r.Memory
	in.Sealed = x.engine.seal(x.submission.Job, in.ID, x.asked)
	x.engine.noteCredentials(x.submission.Job, x.asked)
	if r.Reading != nil {
		in, more = in.Apply(*r.Reading, now)
		events = append(events, more...)
	}
	o := opening{intent: in, events: events, pause: max(x.submission.Job.Pace.First, r.RetryAfter)}
	o.intent.Due = now.Add(o.pause)
	if in.Status.Terminal() {
		x.engine.close(&o.intent)
	}
	return o
}

// settle stores the opening, in place of the reservation if there is one, and sees
// to it that the intent is polled.
func (x *exchange) settle(o *opening, replay *store.Replay) error {
	ctx, cancel := x.storing()
	defer cancel()
	e := x.engine
	if x.reservation == nil {
		return e.create(ctx, o)
	}
	lease := x.reservation.Lease
	x.reservation = nil
	if o.intent.Outgoing != nil {
		return e.appendOrClearUp(ctx, lease, o, replay)
	}
	return e.pay(ctx, debt{lease.ID, func(ctx context.Context) error {
		err := e.store.Append(ctx, store.Change{Intent: o.intent, Epoch: lease.Epoch, Events: o.events, Replay: replay})
		if err == nil {
			e.follow(lease, o)
		}
		return err
	}})
}

// create stores the opening of a submit for which nothing was written ahead.
func (e *Engine) create(ctx context.Context, o *opening) error {
	held, err := e.store.Create(ctx, o.intent, o.events)
	if inDoubt(err) {
		taken, doubt := e.store.Take(ctx, o.intent.ID)
		switch {
		case doubt == nil:
			held, err = taken, nil
		case errors.Is(doubt, store.ErrEnded):
			err = nil
		case !settled(doubt):
			e.owe(e.findOut(o))
			err = fmt.Errorf("%w: %w", ErrInDoubt, err)
		}
	}
	if err == nil {
		e.follow(held.Lease, o)
	}
	return err
}

// findOut is what is due where the store left open whether it has the opening: it must
// not lie there with nobody to work on it.
func (e *Engine) findOut(o *opening) debt {
	return debt{o.intent.ID, func(ctx context.Context) error {
		taken, err := e.store.Take(ctx, o.intent.ID)
		switch {
		case err != nil:
			return err
		case o.intent.Outgoing != nil:
			return e.withdraw(ctx, taken.Lease, &o.intent)
		}
		e.follow(taken.Lease, o)
		return nil
	}}
}

// appendOrClearUp stores a submit to be delivered in place of the reservation of its key.
func (e *Engine) appendOrClearUp(ctx context.Context, lease store.Lease, o *opening, replay *store.Replay) error {
	change := store.Change{Intent: o.intent, Epoch: lease.Epoch, Events: o.events, Replay: replay}
	err := e.store.Append(ctx, change)
	doubt := inDoubt(err)
	if doubt {
		err = e.store.Append(ctx, change)
	}
	switch {
	case err == nil:
		e.follow(lease, o)
		return nil
	case !settled(err):
		e.owe(e.clearUp(lease, o))
	}
	if doubt {
		return fmt.Errorf("%w: %w", ErrInDoubt, err)
	}
	return err
}

// clearUp is what is due about a submit with a key of which the store did not say that it
// has it: what is no more than a reservation frees the key. The rest is delivered, because
// a repeat is told of it.
func (e *Engine) clearUp(lease store.Lease, o *opening) debt {
	return debt{lease.ID, func(ctx context.Context) error {
		err := e.store.Drop(ctx, lease.ID, lease.Epoch)
		if !errors.Is(err, store.ErrConflict) {
			return err
		}
		e.follow(lease, o)
		return nil
	}}
}

// withdraw sees to it that a submit which was not accepted is not delivered, although
// the store has it.
func (e *Engine) withdraw(ctx context.Context, lease store.Lease, in *intent.Intent) error {
	next, events := in.End(intent.Failed, intent.Details{Error: &intent.Error{Code: intent.CodeUndelivered, Category: intent.ByGateway, Retryable: true,
		Message: "it was refused, because the store did not say whether it has it"}}, e.store.Now())
	e.close(&next)
	if err := e.store.Append(ctx, store.Change{Intent: next, Epoch: lease.Epoch, After: in.Seq, Events: events}); err != nil {
		return err
	}
	e.reportEnd(&next)
	return nil
}

// follow has the intent polled, unless the answer to the submit was the end of it.
func (e *Engine) follow(lease store.Lease, o *opening) {
	if o.intent.Status.Terminal() {
		e.reportEnd(&o.intent)
		return
	}
	e.hold(lease, &o.intent, e.now().add(o.pause))
}

// storing bounds a write that a client waits for. It is made although the client, and
// the time that the backend had, may be gone: there is a job, or a key to be freed.
func (x *exchange) storing() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(x.ctx), storeTimeout)
}

// unreserve forgets the reservation of a request that made no job.
func (x *exchange) unreserve() {
	if x.reservation == nil {
		return
	}
	ctx, cancel := x.storing()
	defer cancel()
	lease := x.reservation.Lease
	x.reservation = nil
	failpoint.Hit(failpoint.Dropping)
	err := x.engine.pay(ctx, debt{lease.ID, func(ctx context.Context) error {
		return x.engine.store.Drop(ctx, lease.ID, lease.Epoch)
	}})
	if err != nil {
		x.engine.log().Error("forgetting a reservation", "intent", lease.ID, "err", err)
	}
}

// keyLife is how long an idempotency key is remembered at least.
const keyLife = 24 * time.Hour

// expiry is when an intent that ends at now may be removed.
func (e *Engine) expiry(in *intent.Intent, now time.Time) time.Time {
	at := now.Add(e.settings.Load().Retention)
	if keyed := in.Created.Add(keyLife); in.Key != "" && keyed.After(at) {
		return keyed
	}
	return at
}
