package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"go.etcd.io/bbolt"
)

// Compact writes the store at path anew, without the room that removed intents have
// left in it, and returns its size before and after. Nobody else may have the file
// meanwhile. The new file takes the place of the old one when it is whole, checked
// and on the disk; with an error the old one is where it was.
func Compact(path string) (before, after int64, err error) {
	before, after, err = compact(path)
	if err != nil {
		return 0, 0, fmt.Errorf("compacting %s: %w", path, err)
	}
	return before, after, nil
}

func compact(path string) (before, after int64, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil { // a link stays one
		return 0, 0, err
	}
	old, err := os.Stat(path)
	if err != nil {
		return 0, 0, err
	}
	if err := Check(path); err != nil {
		return 0, 0, err
	}
	from, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, NoFreelistSync: true})
	if err != nil {
		return 0, 0, openError(err)
	}
	open := true
	shut := func() error {
		if !open {
			return nil
		}
		open = false
		return from.Close()
	}
	defer func() { err = errors.Join(err, shut()) }()
	beside := path + ".compact"
	if err := writeCompact(beside, from, old); err != nil {
		return 0, 0, errors.Join(err, removed(beside))
	}
	compacted, err := os.Stat(beside)
	if err != nil {
		return 0, 0, err
	}
	if runtime.GOOS == "windows" { // a file that is open cannot be replaced there
		if err := shut(); err != nil {
			return 0, 0, err
		}
	}
	// Elsewhere the lock is held: who waits for it finds that the file was replaced.
	if err := os.Rename(beside, path); err != nil {
		return 0, 0, errors.Join(err, removed(beside))
	}
	return old.Size(), compacted.Size(), syncDir(filepath.Dir(path))
}

// compactGroup bounds the bytes of one transaction of the new file.
const compactGroup = 8 << 20

// writeCompact writes the new file, for the user whose the old one is.
func writeCompact(path string, from *bbolt.DB, old os.FileInfo) error {
	if err := removed(path); err != nil { // what a crash left
		return err
	}
	to, err := bbolt.Open(path, old.Mode().Perm(), &bbolt.Options{Timeout: lockTimeout})
	if err != nil {
		return err
	}
	err = guard(func() error { return bbolt.Compact(to, from, compactGroup) })
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	if err := ownedLike(path, old); err != nil {
		return fmt.Errorf("giving the new file to the owner of the old one: %w", err)
	}
	if err := sameContents(path, from); err != nil {
		return err
	}
	return Check(path)
}

// sameContents holds the new file against the old one, key by key.
func sameContents(path string, from *bbolt.DB) error {
	to, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockTimeout, ReadOnly: true})
	if err != nil {
		return err
	}
	err = from.View(func(old *bbolt.Tx) error {
		return to.View(func(compacted *bbolt.Tx) error {
			return old.ForEach(func(name []byte, b *bbolt.Bucket) error {
				return sameBucket(name, b, compacted.Bucket(name))
			})
		})
	})
	return errors.Join(err, to.Close())
}

func sameBucket(name []byte, old, compacted *bbolt.Bucket) error {
	if compacted == nil {
		return fmt.Errorf("bucket %q is missing in the new file", name)
	}
	was, is := old.Cursor(), compacted.Cursor()
	oldKey, oldValue := was.First()
	key, value := is.First()
	for ; oldKey != nil || key != nil; oldKey, oldValue = was.Next() {
		if string(oldKey) != string(key) || string(oldValue) != string(value) {
			return fmt.Errorf("bucket %q differs in the new file at key %x", name, oldKey)
		}
		key, value = is.Next()
	}
	return nil
}
