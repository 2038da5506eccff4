package boltstore

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"syscall"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/caddy-intents/caddy-intents/store"
)

// errUnchanged is what a transaction returns that has nothing to commit.
var errUnchanged = errors.New("nothing changed")

// transact runs f in a transaction and commits it. bbolt panics if it meets a
// damaged page; DB.Update would then look through all pages for the free ones, in
// a goroutine whose panic ends the process, so that it is not used.
func (s *Store) transact(f func(*bbolt.Tx) error) (err error) {
	if err := s.broken(); err != nil {
		return err
	}
	var tx *bbolt.Tx
	defer func() {
		if p := recover(); p != nil {
			err = s.breakDown(fmt.Errorf("bbolt panicked: %v", p))
			s.abandon(tx)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // a page that cannot be read is a fault

	if tx, err = s.db.Begin(true); err != nil {
		return s.refused(err)
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // cannot fail on an open transaction
		if errors.Is(err, errUnchanged) {
			return nil
		}
		return s.refused(err)
	}
	return s.commitDurably(tx)
}

// commitDurably commits. Readers of what is written and not synced wait for its end.
func (s *Store) commitDurably(tx *bbolt.Tx) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	id := tx.ID()
	if err := s.commit(tx); err != nil {
		return s.failed(id, err)
	}
	s.durable.Store(int64(id))
	return nil
}

// abandon ends the transaction that a panic interrupted.
func (s *Store) abandon(tx *bbolt.Tx) {
	defer func() {
		if recover() != nil {
			s.stuck.Store(true)
		}
	}()
	if tx != nil {
		_ = tx.Rollback() // an error says that it has ended already
	}
}

// failed judges a commit that returned an error. bbolt writes and syncs the data,
// then writes and syncs one page that makes it count. If that page was not
// written, the group never was: its pages are free again and are written anew by
// whoever gets them, so that the next group may try. If it was written, only its
// sync can have failed, and nobody knows whether the page is on the disk. To go on
// would be to overwrite pages that the file needs if it is not; so the store
// stops, and the group is told neither of the errors that promise that nothing was
// written.
func (s *Store) failed(id int, err error) error {
	var latest int
	viewErr := s.db.View(func(tx *bbolt.Tx) error {
		latest = tx.ID()
		return nil
	})
	if viewErr == nil && latest < id {
		return s.refused(err)
	}
	_ = s.breakDown(fmt.Errorf("syncing: %w", err))
	return fmt.Errorf("syncing %s, whose last changes may be lost: %w", s.path, err)
}

// refused turns an error of bbolt after which nothing was written into one of the
// contract. Those of a sync do not name the file.
func (s *Store) refused(err error) error {
	kind := store.ErrUnavailable
	if noRoom(err) {
		kind = store.ErrFull
	}
	return fmt.Errorf("%w: writing %s: %w", kind, s.path, err)
}

// report logs when the file begins to take no changes, and when it takes them again.
func (s *Store) report(err error) {
	switch {
	case err == nil && s.refusing.Load():
		s.refusing.Store(false)
		s.log.Info("store takes changes again", "path", s.path)
	case err != nil && s.broken() == nil && s.refusing.CompareAndSwap(false, true):
		do := "look at its disk"
		if errors.Is(err, store.ErrFull) {
			do = "make room on its disk"
		}
		s.log.Error("store takes no changes until its file can be written; what is stored can be read", "path", s.path, "err", err, "do", do)
	}
}

func noRoom(err error) bool {
	if errors.Is(err, bolterrors.ErrMaxSizeReached) {
		return true
	}
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		// bbolt formats the error of growing the file with %s.
		if errors.Is(err, errno) || strings.HasSuffix(err.Error(), errno.Error()) {
			return true
		}
	}
	return false
}
