package boltstore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// bbolt trusts its pages. At damaged ones it panics, loops for ever, or, when it
// looks for the free pages after a crash, panics in a goroutine of its own where
// nobody can catch it (bbolt 1.5, DB.freepages). So all pages in use are walked
// through before it may write, with plain reads and the opposite of trust: each is
// where its number says, is of a known kind and reached once, its elements are
// inside of it and their keys in order, and none of them is listed as free.

// Layout of a page, in bytes; numbers are in the order of the machine.
const (
	pageHead    = 16 // id 8, flags 2, count 2, overflow 4
	elementHead = 16 // branch: pos 4, key size 4, child 8; leaf: flags 4, pos 4, key size 4, value size 4
	bucketHead  = 16 // what the value of a bucket begins with

	flagBranch   = 0x01
	flagLeaf     = 0x02
	flagFreelist = 0x10

	metaFreelist = pageHead + 32 // where a meta page has the number of the freelist
	metaTx       = pageHead + 48 // and that of its transaction
	noFreelist   = ^uint64(0)

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
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read from
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < tx.Size() {
		return fmt.Errorf("%w: it has %d bytes of %d", ErrDamaged, info.Size(), tx.Size())
	}
	w := &pageWalk{file: file, size: tx.DB().Info().PageSize}
	w.limit = uint64(tx.Size()) / uint64(w.size)
	w.seen = make([]bool, w.limit)
	if err := w.database(tx); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// database walks the root tree first, since only then its leaves can be trusted to
// name the others.
func (w *pageWalk) database(tx *bbolt.Tx) error {
	root := tree{w, true}
	if err := root.walk(uint64(tx.Cursor().Bucket().RootPage()), 0, nil, nil); err != nil {
		return err
	}
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		if b.RootPage() == 0 {
			return nil // it is small and lives in the page of its parent
		}
		err := tree{w, false}.walk(uint64(b.RootPage()), 0, nil, nil)
		if err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return w.freelist(uint64(tx.ID()))
}

// A tree is one bucket's. The root's leaves hold buckets and nothing else, those of
// the others hold none.
type tree struct {
	*pageWalk
	root bool
}

// walk goes through the pages below id, whose keys are from low on and below high;
// nil is no bound.
func (t tree) walk(id uint64, depth int, low, high []byte) error {
	if depth == maxDepth {
		return fmt.Errorf("page %d is too deep", id)
	}
	page, err := t.page(id, depth)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	elements, err := t.elements(page)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		if low != nil && bytes.Compare(e.key, low) < 0 || high != nil && bytes.Compare(e.key, high) >= 0 {
			return fmt.Errorf("page %d: key %d is out of place", id, i)
		}
		if i > 0 && bytes.Compare(e.key, elements[i-1].key) <= 0 {
			return fmt.Errorf("page %d: key %d is out of order", id, i)
		}
		if !e.branch {
			continue
		}
		next := high
		if i+1 < len(elements) {
			next = elements[i+1].key
		}
		if err := t.walk(e.child, depth+1, e.key, next); err != nil {
			return err
		}
	}
	return nil
}

// An element is an entry of a page.
type element struct {
	key    []byte
	branch bool
	child  uint64 // of a branch
}

func (t tree) elements(page []byte) ([]element, error) {
	order := binary.NativeEndian
	flags, count := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if flags != flagBranch && flags != flagLeaf {
		return nil, errors.New("it is of no known kind")
	}
	if pageHead+count*elementHead > len(page) || count == 0 && flags == flagBranch {
		return nil, errors.New("it cannot have as many elements as it says")
	}
	elements := make([]element, count)
	for i := range elements {
		body := page[pageHead+i*elementHead:] // positions count from the element
		head := body[:elementHead]
		pos, keySize, valueSize := order.Uint32(head), order.Uint32(head[4:]), uint32(0)
		if flags == flagLeaf {
			pos, keySize, valueSize = order.Uint32(head[4:]), order.Uint32(head[8:]), order.Uint32(head[12:])
			isBucket := order.Uint32(head) == 1 && valueSize >= bucketHead
			if isBucket != t.root || !isBucket && order.Uint32(head) != 0 {
				return nil, fmt.Errorf("element %d is of the wrong kind", i)
			}
		}
		if uint64(pos)+uint64(keySize)+uint64(valueSize) > uint64(len(body)) {
			return nil, fmt.Errorf("element %d leaves it", i)
		}
		elements[i] = element{key: body[pos:][:keySize], branch: flags == flagBranch}
		if elements[i].branch {
			elements[i].child = order.Uint64(head[8:])
		}
	}
	return elements, nil
}

// freelist checks the list of free pages that belongs to a transaction, if the file
// has one. It comes after the trees.
func (w *pageWalk) freelist(tx uint64) error {
	order := binary.NativeEndian
	meta, _, err := metaPage(w.file, tx, w.size)
	if err != nil {
		return err
	}
	id := order.Uint64(meta[metaFreelist:])
	if id == noFreelist {
		return nil
	}
	page, err := w.page(id, 0)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	count, list := uint64(order.Uint16(page[10:])), page[pageHead:]
	if count == 0xffff { // then the number is too large for its place
		count, list = order.Uint64(list), list[8:]
	}
	if order.Uint16(page[8:]) != flagFreelist || count > uint64(len(list)/8) {
		return errors.New("free list: it is none")
	}
	for i := range count {
		free := order.Uint64(list[8*i:])
		if free < 2 || free >= w.limit || w.seen[free] {
			return fmt.Errorf("free list: page %d is not free", free)
		}
		w.seen[free] = true
	}
	return nil
}

// metaPage returns the page that makes a transaction count, and where it is: one of
// the first two, which take turns, but not always the same one: a copy made by bbolt
// begins with the first.
func metaPage(file io.ReaderAt, tx uint64, size int) (page []byte, at int64, err error) {
	page = make([]byte, size)
	for n := range int64(2) {
		at = n * int64(size)
		if _, err := file.ReadAt(page, at); err != nil {
			return nil, 0, err
		}
		if binary.NativeEndian.Uint64(page[metaTx:]) == tx {
			return page, at, nil
		}
	}
	return nil, 0, errors.New("the first pages disagree")
}

// page reads a page with what overflows of it into the next ones.
func (w *pageWalk) page(id uint64, depth int) ([]byte, error) {
	if id < 2 || id >= w.limit {
		return nil, errors.New("there is no such page")
	}
	page, err := w.read(id, 1, depth)
	if err != nil {
		return nil, err
	}
	if said := binary.NativeEndian.Uint64(page); said != id {
		return nil, fmt.Errorf("it says that it is page %d", said)
	}
	length := 1 + uint64(binary.NativeEndian.Uint32(page[12:]))
	if length > w.limit-id {
		return nil, errors.New("it is longer than the file")
	}
	for i := range length {
		if w.seen[id+i] {
			return nil, errors.New("it is used twice")
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
