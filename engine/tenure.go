package engine

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// A tenure is the time in which a poll may be under way: it ends with the last of the
// leases of what the poll is about.
type tenure struct {
	leases []store.Lease
	end    context.CancelCauseFunc
	review *time.Timer
}

var errLeaseOver = errors.New("the lease is over")

// during returns a context that ends with ctx, or when somebody else may ask about all
// that the leases are for. The caller calls done when it does not ask any more.
func (l *ledger) during(ctx context.Context, leases ...store.Lease) (_ context.Context, done func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := &tenure{leases: leases, end: cancel}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tenures[t] = struct{}{}
	t.review = time.AfterFunc(l.left(t), func() { l.reviewTenure(t) })
	return ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.tenures, t)
		t.review.Stop()
		cancel(nil)
	}
}

// left is for how long at least one of the leases is good. The caller holds l.mu.
func (l *ledger) left(t *tenure) (longest time.Duration) {
	for _, lease := range t.leases {
		if g, ok := l.grants[lease.ID]; ok && g.epoch == lease.Epoch {
			longest = max(longest, time.Until(g.until)-l.margin())
		}
	}
	return longest
}

// reviewTenure ends t, unless a lease was renewed meanwhile.
func (l *ledger) reviewTenure(t *tenure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if left := l.left(t); left > 0 {
		t.review.Reset(left)
		return
	}
	t.end(errLeaseOver)
}

// endTenures ends those of which all leases are lost. The caller holds l.mu.
func (l *ledger) endTenures() {
	for t := range l.tenures {
		if l.left(t) <= 0 {
			t.end(errLeaseOver)
		}
	}
}

// during returns a context for polls of all these, and what is called when they are over.
func (e *Engine) during(all ...*held) (context.Context, func()) {
	if e.ledger == nil {
		return e.ctx, func() {}
	}
	leases := make([]store.Lease, len(all))
	for i, h := range all {
		leases[i] = h.lease
	}
	return e.ledger.during(e.ctx, leases...)
}
