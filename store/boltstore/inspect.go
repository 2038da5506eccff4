package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime/debug"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// These can be returned by everything that opens a file.
var (
	// ErrDamaged: the file cannot be read as a store. It is left as it is.
	ErrDamaged = errors.New("the file is damaged")
	// ErrInUse: somebody else has the file.
	ErrInUse = errors.New("the file is in use by another process, or by another store in this one")
)

var errForeign = errors.New("the file is a bbolt database, but not one of intents")

// minSize is what the smallest bbolt database has: four pages.
const minSize = 4 * 4096

// lockTimeout is how long to wait for who has a file.
const lockTimeout = time.Second

// Check reads every page in use of the store at path and changes nothing. A store
// that is open for writing is ErrInUse.
func Check(path string) error {
	fresh, err := inspect(path, lockTimeout)
	if fresh && err == nil {
		err = errors.New("there is no store in it")
	}
	if err != nil {
		return fmt.Errorf("checking %s: %w", path, err)
	}
	return nil
}

// inspect looks at a file before anything can be written to it, and reports
// whether there is nothing in it yet.
func inspect(path string, timeout time.Duration) (fresh bool, err error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return true, nil
	case err != nil:
		return false, err
	case !info.Mode().IsRegular():
		return false, errors.New("it is not a regular file")
	case info.Size() == 0:
		return true, nil
	case info.Size() < minSize:
		return false, fmt.Errorf("%w: it has %d bytes, less than an empty store", ErrDamaged, info.Size())
	}
	return false, guard(func() (err error) {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: timeout, ReadOnly: true})
		if err != nil {
			return openError(err)
		}
		defer func() { err = errors.Join(err, db.Close()) }()
		return db.View(func(tx *bbolt.Tx) error { return checkFile(tx, path) })
	})
}

// guard makes an error of a panic of f: bbolt answers some kinds of damage with one,
// and the system answers with a fault if a file is shorter than it says.
func guard(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	return f()
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

func openError(err error) error {
	if errors.Is(err, bolterrors.ErrTimeout) {
		return ErrInUse
	}
	if errors.Is(err, bolterrors.ErrInvalid) || errors.Is(err, bolterrors.ErrChecksum) || errors.Is(err, bolterrors.ErrVersionMismatch) {
		return fmt.Errorf("%w or no store: %w", ErrDamaged, err)
	}
	return err
}
