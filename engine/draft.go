package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A draft is an intent as it stands here: as the store has it or, by changes that the
// store has not taken, ahead of that. It cannot be behind, since only who holds an intent
// changes it. Where leases end, every intent has one if there is room, and is polled by it
// while the store is away; elsewhere only those have one of which something is unwritten.
// Guarded by Engine.mu, but for writing.
type draft struct {
	in      intent.Intent
	changes []store.Change // that the store has not taken, in order; the first may have been tried
	room    int            // of in, in maxDrafts
	kept    int            // of changes, in maxKept

	writing latch // held by who writes the changes; nil as long as there were none
}

// How much memory drafts may take, in bytes. Intents for which there is no room are not
// polled while the store is away. What a poll brings for which there is none is let go, and
// the backend asked again; half of the room is for ends, which some backends tell but once.
const (
	maxDrafts    = 64 << 20
	maxKept      = 32 << 20
	maxKeptOfOne = 64 << 10 // besides the end
)

// redraft notes that the store has in.
func (e *Engine) redraft(h *held, in *intent.Intent) {
	if e.ledger == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.redraftLocked(h, in)
}

func (e *Engine) redraftLocked(h *held, in *intent.Intent) {
	d := h.draft
	switch {
	case e.ledger == nil, e.holds[in.ID] != h, d != nil && len(d.changes) > 0:
		return
	case d == nil:
		d = new(draft)
	}
	before, now := d.room, weighIntent(in)
	if in.Outgoing != nil || e.drafts+now-before > maxDrafts {
		e.undraft(h)
		return
	}
	h.draft = d
	d.in, d.room = *in, now
	e.drafts += now - before
}

// undraft forgets how h stands here, and what the store has not taken of it. The caller
// holds e.mu.
func (e *Engine) undraft(h *held) {
	if d := h.draft; d != nil {
		e.drafts -= d.room
		e.kept -= d.kept
		h.draft, d.changes, d.room, d.kept = nil, nil, 0, 0
	}
}

// doubt forgets how h stands after a write of which it is not known whether it happened.
func (e *Engine) doubt(h *held) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.draft != nil && len(h.draft.changes) == 0 {
		e.undraft(h)
	}
}

// drafted returns how h stands here, if that is known, and whether the store is behind.
func (e *Engine) drafted(h *held) (in intent.Intent, known, ahead bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.draft == nil {
		return in, false, false
	}
	return h.draft.in, true, len(h.draft.changes) > 0
}

// recall is load for a poll: it goes on while the store is away, as long as the lease does.
func (e *Engine) recall(ctx context.Context, h *held) (intent.Intent, error) {
	if e.ledger != nil {
		if err := e.ledger.check(h.lease); err != nil {
			return intent.Intent{}, err
		}
	}
	in, known, ahead := e.drafted(h)
	if ahead {
		return in, nil
	}
	stored, err := e.fetch(ctx, h)
	switch {
	case err == nil:
		e.redraft(h, &stored)
		return stored, nil
	case known && !settled(err) && ctx.Err() == nil:
		return in, nil
	}
	return stored, err
}

// keepChange keeps a change of h until the store takes it, if there is room.
func (e *Engine) keepChange(h *held, c store.Change) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.holds[c.Intent.ID] != h {
		return false // it is held by a newer lease, or by somebody else
	}
	var before draft
	if h.draft != nil {
		before.changes, before.kept = h.draft.changes, h.draft.kept
	}
	changes := mergeChange(before.changes, c)
	more := weigh(changes) - before.kept
	if ends := c.Intent.Status.Terminal(); e.kept+more > maxKept || !ends && (e.kept+more > maxKept/2 || before.kept+more > maxKeptOfOne) {
		if e.told.first("kept") {
			e.log().Warn("there is no room to keep more of what polls bring until the store takes it; the backend is asked again", "intent", h.lease.ID)
		}
		return false
	}
	if h.draft == nil {
		h.draft = new(draft)
	}
	d := h.draft
	if d.writing == nil {
		d.writing = newLatch()
	}
	d.in, d.changes, d.kept = c.Intent, changes, before.kept+more
	e.kept += more
	if len(before.changes) == 0 {
		e.unwritten = append(e.unwritten, h)
		select {
		case e.keeps <- struct{}{}:
		default:
		}
	}
	return true
}

// mergeChange adds a change to those that are kept. The first is left as it is: the store may
// have it, and knows a repeat by its events.
func mergeChange(changes []store.Change, c store.Change) []store.Change {
	if len(changes) < 2 {
		return append(changes, c)
	}
	first, last := changes[0], changes[1]
	last.Intent = c.Intent
	last.Events = append(last.Events[:len(last.Events):len(last.Events)], c.Events...)
	return []store.Change{first, last}
}

// writeKept writes what is kept of h. An error that is not settled leaves the rest for
// later; one that is means that there is nothing left to write.
func (e *Engine) writeKept(ctx context.Context, h *held) error {
	e.mu.Lock()
	d := h.draft
	ahead := d != nil && len(d.changes) > 0
	e.mu.Unlock()
	if !ahead {
		return nil
	}
	if err := d.writing.lock(ctx); err != nil {
		return err
	}
	defer d.writing.unlock()
	for {
		c, ok := e.firstKept(d)
		if !ok {
			return nil
		}
		err := e.store.Append(ctx, c)
		switch {
		case settled(err):
			e.abandon(h, d, err)
			return err
		case err != nil:
			return err
		}
		e.written(h, d, &c.Intent)
	}
}

func (e *Engine) firstKept(d *draft) (store.Change, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(d.changes) == 0 {
		return store.Change{}, false
	}
	return d.changes[0], true
}

// written notes that the store has taken the first change that was kept of h, after which
// the intent is in.
func (e *Engine) written(h *held, d *draft, in *intent.Intent) {
	e.storeTakes()
	if in.Status.Terminal() {
		defer e.reportEnd(in)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(d.changes) == 0 {
		return // it was forgotten meanwhile
	}
	d.changes = d.changes[1:]
	left := weigh(d.changes)
	e.kept += left - d.kept
	d.kept = left
	switch {
	case in.Status.Terminal():
		h.ended = false
		e.rest(h)
		e.forget(h)
	case len(d.changes) == 0:
		e.undraft(h)
		e.redraftLocked(h, in)
	}
}

// abandon lets go of what was kept of h: somebody else has seen to it, or the store has
// lost what it follows.
func (e *Engine) abandon(h *held, d *draft, why error) {
	e.log().Warn("what a poll brought while the store was away is let go", "intent", h.lease.ID, "err", why)
	e.mu.Lock()
	defer e.mu.Unlock()
	if h.draft != d {
		return
	}
	e.undraft(h)
	if h.ended {
		h.ended = false
		e.rest(h)
	}
	switch {
	case h.busy: // the step under way finds out
	case errors.Is(why, store.ErrConflict):
		e.plan(h, e.now())
	default:
		e.forget(h)
	}
}

// writeKeptOf is writeKept for somebody who wants to change an intent: what the backend has
// said comes first.
func (e *Engine) writeKeptOf(ctx context.Context, id intent.ID) error {
	e.mu.Lock()
	h := e.holds[id]
	e.mu.Unlock()
	if h == nil {
		return nil
	}
	if err := e.writeKept(ctx, h); err != nil && !settled(err) {
		return fmt.Errorf("writing what polls of %s brought: %w: %w", id, store.ErrUnavailable, err)
	}
	return nil
}
