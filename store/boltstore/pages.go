package boltstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// After a crash bbolt looks for the free pages by walking through all others, in a
// goroutine of its own, whose panic at a damaged page nobody can catch
// (bbolt 1.5, DB.freepages). So the pages are walked here first, with the same
// suspicion and plain reads: every page is where its number says, is of a known
// kind, is reached once, and its elements are inside of it.

// Layout of a page, in bytes; numbers are in the order of the machine.
const (
	pageHead    = 16 // id 8, flags 2, count 2, overflow 4
	elementHead = 16 // branch: pos 4, key size 4, child 8; leaf: flags 4, pos 4, key size 4, value size 4

	flagBranch = 0x01
	flagLeaf   = 0x02

	maxDepth = 64
)

// A pageWalk reads the trees of one file.
type pageWalk struct {
	file  *os.File
	size  int    // of a page
	limit uint64 // pages from here on are not in use
	seen  []bool
	pages [maxDepth][]byte // the page that is being looked at, at each depth
}

// checkPages walks through every page in use.
func checkPages(tx *bbolt.Tx, path string) error {
	if err := checkSize(tx, path); err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	w := &pageWalk{file: file, size: tx.DB().Info().PageSize}
	w.limit = uint64(tx.Size()) / uint64(w.size)
	w.seen = make([]bool, w.limit)

	root := tx.Cursor().Bucket()
	if err := w.tree(uint64(root.RootPage()), true, 0); err != nil {
		return err
	}
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if b.RootPage() == 0 {
			return nil // it is small and lives in the page of its parent
		}
		if err := w.tree(uint64(b.RootPage()), false, 0); err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		}
		return nil
	})
}

// checkSize finds a file that lost its end.
func checkSize(tx *bbolt.Tx, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("the file is damaged: it has %d bytes of %d", info.Size(), tx.Size())
	}
	return nil
}

// tree walks the pages below id. Only the root tree has buckets in its leaves.
func (w *pageWalk) tree(id uint64, root bool, depth int) error {
	damaged := func(what string) error { return fmt.Errorf("the file is damaged: page %d %s", id, what) }
	if id >= w.limit || depth == maxDepth {
		return damaged("is out of place")
	}
	page, err := w.page(id, depth)
	if err != nil {
		return damaged(err.Error())
	}
	order := binary.NativeEndian
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return damaged("is of no known kind")
	}
	if pageHead+count*elementHead > len(page) {
		return damaged("has more elements than room")
	}
	for i := range count {
		at := pageHead + i*elementHead
		element := page[at : at+elementHead]
		if !fits(element, flags, len(page)-at) {
			return damaged("has an element that leaves it")
		}
		switch {
		case flags == flagBranch:
			if err := w.tree(order.Uint64(element[8:]), root, depth+1); err != nil {
				return err
			}
		case !root && order.Uint32(element) != 0:
			return damaged("has a bucket where none belongs")
		}
	}
	return nil
}

// fits reports whether the key and value of an element are within room, the bytes
// from the element to the end of its page.
func fits(element []byte, flags uint16, room int) bool {
	order := binary.NativeEndian
	if flags == flagBranch {
		return uint64(order.Uint32(element))+uint64(order.Uint32(element[4:])) <= uint64(room)
	}
	end := uint64(order.Uint32(element[4:])) + uint64(order.Uint32(element[8:])) + uint64(order.Uint32(element[12:]))
	return end <= uint64(room)
}

// page reads a page with what overflows of it into the next ones.
func (w *pageWalk) page(id uint64, depth int) ([]byte, error) {
	page, err := w.read(id, 1, depth)
	if err != nil {
		return nil, err
	}
	if said := binary.NativeEndian.Uint64(page); said != id {
		return nil, fmt.Errorf("says that it is page %d", said)
	}
	length := 1 + uint64(binary.NativeEndian.Uint32(page[12:]))
	if length > w.limit-id {
		return nil, errors.New("is longer than the file")
	}
	for i := range length {
		if w.seen[id+i] {
			return nil, errors.New("is reached twice")
		}
		w.seen[id+i] = true
	}
	if length == 1 {
		return page, nil
	}
	return w.read(id, length, depth)
}

// read reads pages into the buffer of its depth.
func (w *pageWalk) read(id, length uint64, depth int) ([]byte, error) {
	w.pages[depth] = slices.Grow(w.pages[depth][:0], int(length)*w.size)[:int(length)*w.size]
	_, err := w.file.ReadAt(w.pages[depth], int64(id)*int64(w.size))
	return w.pages[depth], err
}
