//go:build unix

package boltstore

import (
	"os"
	"syscall"
)

// ownedLike gives a file the owner and the group of another one: root compacts the
// file of the user that Caddy runs as.
func ownedLike(path string, other os.FileInfo) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	is, ok := info.Sys().(*syscall.Stat_t)
	was, same := other.Sys().(*syscall.Stat_t)
	if !ok || !same || is.Uid == was.Uid && is.Gid == was.Gid {
		return nil
	}
	return os.Chown(path, int(was.Uid), int(was.Gid))
}
