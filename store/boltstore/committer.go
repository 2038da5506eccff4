package boltstore

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/internal/failpoint"
	"github.com/caddy-intents/caddy-intents/store"
)

// Bounds of a group, and of the queue in front of it.
const (
	maxGroup      = 2048    // operations
	maxGroupBytes = 8 << 20 // of values
	queueLength   = 2 * maxGroup
)

// An op is one change of the file.
type op struct {
	// apply checks the change against what is stored and makes it. It must check
	// everything before its first put: what it returns is this op's own verdict,
	// and the group goes on without it.
	apply func(*txn) error

	// settled, if set, follows a commit in which apply returned nil, under the lock
	// of the claims.
	settled func()

	size   int          // of the values it puts, in bytes
	signal store.Signal // what follows the commit; zero for nothing

	started atomic.Bool // set by the committer when it applies the op, or by a caller that gives it up
	result  chan error  // capacity 1: the committer never waits for the caller
	verdict error
}

// A committer is the only writer of the file. It takes what waits in its queue as
// one group, in the order of submission, into one transaction, so that one sync
// serves all. One goroutine runs it, from Open to Close.
type committer struct {
	s *Store

	mu     sync.RWMutex // read-locked while an op is put into the queue
	closed bool
	queue  chan *op // when it is full, callers wait for a place as long as their context lets them
	done   chan struct{}
}

func newCommitter(s *Store) *committer {
	return &committer{
		s:     s,
		queue: make(chan *op, queueLength),
		done:  make(chan struct{}),
	}
}

// do has the op applied and waits until it is durable. An op that the committer
// has not come to when ctx ends is given up, and nothing of it is stored. One that
// it has come to is waited for whatever ctx says: a grant that nobody was told of
// would keep its intent from everybody.
func (c *committer) do(ctx context.Context, o *op) error {
	o.result = make(chan error, 1)
	if err := c.enqueue(ctx, o); err != nil {
		return err
	}
	select {
	case err := <-o.result:
		return err
	case <-ctx.Done():
		if o.started.CompareAndSwap(false, true) {
			return ctx.Err()
		}
		return <-o.result
	}
}

func (c *committer) enqueue(ctx context.Context, o *op) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.closed {
		return errClosed
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case c.queue <- o:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// stop refuses further ops and waits until those in the queue are settled.
func (c *committer) stop() {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.queue)
	}
	c.mu.Unlock()
	<-c.done
}

// run ends when stop has closed the queue.
func (c *committer) run() {
	defer close(c.done)
	group := make([]*op, 0, maxGroup)
	for first := range c.queue {
		group = c.gather(append(group[:0], first))
		c.settle(group)
		clear(group)
	}
}

// gather adds what waits already, and what comes when others had their turn on the CPU. It
// waits for nothing: while a group is being synced the next one fills up by itself. But
// where more goroutines want to run than can, some of them are about to bring an op, and
// a commit costs CPU time that they could use.
func (c *committer) gather(group []*op) []*op {
	group = c.drain(group)
	runtime.Gosched()
	return c.drain(group)
}

// drain adds what waits.
func (c *committer) drain(group []*op) []*op {
	size := 0
	for _, o := range group {
		size += o.size
	}
	for len(group) < maxGroup && size < maxGroupBytes {
		select {
		case o, ok := <-c.queue:
			if !ok {
				return group
			}
			group = append(group, o)
			size += o.size
		default:
			return group
		}
	}
	return group
}

// settle brings a group to its end: stored, signalled, answered, in this order.
func (c *committer) settle(group []*op) {
	applied, err := c.store(group)
	for _, o := range applied {
		if err == nil && o.verdict == nil && o.signal.Kind != 0 {
			c.s.board.Post(o.signal)
		}
	}
	failpoint.Hit(failpoint.Rung)
	for _, o := range applied {
		if err != nil {
			o.result <- err
			continue
		}
		o.result <- o.verdict
	}
}

// store applies a group in one transaction. It returns the ops that nobody gave up
// before, and the error that befell all of them. The claims are locked meanwhile,
// so that a claim sees all of a group or nothing.
func (c *committer) store(group []*op) (applied []*op, err error) {
	claims := &c.s.claims
	claims.mu.Lock()
	defer claims.mu.Unlock()
	applied = group[:0]
	for _, o := range group {
		if o.started.CompareAndSwap(false, true) {
			applied = append(applied, o)
		}
	}
	failpoint.Hit(failpoint.Committing)
	jobs := c.s.jobs.begin()
	err = c.s.transact(apply(applied, jobs))
	c.s.report(err)
	if err != nil {
		return applied, err
	}
	jobs.settle()
	failpoint.Hit(failpoint.Committed)
	for _, o := range applied {
		if o.verdict == nil && o.settled != nil {
			o.settled()
		}
	}
	return applied, nil
}

// apply is the group's transaction. Where no op changes anything there is nothing
// to wait for the disk for.
func apply(ops []*op, jobs *indexing) func(*bbolt.Tx) error {
	return func(tx *bbolt.Tx) error {
		t := bucketsOf(tx)
		t.jobs = jobs
		for _, o := range ops {
			o.verdict = o.apply(t)
		}
		if t.err == nil && !t.wrote {
			return errUnchanged
		}
		jobs.write(t)
		return t.err
	}
}
