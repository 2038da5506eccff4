// Package boltstore keeps intents in one file, with bbolt: the default store. Only
// this package imports bbolt.
//
// All changes go through one goroutine, the committer, which takes what waits as
// one group into one transaction: a write answers after the sync of its group. Reads
// are short transactions of their own; nothing is kept in memory but what has been
// released, so that the number of running intents costs no memory.
//
// # What can go wrong with the file
//
//   - There is no room: changes answer [store.ErrFull], reads go on, and each
//     further change tries again.
//   - It cannot be written or synced: [store.ErrUnavailable], the same otherwise.
//   - It turns out to be damaged, or the sync that makes a group count fails: the
//     store breaks down. It logs that, closes Down and answers ErrUnavailable to
//     everything; close it and open it anew, which confirms what is in the file or
//     finds the damage.
//   - It is damaged, too new, no store of ours, or open elsewhere when it is to be
//     opened: Open says so. It never begins a new file in place of one that is there.
package boltstore

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Options of [Open]. The zero value is good.
type Options struct {
	Timeout time.Duration // how long to wait for another process to let go of the file; 0 for 1 s
	Logger  *slog.Logger  // nil for silence
}

// Store is a [store.Store] in a file. Make it with [Open].
type Store struct {
	path      string
	log       *slog.Logger
	db        *bbolt.DB
	file      *os.File // the db's own; to let go of its lock where the db cannot
	run       uint64   // names this run of the store, among all
	board     store.Board
	claims    claims
	decodings decodings
	jobs      jobIndex
	committer *committer
	commit    func(*bbolt.Tx) error // (*bbolt.Tx).Commit

	committing sync.RWMutex // locked from before a commit until it is known whether it is durable
	durable    atomic.Int64 // the last transaction that is

	breakdown atomic.Pointer[error]
	down      chan struct{} // closed by breakDown
	refusing  atomic.Bool   // the last group could not be written; of the committer
	closed    atomic.Bool
	stuck     atomic.Bool // a transaction could not be ended; to close the db would block
	closing   sync.Once
	closeErr  error
}

var _ store.Store = (*Store)(nil)

var errClosed = fmt.Errorf("%w: it is closed", store.ErrUnavailable)

// Open opens the store at path and makes it if there is none. The directory of the
// file is made too, for nobody but this user.
func Open(path string, o Options) (*Store, error) {
	s := &Store{
		path:   path,
		log:    cmp.Or(o.Logger, slog.New(slog.DiscardHandler)),
		run:    rand.Uint64(),
		claims: newClaims(),
		jobs:   jobIndex{enough: enoughWaiting},
		down:   make(chan struct{}),
		commit: (*bbolt.Tx).Commit,
	}
	if err := s.open(cmp.Or(o.Timeout, lockTimeout)); err != nil {
		return nil, fmt.Errorf("opening the store %s: %w", path, err)
	}
	s.committer = newCommitter(s)
	go s.committer.run() // until Close
	return s, nil
}

// Now is the method of [store.Store].
func (*Store) Now() time.Time { return time.Now() }

// Close is the method of [store.Store].
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.closed.Store(true)
		s.committer.stop()
		s.closeErr = s.close()
	})
	return s.closeErr
}

// view reads from one snapshot. f copies out what it needs: what it was handed is
// gone afterwards.
func (s *Store) view(ctx context.Context, f func(*txn) error) error {
	return s.viewBy(ctx, bucketsOf, f)
}

// viewIntent is view for what is kept of one intent. It is the read of each poll.
func (s *Store) viewIntent(ctx context.Context, f func(*txn) error) error {
	return s.viewBy(ctx, s.intentBucketsOf, f)
}

func (s *Store) viewBy(ctx context.Context, open func(*bbolt.Tx) *txn, f func(*txn) error) (err error) {
	if err := s.usable(ctx); err != nil {
		return err
	}
	defer func() {
		if p := recover(); p != nil {
			err = s.breakDown(fmt.Errorf("bbolt panicked: %v", p))
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page that cannot be read is a fault
	tx, err := s.snapshot()
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // cannot fail on an open transaction
	return f(open(tx))
}

// snapshot begins a transaction that reads what is durable. bbolt shows a commit as
// soon as its last page is written. Until that page is synced, a power cut or a failed
// sync can take back what a reader would have told somebody.
func (s *Store) snapshot() (*bbolt.Tx, error) {
	for {
		tx, err := s.db.Begin(false)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", store.ErrUnavailable, err) // it is closed
		}
		if int64(tx.ID()) <= s.durable.Load() {
			return tx, nil
		}
		_ = tx.Rollback()    // cannot fail on an open transaction
		s.committing.RLock() // once the commit is over
		err = s.broken()
		s.committing.RUnlock()
		if err != nil {
			return nil, err
		}
	}
}

// usable says why a call cannot go on.
func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return cmp.Or(s.broken(), ctx.Err())
}

// broken returns the error of a store that broke down.
func (s *Store) broken() error {
	if err := s.breakdown.Load(); err != nil {
		return *err
	}
	return nil
}

// breakDown ends the store's work after a failure it cannot go on from.
func (s *Store) breakDown(cause error) error {
	err := fmt.Errorf("%w: %s broke down: %w", store.ErrUnavailable, s.path, cause)
	if s.breakdown.CompareAndSwap(nil, &err) {
		s.log.Error("store broke down; it has to be opened anew", "path", s.path, "err", cause, "do", "look at its disk")
		close(s.down)
	}
	return s.broken()
}

// Down is closed when the store has broken down.
func (s *Store) Down() <-chan struct{} { return s.down }

// Watch is the method of [store.Signaler]. Whoever holds the intent is in this
// process and listening, so there is nothing to keep.
func (s *Store) Watch(ctx context.Context, id intent.ID, until time.Time) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	s.board.Post(store.Signal{ID: id, Kind: store.Watched, Until: until})
	return nil
}

// Listen is the method of [store.Signaler].
func (s *Store) Listen(f func(store.Signal)) (stop func()) { return s.board.Listen(f) }
