package observe

import (
	"context"
	"errors"
	"sync"

	"github.com/caddy-intents/caddy-intents/intent"
)

// A look is one read of an intent's events, shared by the observers whom the same
// ring has woken: it costs as much as the delivery of an event, and there may be
// thousands of them. Everything in it is read only once it is done.
type look struct {
	after int64         // the seq it looks behind
	rings int           // the room's, when it began: a ring since then makes it old
	done  chan struct{} // closed when the rest is there

	in     intent.Intent
	events []intent.Event
	err    error

	ready   sync.Once // guards encoded
	encoded []fact
}

var errNotLooked = errors.New("the store did not answer")

// look returns what the store has after a seq, for an observer of the room that
// was rung for. Who looks because a ring may have been lost reads for itself.
func (h *Hub) look(ctx context.Context, log Store, id intent.ID, after int64) *look {
	l, mine := h.shared(id, after)
	if mine {
		l.read(ctx, log, id)
		return l
	}
	select {
	case <-l.done:
	case <-ctx.Done():
		return &look{err: ctx.Err()}
	}
	if l.err != nil { // perhaps only because its reader has left
		return lookAlone(ctx, log, id, after)
	}
	return l
}

// lookAlone reads for one observer.
func lookAlone(ctx context.Context, log Store, id intent.ID, after int64) *look {
	l := &look{after: after, done: make(chan struct{})}
	l.read(ctx, log, id)
	return l
}

// shared returns the look to use, and whether it is the caller's to read. A room
// with one observer keeps none: there may be many of those, and they are idle.
func (h *Hub) shared(id intent.ID, after int64) (l *look, mine bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[id]
	if l := r.look; l != nil && l.after == after && l.rings == r.rings {
		return l, false
	}
	l = &look{after: after, rings: r.rings, done: make(chan struct{}), err: errNotLooked}
	if r.look = nil; len(r.seats) > 1 {
		r.look = l
	}
	return l, true
}

func (l *look) read(ctx context.Context, log Store, id intent.ID) {
	defer close(l.done)
	l.in, l.events, l.err = log.Events(ctx, id, l.after)
}

// facts is the events, ready to be sent. Not everybody needs them so.
func (l *look) facts() []fact {
	l.ready.Do(func() { l.encoded = factsOf(l.events) })
	return l.encoded
}
