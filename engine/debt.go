package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A debt is a write about a submit that the store did not take. It cannot be let go:
// until it is written, who repeats the request is told that the first one with its key
// is under way, and a job that the backend has is followed by nobody.
type debt struct {
	id  intent.ID
	pay func(ctx context.Context) error
}

// pay writes what is due, now or, if the store is away or full, later. The error is
// that of this time.
func (e *Engine) pay(ctx context.Context, d debt) error {
	err := d.pay(ctx)
	switch {
	case err == nil:
	case !settled(err):
		e.owe(d)
	case e.ledger != nil: // nothing follows: who claims it next sees how it stands
		e.ledger.letGoOf(d.id)
	}
	return err
}

// settled reports whether an error says that somebody else has seen to a write.
func settled(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrConflict)
}

// inDoubt reports whether a write that failed may have happened all the same.
func inDoubt(err error) bool {
	return err != nil && !settled(err) && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrFull)
}

// owe notes a debt.
func (e *Engine) owe(d debt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.debts = append(e.debts, d)
}

// payDebts writes what could not be written before.
func (e *Engine) payDebts() {
	if e.paying.lock(e.ctx) != nil {
		return
	}
	defer e.paying.unlock()
	var left int
	for _, d := range e.takeDebts(func(debt) bool { return true }) {
		err := e.payInTime(d)
		if err == nil || settled(err) || e.ctx.Err() != nil {
			continue
		}
		if left++; e.owing.CompareAndSwap(false, true) { // once, and not at every try
			e.log().Error("writing what the store did not take before; it is tried until it does", "intent", d.id, "err", err)
		}
	}
	if left == 0 && e.ctx.Err() == nil && e.owing.CompareAndSwap(true, false) {
		e.log().Info("the store has what it did not take before")
	}
}

// payLinger bounds what is tried once more when the engine stops.
const payLinger = 2 * time.Second

// payLast writes what is due as far as the store takes it now: the next start knows
// nothing of it.
func (e *Engine) payLast() {
	ctx, cancel := context.WithTimeout(context.Background(), payLinger)
	defer cancel()
	for _, d := range e.takeDebts(func(debt) bool { return true }) {
		if err := d.pay(ctx); err != nil && !settled(err) {
			e.log().Error("writing what the store did not take before, for the last time", "intent", d.id, "err", err)
		}
	}
}

func (e *Engine) payInTime(d debt) error {
	ctx, cancel := context.WithTimeout(e.ctx, storeTimeout)
	defer cancel()
	return e.pay(ctx, d)
}

// payDebtsOf writes what is due about one intent, before somebody takes it over: to be
// fenced is to lose what the backend has said. It reports whether there was something.
func (e *Engine) payDebtsOf(ctx context.Context, id intent.ID) (some bool, err error) {
	if err := e.paying.lock(ctx); err != nil {
		return false, fmt.Errorf("writing what is due about %s first: %w: %w", id, store.ErrUnavailable, err)
	}
	defer e.paying.unlock()
	for _, d := range e.takeDebts(func(d debt) bool { return d.id == id }) {
		some = true
		if owed := e.pay(ctx, d); owed != nil && !settled(owed) {
			err = owed
		}
	}
	return some, err
}

// owes reports whether something is due about an intent.
func (e *Engine) owes(id intent.ID) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.ContainsFunc(e.debts, func(d debt) bool { return d.id == id })
}

func (e *Engine) takeDebts(which func(debt) bool) (taken []debt) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var left []debt
	for _, d := range e.debts {
		if which(d) {
			taken = append(taken, d)
		} else {
			left = append(left, d)
		}
	}
	e.debts = left
	return taken
}
