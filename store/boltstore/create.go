package boltstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// newFile makes a store beside its place and gives it its name when it is whole. What
// a full disk or a crash leaves half done in its place would be taken for a damaged
// store ever after.
func newFile(path string, timeout time.Duration) (err error) {
	beside := path + ".new"
	defer func() {
		if err != nil && !errors.Is(err, ErrInUse) {
			_ = os.Remove(beside) // the next one begins anew
		}
	}()
	db, err := bbolt.Open(beside, 0o600, &bbolt.Options{Timeout: timeout})
	if err != nil {
		return openError(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		if err := layOut(tx); err != nil {
			return err
		}
		return putNumber(tx.Bucket(bucketMeta), keySince, uint64(time.Now().Unix()))
	})
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil { // somebody else was faster
		return removed(beside)
	}
	switch err := os.Rename(beside, path); {
	case errors.Is(err, fs.ErrNotExist): // it was this very file that somebody else was faster with
		return nil
	case err != nil:
		return err
	}
	return syncDir(filepath.Dir(path))
}

// removed removes a file that may be gone already.
func removed(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// laidOut reports whether there are all buckets that this version knows.
func laidOut(tx *bbolt.Tx) bool {
	meta := tx.Bucket(bucketMeta)
	return meta != nil && number(meta, keySchema) == schema &&
		!slices.ContainsFunc(dataBuckets, func(name []byte) bool { return tx.Bucket(name) == nil })
}

// layOut makes the buckets that are not there.
func layOut(tx *bbolt.Tx) error {
	for _, name := range dataBuckets {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return fmt.Errorf("making bucket %q: %w", name, err)
		}
	}
	meta, err := tx.CreateBucketIfNotExists(bucketMeta)
	if err != nil {
		return err
	}
	return putNumber(meta, keySchema, schema)
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
