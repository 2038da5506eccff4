package engine

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
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
	now := time.Now()
	in := x.newIntent(now)
	if x.reservation != nil {
		in = x.reservation.Intent
	}
	if body, whole := x.capture.whole(); whole {
		in.Request, in.Captured = body, true
	}
	in, events := in.Begin(now)
	in, more := in.Deliver(r.Delivery, now)
	events = append(events, more...)
	in.Memory = r.Memory
	in.Sealed = x.engine.seal(x.submission.Job, in.ID, x.asked)
	if r.Reading != nil {
		in, more = in.Apply(*r.Reading, now)
		events = append(events, more...)
	}
	o := opening{intent: in, events: events, pause: max(x.submission.Job.Pace.First, r.RetryAfter)}
	o.intent.Due = now.Add(o.pause)
	if in.Status.Terminal() {
		o.intent.Expires = x.engine.expiry(&in, now)
		o.intent.Sealed = ""
	}
	return o
}

// settle stores the opening, in place of the reservation if there is one, and sees
// to it that the intent is polled.
func (x *exchange) settle(o *opening, replay *store.Replay) error {
	lease, err := x.store(o, replay)
	if err != nil {
		return err
	}
	if o.intent.Status.Terminal() {
		x.engine.reportEnd(&o.intent)
		return nil
	}
	x.engine.hold(lease, &o.intent, x.engine.now().add(o.pause))
	return nil
}

func (x *exchange) store(o *opening, replay *store.Replay) (store.Lease, error) {
	ctx, cancel := context.WithTimeout(x.ctx, storeTimeout)
	defer cancel()
	if x.reservation == nil {
		held, err := x.engine.store.Create(ctx, o.intent, o.events)
		return held.Lease, err
	}
	lease := x.reservation.Lease
	x.reservation = nil
	return lease, x.engine.store.Append(ctx, store.Change{Intent: o.intent, Epoch: lease.Epoch, Events: o.events, Replay: replay})
}

// unreserve forgets the reservation of a request that made no job.
func (x *exchange) unreserve() {
	if x.reservation == nil {
		return
	}
	ctx, cancel := context.WithTimeout(x.ctx, storeTimeout)
	defer cancel()
	if err := x.engine.store.Drop(ctx, x.reservation.ID, x.reservation.Epoch); err != nil {
		x.engine.log().Error("forgetting a reservation", "intent", x.reservation.ID, "err", err)
	}
	x.reservation = nil
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
