package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// schema is the version of the layout in buckets.go and record.go. A newer one is
// refused, since it may hold what this program would lose.
const schema = 1

// keySchema is where the meta bucket has the schema, as a big-endian number.
var keySchema = []byte("schema")

var (
	errInUse   = errors.New("the file is in use by another process, or by another store in this one")
	errForeign = errors.New("the file is a bbolt database, but not one of intents")
)

// open opens the file. bbolt answers some kinds of damage with a panic.
func (s *Store) open(timeout time.Duration) (err error) {
	defer func() {
		if p := recover(); p != nil {
			s.release()
			err = fmt.Errorf("the file is damaged: %v", p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true)) // as when the file is shorter than it says

	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return err
	}
	fresh, err := s.inspect(timeout)
	if err != nil {
		return err
	}
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
	if err := s.prepare(fresh); err != nil {
		return errors.Join(err, s.db.Close())
	}
	return nil
}

// inspect looks at a file before anything can be written to it, and reports
// whether there is nothing in it yet.
func (s *Store) inspect(timeout time.Duration) (fresh bool, err error) {
	info, err := os.Stat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, errors.New("it is not a regular file")
	case info.Size() == 0:
		s.log.Warn("store file is empty; beginning a new store in it", "path", s.path)
		return true, nil
	}
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: timeout, ReadOnly: true})
	if err != nil {
		return false, openError(err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return false, db.View(func(tx *bbolt.Tx) error { return checkFile(tx, s.path) })
}

// checkFile finds out whether the file is one that can be opened for writing.
func checkFile(tx *bbolt.Tx, path string) error {
	meta := tx.Bucket(bucketMeta)
	if meta == nil {
		if key, _ := tx.Cursor().First(); key != nil {
			return errForeign
		}
		return checkPages(tx, path) // a crash came before the first commit
	}
	switch version := number(meta, keySchema); {
	case version == 0:
		return errForeign
	case version > schema:
		return fmt.Errorf("the file has schema %d, which a newer version wrote; this one reads up to %d", version, schema)
	}
	return checkPages(tx, path)
}

// prepare makes the buckets of a new store, and its name last longer than a power
// cut. A store that was made before one of the indexes gets it, empty.
func (s *Store) prepare(fresh bool) error {
	ready := false
	_ = s.db.View(func(tx *bbolt.Tx) error {
		ready = tx.Bucket(bucketMeta) != nil &&
			!slices.ContainsFunc(dataBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
		return nil
	})
	if ready {
		return nil
	}
	err := s.transact(func(tx *bbolt.Tx) error {
		for _, name := range dataBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta, err := tx.CreateBucketIfNotExists(bucketMeta)
		if err != nil {
			return err
		}
		return putNumber(meta, keySchema, schema)
	})
	if err != nil {
		return err
	}
	if fresh {
		s.log.Info("made a new store", "path", s.path)
		return syncDir(filepath.Dir(s.path))
	}
	return nil
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

func openError(err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return errInUse
	}
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
		return fmt.Errorf("the file is damaged or no store: %w", err)
	}
	return err
}

// syncDir makes the entry of a new file durable. Windows has no such call and
// needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
