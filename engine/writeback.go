package engine

import (
	"context"
	"slices"
	"sync"
	"time"
)

// Whoever keeps what the store did not take tries again after writeRetry, until
// enough tries in a row have failed: a store that is away is asked little, and one of which
// a part is away is given the rest.
const (
	writeRetry   = 500 * time.Millisecond
	maxWriteMiss = 16
)

// writeBack writes what was kept when the store takes it. Start starts it, Stop ends it.
func (e *Engine) writeBack() {
	for {
		select {
		case <-e.keeps:
		case <-e.ctx.Done():
			return
		}
		for e.sleep(writeRetry) {
			if e.writeAllKept(e.ctx) {
				break
			}
		}
	}
}

// writeAllKept tries to write all that is kept, what was kept last first, and reports
// whether nothing is left.
func (e *Engine) writeAllKept(ctx context.Context) bool {
	e.mu.Lock()
	todo := e.unwritten
	e.unwritten = nil
	e.mu.Unlock()

	var mu sync.Mutex
	var left []*held
	missed := 0
	next := func() *held {
		mu.Lock()
		defer mu.Unlock()
		if len(todo) == 0 || missed >= maxWriteMiss {
			return nil
		}
		h := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		return h
	}
	var all sync.WaitGroup
	for range min(writers, len(todo)) {
		all.Go(func() {
			for h := next(); h != nil; h = next() {
				err := e.writeKept(ctx, h)
				mu.Lock()
				if missed++; err == nil || settled(err) {
					missed = 0
				} else {
					left = append(left, h)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	slices.Reverse(left)
	todo = append(todo, left...)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.unwritten = append(todo, e.unwritten...)
	return len(todo) == 0
}

// writeLast tries once more to write what is kept, before leases are given back: whoever
// is granted them next would have to ask the backend again.
func (e *Engine) writeLast() {
	ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
	defer cancel()
	e.writeAllKept(ctx)
}
