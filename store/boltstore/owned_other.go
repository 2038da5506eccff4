//go:build !unix

package boltstore

import "os"

// ownedLike does nothing where new files inherit from their directory.
func ownedLike(string, os.FileInfo) error { return nil }
