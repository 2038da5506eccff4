package engine

import "context"

// A latch is a lock that is held across calls of the store, which can be slow or hang: who
// waits for it waits no longer than its context lets it.
type latch chan struct{}

func newLatch() latch { return make(latch, 1) } // full while it is held

func (l latch) lock(ctx context.Context) error {
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (l latch) unlock() { <-l }
