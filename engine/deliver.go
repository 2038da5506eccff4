package engine

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/adapter"
	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// How long the backend may take for the answer to one try, and for how much of that a
// try may go on when the engine stops: what is cut off then may be at the backend or
// not.
const (
	tryTimeout = 5 * time.Minute
	tryLinger  = 5 * time.Second
)

// deliverOnce tries to give the backend the submit that an intent stands for.
func (e *Engine) deliverOnce(ctx context.Context, h *held, s step, in *intent.Intent) step {
	if s.started >= h.deadline {
		return e.giveUp(ctx, h, s, in)
	}
	kept, err := e.openHead(in)
	switch {
	case err != nil:
		e.log().Error("a submit that waits cannot be opened with this secret", "intent", in.ID, "job", in.Job, "err", err)
		why := intent.Error{Code: intent.CodeUndelivered, Category: intent.ByGateway, Message: "what was kept of the request cannot be opened any more"}
		if in.Outgoing.Sent {
			why = uncertain(why.Message)
		}
		return e.endDelivery(ctx, h, s, in, why)
	case in.Outgoing.Sent && kept.Header.Get(keyHeader) == "": // by what should it be known again
		return e.endDelivery(ctx, h, s, in, uncertain("the request was sent without a key, and its answer was not received"))
	}
	// From here on the backend may have it: what becomes of that is read and stored
	// although the engine stops.
	try, done := outlive(ctx, tryLinger)
	defer done()
	ctx = context.WithoutCancel(ctx)
	if in.Outgoing.Sent {
		failpoint.Hit(failpoint.Clarifying)
		if s.job.onUncertain() == UncertainLooksUp { // it counts as a try, or nothing would bound how often it is asked
			asked := *in
			asked.Attempts++
			if s = e.append(ctx, h, s, in.Seq, asked, nil); s.over || s.again > 0 {
				return s
			}
			in = &asked
		}
		d := e.clarify(try, &s, in, kept)
		if d.Outcome != adapter.Undelivered {
			return e.conclusion(ctx, h, s, in, d)
		}
		s.doubt = s.job.onUncertain() == UncertainResubmits // nobody has asked
	}
	begun := *in
	begun.Attempts++
	begun.Outgoing = &intent.Outgoing{Head: in.Outgoing.Head, Until: in.Outgoing.Until, Sent: true}
	failpoint.Hit(failpoint.Marking)
	// What is not known to be stored as sent must not be sent.
	if s = e.append(ctx, h, s, in.Seq, begun, nil); s.over || s.again > 0 {
		return s
	}
	failpoint.Hit(failpoint.Marked)
	left := h.deadline.sub(e.now()) + in.Deadline.Sub(in.Outgoing.Until)
	d := e.try(try, &s, &begun, kept, min(tryTimeout, left))
	failpoint.Hit(failpoint.Tried)
	return e.conclusion(ctx, h, s, &begun, d)
}

// try sends the request once. What is not answered within its limit is uncertain.
func (e *Engine) try(ctx context.Context, s *step, in *intent.Intent, kept head, limit time.Duration) adapter.DeliveryReading {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	job := s.job
	answer, err := e.askUntil(ctx, job, in, kept.request())
	s.health = healthBy(answer.Code, err)
	switch {
	case errors.Is(err, ErrNotSent), errors.Is(err, errNoPath):
		return adapter.DeliveryReading{Outcome: adapter.Postponed, Reason: "the backend could not be reached"}
	case err != nil:
		e.log().Debug("delivering a submit", "intent", in.ID, "job", in.Job, "attempt", in.Attempts, "err", err)
		return adapter.DeliveryReading{Outcome: adapter.Uncertain, Reason: "the request was sent and its answer was not received"}
	}
	d := job.Adapter.ReadDelivery(kept.submitted(job, in), answer)
	if d.Outcome == adapter.Delivered {
		e.warnInferred(job, d.Submit)
	}
	return d
}

// submitted is the request as reading its answer needs it.
func (h head) submitted(job *Job, in *intent.Intent) adapter.Submitted {
	u := h.path()
	params, _ := job.Adapter.MatchSubmit(h.Method, u)
	return adapter.Submitted{Params: params, Body: h.body, Host: in.Host, Scheme: in.Scheme, Path: u}
}

// clarify finds out what became of the last try. Undelivered says that it can be made
// again.
func (e *Engine) clarify(ctx context.Context, s *step, in *intent.Intent, kept head) adapter.DeliveryReading {
	job := s.job
	switch uncertain := job.onUncertain(); {
	case uncertain == UncertainResubmits:
		return adapter.DeliveryReading{Outcome: adapter.Undelivered}
	case uncertain == UncertainLooksUp && job.Adapter.LooksUp():
		q, err := job.Adapter.LookupRequest(e.opened(job, in), kept.Header.Get(keyHeader))
		if err != nil {
			return adapter.DeliveryReading{Outcome: adapter.Uncertain, Reason: err.Error()}
		}
		answer, err := e.ask(ctx, job, in, q)
		s.health = healthBy(answer.Code, err)
		if err != nil {
			return adapter.DeliveryReading{Outcome: adapter.Uncertain, Reason: "the backend could not be asked for the job"}
		}
		return job.Adapter.ReadLookup(kept.submitted(job, in), answer)
	}
	return adapter.DeliveryReading{Outcome: adapter.Uncertain, Reason: "the request was sent and its answer was not received"}
}

func (j *Job) onUncertain() Uncertain {
	if j.Queue == nil {
		return DefaultQueue.OnUncertain
	}
	return j.Queue.OnUncertain
}

// conclusion stores what a try came to.
func (e *Engine) conclusion(ctx context.Context, h *held, s step, in *intent.Intent, d adapter.DeliveryReading) step {
	switch {
	case d.Outcome == adapter.Delivered:
		return e.delivered(ctx, h, s, in, d)
	case d.Outcome == adapter.Undelivered && s.doubt:
		return e.endDelivery(ctx, h, s, in, uncertain("it was sent again, and "+d.Reason))
	case d.Outcome == adapter.Undelivered && d.Refused:
		return e.endDelivery(ctx, h, s, in, intent.Error{Code: intent.CodeRefused, Message: d.Reason, Category: intent.ByBackend})
	case d.Outcome == adapter.Undelivered:
		return e.endDelivery(ctx, h, s, in, intent.Error{Code: intent.CodeNoJob, Message: d.Reason, Category: intent.ByProtocol})
	case d.Outcome == adapter.Uncertain && s.job.onUncertain() == UncertainFails:
		return e.endDelivery(ctx, h, s, in, uncertain(d.Reason))
	case in.Envelope != nil && in.Envelope.MaxAttempts > 0 && in.Attempts >= in.Envelope.MaxAttempts:
		why := intent.Error{Code: intent.CodeUndelivered, Message: d.Reason, Category: intent.ByBackend, Retryable: true}
		if d.Outcome == adapter.Uncertain || s.doubt {
			why = uncertain(d.Reason)
		}
		return e.endDelivery(ctx, h, s, in, why)
	}
	return e.tryLater(ctx, h, s, in, d)
}

// delivered makes the intent one that is polled.
func (e *Engine) delivered(ctx context.Context, h *held, s step, in *intent.Intent, d adapter.DeliveryReading) step {
	now := e.store.Now()
	next := *in
	next.Outgoing = nil
	next.Memory = d.Submit.Memory
	next, events := next.Deliver(d.Submit.Delivery, now)
	if d.Submit.Reading != nil {
		var more []intent.Event
		next, more = next.Apply(*d.Submit.Reading, now)
		events = append(events, more...)
	}
	s.outcome, s.next = answered, max(s.job.Pace.First, d.RetryAfter)
	next.Due = now.Add(s.next)
	s.peers = peersOf(s.job, &next)
	s.told = next.Status.Terminal()
	s.delivered, s.extend = true, in.Deadline.Sub(in.Outgoing.Until)
	return e.keepAnswer(ctx, h, s, in.Seq, next, events)
}

// tryLater leaves the intent as it is until the next try.
func (e *Engine) tryLater(ctx context.Context, h *held, s step, in *intent.Intent, d adapter.DeliveryReading) step {
	s.outcome, s.retryAfter = unavailable, d.RetryAfter
	s.next = max(s.job.Pace.jittered(s.job.Pace.after(in.Attempts)), d.RetryAfter)
	next := *in
	why := intent.Error{Code: intent.CodeUndelivered, Message: d.Reason, Category: intent.ByBackend, Retryable: true}
	if d.Outcome == adapter.Uncertain || s.doubt {
		why.Code = intent.CodeSubmitUncertain
	}
	next.Outgoing = &intent.Outgoing{Head: in.Outgoing.Head, Until: in.Outgoing.Until, Sent: d.Outcome == adapter.Uncertain || s.doubt}
	now := e.store.Now()
	next.Due = now.Add(s.next)
	next, events := next.Miss(why, next.Due, now)
	return e.keepAnswer(ctx, h, s, in.Seq, next, events)
}

// giveUp ends an intent whose time to be delivered is over.
func (e *Engine) giveUp(ctx context.Context, h *held, s step, in *intent.Intent) step {
	switch {
	case in.Outgoing.Sent:
		return e.endDelivery(ctx, h, s, in, uncertain("the request was sent and its answer was not received"))
	case in.Outgoing.Until.Before(in.Deadline):
		return e.endDelivery(ctx, h, s, in, intent.Error{Code: intent.CodeUndelivered, Category: intent.ByBackend, Retryable: true,
			Message: "the backend could not take the request for as long as it may wait"})
	}
	next, events := in.End(intent.TimedOut, intent.Details{Error: deadlinePassed()}, e.store.Now())
	return e.append(ctx, h, s, in.Seq, next, events)
}

func (e *Engine) endDelivery(ctx context.Context, h *held, s step, in *intent.Intent, why intent.Error) step {
	next, events := in.End(intent.Failed, intent.Details{Error: &why}, e.store.Now())
	return e.keepAnswer(ctx, h, s, in.Seq, next, events)
}

func uncertain(reason string) intent.Error {
	return intent.Error{Code: intent.CodeSubmitUncertain, Category: intent.ByGateway, Message: reason + "; the backend may have the job or not"}
}

// keepAnswer stores what a try came to, now or when the store takes it: the backend is
// not asked again for what it has said.
func (e *Engine) keepAnswer(ctx context.Context, h *held, s step, after int64, next intent.Intent, events []intent.Event) step {
	if next.Status.Terminal() {
		e.close(&next)
	}
	lease := h.lease
	change := store.Change{Intent: next, Epoch: lease.Epoch, After: after, Events: events}
	if err := e.store.Append(ctx, change); err != nil {
		s = e.storeFailed(h, s, err)
		s.over = true // h is let go, and followed again when this is stored
		if !settled(err) {
			e.owe(debt{next.ID, func(ctx context.Context) error {
				if err := e.store.Append(ctx, change); err != nil {
					return err
				}
				e.follow(lease, &opening{intent: next, pause: s.next})
				return nil
			}})
		}
		return s
	}
	failpoint.Hit(failpoint.Concluded)
	if next.Status.Terminal() {
		s.over = true
		e.ended(next.ID, s.told, s.started)
		e.reportEnd(&next)
		return s
	}
	e.recount(h, &next)
	return s
}

// dropUnsent forgets a reservation of a submit that was to be queued: nothing of it was
// sent, and nobody was told that it would be.
func (e *Engine) dropUnsent(ctx context.Context, h *store.Held) {
	err := e.pay(ctx, debt{h.ID, func(ctx context.Context) error { return e.store.Drop(ctx, h.ID, h.Epoch) }})
	if err != nil {
		e.log().Error("forgetting a reservation", "intent", h.ID, "err", err)
	}
}
