package boltstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// ErrSound: the file is as it should be.
var ErrSound = errors.New("the file is not damaged")

// MoveAside gives a file that cannot be opened as a store another name beside its
// place and returns it, so that a new store begins there. A file that can be opened,
// or that somebody has, stays.
func MoveAside(path string, now time.Time) (to string, err error) {
	if err := Check(path); err == nil {
		return "", fmt.Errorf("moving %s aside: %w", path, ErrSound)
	} else if !errors.Is(err, ErrDamaged) {
		return "", fmt.Errorf("moving it aside: %w", err)
	}
	to = path + ".damaged-" + now.UTC().Format("20060102T150405Z")
	if _, err := os.Lstat(to); err == nil {
		return "", fmt.Errorf("moving %s aside: %s is there already", path, to)
	}
	if err := os.Rename(path, to); err != nil {
		return "", fmt.Errorf("moving it aside: %w", err)
	}
	return to, syncDir(filepath.Dir(path))
}
