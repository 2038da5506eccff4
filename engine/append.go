package engine

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// append stores a change. The store may be away or full: then the intent is left as it
// was.
func (e *Engine) append(ctx context.Context, h *held, s step, after int64, next intent.Intent, events []intent.Event) step {
	if next.Status.Terminal() {
		e.close(&next)
	}
	err := e.store.Append(ctx, store.Change{Intent: next, Epoch: h.lease.Epoch, After: after, Events: events})
	if err != nil {
		e.doubt(h)
		return e.storeFailed(h, s, err)
	}
	return e.appended(h, s, &next, events)
}

// appendOrKeep is append for what a poll came to. If the store does not take it, it is
// kept until it does, and counts; if it cannot be kept, the backend is asked again later.
func (e *Engine) appendOrKeep(ctx context.Context, h *held, s step, after int64, next intent.Intent, events []intent.Event) step {
	if next.Status.Terminal() {
		e.close(&next)
	}
	change := store.Change{Intent: next, Epoch: h.lease.Epoch, After: after, Events: events}
	if _, _, ahead := e.drafted(h); !ahead {
		err := e.store.Append(ctx, change)
		if err == nil {
			return e.appended(h, s, &next, events)
		}
		if settled(err) {
			return e.storeFailed(h, s, err)
		}
		e.complain(h, err)
	}
	if !e.keepChange(h, change) {
		s.again = storeRetry
		return s
	}
	s.news = len(events) > 0
	if s.kept = next.Status.Terminal(); s.kept {
		e.ended(next.ID, s.told, s.started)
		return s
	}
	e.recount(h, &next)
	return s
}

// appended notes that the store has taken a change.
func (e *Engine) appended(h *held, s step, next *intent.Intent, events []intent.Event) step {
	failpoint.Hit(failpoint.Appended)
	e.storeTakes()
	s.news = len(events) > 0
	if next.Status.Terminal() {
		e.ended(next.ID, s.told, s.started)
		e.reportEnd(next)
		s.over = true
		return s
	}
	e.redraft(h, next)
	e.recount(h, next)
	return s
}

// close leaves of an intent that has ended what is kept of it, and notes for how long.
func (e *Engine) close(in *intent.Intent) {
	in.Expires = e.expiry(in, e.store.Now())
	in.Sealed, in.Outgoing = "", nil
}

// storeRetry is the pause after the store refused a read or a write.
const storeRetry = 2 * time.Second

func (e *Engine) storeFailed(h *held, s step, err error) step {
	switch {
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrEnded), errors.Is(err, store.ErrFenced):
		s.over = true // somebody else goes on with it, or there is nothing to go on with
	case e.ctx.Err() != nil, errors.Is(err, context.Canceled):
		s.again = storeRetry
	default:
		e.complain(h, err)
		s.again = storeRetry
	}
	return s
}

// complain tells that the store does not work, once, and not at every poll onto a disk
// that is full.
func (e *Engine) complain(h *held, err error) {
	if e.ctx.Err() == nil && e.storeFails.CompareAndSwap(false, true) {
		e.log().Error("the store does not take what polls bring; it is kept until it does", "intent", h.lease.ID, "err", err)
	}
}

// storeTakes notes that the store has taken what a poll brought.
func (e *Engine) storeTakes() {
	if e.storeFails.CompareAndSwap(true, false) {
		e.log().Info("the store takes what polls bring again")
	}
}
