package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
)

// schema is the version of the layout in buckets.go and record.go. A newer one is
// refused, since it may hold what this program would lose.
//
// Schema 2 has rows of the job index, and events that were stored together in one value;
// a file of schema 1 becomes one when it is opened.
const schema = 2

// keySchema is where the meta bucket has the schema, as a big-endian number.
var keySchema = []byte("schema")

// keySince is where it has when the store was begun, in Unix seconds; files of an earlier
// release have no such thing.
var keySince = []byte("since")

var errReplaced = errors.New("another file took its place while it was opened")

// open opens the file, and makes it if there is none.
func (s *Store) open(timeout time.Duration) error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	if _, err := os.Lstat(s.path); errors.Is(err, fs.ErrNotExist) {
		if err := newFile(s.path, timeout); err != nil {
			return fmt.Errorf("making a new store: %w", err)
		}
		s.log.Info("made a new store", "path", s.path)
	}
	fresh, err := inspect(s.path, timeout)
	if err != nil {
		return err
	}
	if fresh {
		s.log.Warn("store file is empty; beginning a new store in it", "path", s.path)
	}
	sound := false
	defer func() {
		if !sound {
			s.release() // bbolt may have been interrupted by a panic
		}
	}()
	err = guard(func() error { return s.openFile(timeout) })
	sound = err == nil
	return err
}

// openFile opens a file that was found to be good.
func (s *Store) openFile(timeout time.Duration) (err error) {
	s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
		Timeout:        timeout,
		FreelistType:   bbolt.FreelistMapType,
		NoFreelistSync: true, // at 1 GB of free pages a commit would write 2 MB of list
		OpenFile: func(name string, flag int, perm os.FileMode) (f *os.File, err error) {
			s.file, err = os.OpenFile(name, flag, perm)
			return s.file, err
		},
	})
	if err != nil {
		return openError(err)
	}
	for _, step := range []func() error{s.inPlace, s.confirm, s.prepare, s.loadJobs} {
		if err := step(); err != nil {
			return errors.Join(err, s.db.Close())
		}
	}
	return nil
}

// inPlace finds out whether the file that was locked still is the one at the path:
// who had it before may have put another one there.
func (s *Store) inPlace() error {
	locked, err := s.file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Stat(s.path)
	if err != nil {
		return err
	}
	if !os.SameFile(locked, there) {
		return errReplaced
	}
	return nil
}

// confirm writes the page that made the last transaction count once more and syncs
// it. What was read of the file came from the memory of the system. If a sync failed
// before, in this process or another, that page may be on no disk: Linux tells of a
// failed write once and takes the page for written ever after. To build on it would be
// to overwrite the pages of the transaction that the disk still has.
func (s *Store) confirm() error {
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	id, size := uint64(tx.ID()), s.db.Info().PageSize
	if err := tx.Rollback(); err != nil {
		return err
	}
	page, at, err := metaPage(s.file, id, size)
	if err != nil {
		return err
	}
	if _, err := s.file.WriteAt(page, at); err != nil {
		return fmt.Errorf("confirming the last transaction: %w", err)
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("confirming the last transaction: syncing: %w", err)
	}
	s.durable.Store(int64(id))
	return nil
}

// prepare makes the buckets of a store that is empty, or of an earlier schema.
func (s *Store) prepare() error {
	ready := false
	_ = s.db.View(func(tx *bbolt.Tx) error {
		ready = laidOut(tx)
		return nil
	})
	if ready {
		return nil
	}
	return s.transact(layOut)
}

func (s *Store) loadJobs() error {
	return s.db.View(func(tx *bbolt.Tx) error {
		s.jobs.load(bucketsOf(tx))
		return nil
	})
}

// close ends the file with its list of free pages, which the next Open would
// otherwise have to find by reading all pages. The list is worth no error: without
// it the next Open is slower.
func (s *Store) close() error {
	if s.broken() == nil {
		s.db.NoFreelistSync = false
		if err := s.transact(func(*bbolt.Tx) error { return nil }); err != nil {
			s.log.Warn("store was closed without its list of free pages", "path", s.path, "err", err)
		}
	}
	if s.stuck.Load() {
		s.release()
		return nil
	}
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("closing the store %s: %w", s.path, err)
	}
	return nil
}

// release gives the file up where bbolt cannot do it any more. Its mapping is lost
// and would keep the file's lock, which is taken away therefore.
func (s *Store) release() {
	if s.file != nil {
		unlock(s.file)
		_ = s.file.Close() // nothing can be done about it
	}
}

func number(b *bbolt.Bucket, key []byte) uint64 {
	value := b.Get(key)
	if len(value) != 8 {
		return 0
	}
	return binary.BigEndian.Uint64(value)
}

func putNumber(b *bbolt.Bucket, key []byte, n uint64) error {
	return b.Put(key, binary.BigEndian.AppendUint64(nil, n))
}
