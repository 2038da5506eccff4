package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A ledger is a store whose leases end, with a note of each lease that it granted to
// this engine: intents that are polled, reservations whose request is at the backend,
// and what is still to be written about either. Whatever part of the engine was granted
// it, it is renewed until the store says that it is over.
type ledger struct {
	store.Store
	term time.Duration

	mu      sync.Mutex
	grants  map[intent.ID]grant
	tenures map[*tenure]struct{}
}

// A grant is one lease. It is good until a moment of this process's own clock, which
// goes on while the process is paused and does not jump when somebody sets the time.
type grant struct {
	epoch int64
	until time.Time
}

// newLedger returns nil for a store that grants for ever.
func newLedger(s store.Store) *ledger {
	if s.Term() == 0 {
		return nil
	}
	return &ledger{Store: s, term: s.Term(), grants: make(map[intent.ID]grant), tenures: make(map[*tenure]struct{})}
}

// margin is by how much earlier than the store we take a lease to be over.
func (l *ledger) margin() time.Duration { return l.term / 10 }

// check says whether the engine may act on what it holds by a lease: ErrFenced if that is
// over for good, ErrUnavailable as long as it is not known.
func (l *ledger) check(lease store.Lease) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	g, ok := l.grants[lease.ID]
	switch {
	case !ok || g.epoch != lease.Epoch:
		return store.ErrFenced
	case time.Until(g.until) < l.margin():
		return store.ErrUnavailable
	}
	return nil
}

// note keeps a lease that was granted.
func (l *ledger) note(held store.Held, err error) (store.Held, error) {
	if err == nil && !held.Intent.Status.Terminal() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if g := l.grants[held.ID]; g.epoch < held.Epoch {
			l.grants[held.ID] = grant{held.Epoch, held.Until}
		}
	}
	return held, err
}

// strike removes a lease if the answer to a call says that it is over.
func (l *ledger) strike(lease store.Lease, over bool, err error) error {
	if over && err == nil || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrEnded) || errors.Is(err, store.ErrNotFound) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.grants[lease.ID].epoch <= lease.Epoch {
			delete(l.grants, lease.ID)
		}
	}
	return err
}

// letGo has a lease end by not renewing it.
func (l *ledger) letGo(lease store.Lease) { _ = l.strike(lease, true, nil) }

// letGoOf is letGo for whatever lease there is.
func (l *ledger) letGoOf(id intent.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.grants, id)
}

// all are the leases now.
func (l *ledger) all() []store.Lease {
	l.mu.Lock()
	defer l.mu.Unlock()
	leases := make([]store.Lease, 0, len(l.grants))
	for id, g := range l.grants {
		leases = append(leases, store.Lease{ID: id, Epoch: g.epoch})
	}
	return leases
}

// renew extends leases and returns those that were lost, also beside a store.PartlyError.
func (l *ledger) renew(ctx context.Context, leases []store.Lease) (lost []store.Lease, err error) {
	until := time.Now().Add(l.term)
	gone, err := l.Store.Renew(ctx, leases)
	partly, some := errors.AsType[*store.PartlyError](err)
	if err != nil && !some {
		return nil, err
	}
	isGone, isUnknown := make(map[intent.ID]bool, len(gone)), make(map[intent.ID]bool)
	for _, id := range gone {
		isGone[id] = true
	}
	if some {
		for _, lease := range partly.Unknown {
			isUnknown[lease.ID] = true
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, lease := range leases {
		g, ok := l.grants[lease.ID]
		switch {
		case !ok || g.epoch != lease.Epoch: // it ended, or was granted anew, meanwhile
		case isGone[lease.ID]:
			delete(l.grants, lease.ID)
			lost = append(lost, lease)
		case isUnknown[lease.ID]:
		default:
			l.grants[lease.ID] = grant{g.epoch, until}
		}
	}
	if len(lost) > 0 {
		l.endTenures()
	}
	return lost, err
}

func (l *ledger) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	return l.note(l.Store.Create(ctx, in, events))
}

func (l *ledger) Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (store.Held, error) {
	return l.note(l.Store.Adopt(ctx, in, events, latest))
}

func (l *ledger) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	return l.note(l.Store.Reserve(ctx, in))
}

func (l *ledger) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	return l.note(l.Store.Take(ctx, id))
}

func (l *ledger) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	claimed, err := l.Store.Claim(ctx, n, of...)
	for _, held := range claimed {
		_, _ = l.note(held, nil)
	}
	return claimed, err
}

func (l *ledger) Append(ctx context.Context, c store.Change) error {
	lease := store.Lease{ID: c.Intent.ID, Epoch: c.Epoch}
	return l.strike(lease, c.Intent.Status.Terminal(), l.Store.Append(ctx, c))
}

func (l *ledger) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	return l.strike(store.Lease{ID: id, Epoch: epoch}, true, l.Store.Drop(ctx, id, epoch))
}

func (l *ledger) Release(ctx context.Context, lease store.Lease) error {
	return l.strike(lease, true, l.Store.Release(ctx, lease))
}
