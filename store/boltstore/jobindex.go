package boltstore

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sync"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A jobHash is where the index has a job. It has one size whatever the backend's URLs
// look like: bbolt's keys end at 32 KiB.
type jobHash [sha256.Size]byte

func hashOf(key store.JobKey) (hash jobHash) {
	h := sha256.New()
	h.Write([]byte(key.Scope))
	h.Write([]byte{0}) // no scope holds it, being a word of the config
	h.Write([]byte(key.StatusURL))
	h.Sum(hash[:0])
	return hash
}

// A jobIndex finds the intent of a job. Its bucket is in the order of hashes, so that an
// entry by itself costs a page of its own to write. Therefore entries wait: their rows
// are in a bucket that grows at its edge, one row for each transaction, they themselves in memory. When enough wait
// they are moved in the order of their hashes, with each transaction some more than it
// adds, so that several share a page and no transaction is a long one.
//
// There are two buckets of rows. While the entries of the one are moved, new ones go to
// the other; a bucket is emptied as a whole when all of its entries have moved. After a
// crash those that had moved are moved again, which changes nothing.
type jobIndex struct {
	enough int // entries that wait before they are moved

	mu    sync.RWMutex // locked by the committer when it changes what follows; it alone does
	young map[jobHash]intent.ID
	old   map[jobHash]intent.ID // what is being moved; nil for nothing

	// Of the committer alone.
	order []jobHash // the keys of old that have not moved, sorted
	grows int       // which of the two buckets has the rows of young
	row   uint64    // the last one, ever
}

// enoughWaiting bounds what Open has to read, and the memory, to a megabyte or two.
const enoughWaiting = 8192

// waiting returns the intent of a job if its entry waits; zero if it does not. A reader
// has to ask before it takes its snapshot: an entry that has moved by then is in it.
func (x *jobIndex) waiting(job jobHash) intent.ID {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if id, ok := x.young[job]; ok {
		return id
	}
	return x.old[job]
}

// load reads the rows of a file that was just opened. A row can lead to an intent that
// was removed when its entry had moved.
func (x *jobIndex) load(t *txn) {
	x.young, x.old = make(map[jobHash]intent.ID), nil
	first, _ := t.rows[0].Cursor().First()
	other, _ := t.rows[1].Cursor().First()
	if x.grows = 0; bytes.Compare(first, other) < 0 {
		x.grows = 1
	}
	x.read(t, x.grows, x.young)
	if old := make(map[jobHash]intent.ID); x.read(t, 1-x.grows, old) {
		x.putInOrder(old)
	}
}

// read reads one of the buckets of rows, and reports whether there is any.
func (x *jobIndex) read(t *txn, bucket int, entries map[jobHash]intent.ID) (any bool) {
	c := t.rows[bucket].Cursor()
	for key, row := c.First(); key != nil; key, row = c.Next() {
		any = true
		if len(key) != rowKeySize || len(row)%entrySize != 0 {
			continue // nobody can tell whose it was
		}
		x.row = max(x.row, binary.BigEndian.Uint64(key))
		for entry := range slices.Chunk(row, entrySize) {
			job, id := jobHash(entry), intent.ID(entry[len(jobHash{}):])
			if _, _, err := t.find(id); err == nil {
				entries[job] = id
			}
		}
	}
	return any
}

const (
	rowKeySize = 8
	entrySize  = len(jobHash{}) + len(intent.ID{})
)

func (x *jobIndex) putInOrder(old map[jobHash]intent.ID) {
	x.old, x.order = old, make([]jobHash, 0, len(old))
	for job := range old {
		x.order = append(x.order, job)
	}
	slices.SortFunc(x.order, func(a, b jobHash) int { return bytes.Compare(a[:], b[:]) })
}

// An indexing is what one transaction does to the index. It changes the memory once the
// transaction is durable.
type indexing struct {
	*jobIndex
	changed map[jobHash]intent.ID // zero for what does not wait any more
	added   []byte                // the row
	moved   int                   // of order
	emptied bool                  // all of it
}

func (x *jobIndex) begin() *indexing {
	return &indexing{jobIndex: x, changed: make(map[jobHash]intent.ID)}
}

// waiting is that of the index, as this transaction will leave it.
func (x *indexing) waiting(job jobHash) intent.ID {
	if id, ok := x.changed[job]; ok {
		return id
	}
	return x.jobIndex.waiting(job)
}

// add has the index lead to an intent from now on.
func (x *indexing) add(job jobHash, id intent.ID) {
	x.added = append(append(x.added, job[:]...), id[:]...)
	x.changed[job] = id
}

// remove has the index not lead to an intent any more.
func (x *indexing) remove(t *txn, job jobHash, id intent.ID) {
	if x.waiting(job) == id {
		x.changed[job] = intent.ID{}
	}
	if bytes.Equal(t.job.Get(job[:]), id[:]) {
		t.remove(t.job, job[:])
	}
}

// write puts the row of what was added, and moves some of the entries that are to be moved.
func (x *indexing) write(t *txn) {
	if x.added != nil {
		x.row++
		t.put(t.rows[x.grows], binary.BigEndian.AppendUint64(nil, x.row), x.added)
	}
	if x.old != nil {
		x.move(t)
	}
}

func (x *indexing) move(t *txn) {
	const least = 32
	x.moved = min(len(x.order), max(2*len(x.changed), least))
	for _, job := range x.order[:x.moved] {
		id := x.old[job]
		if now, ok := x.changed[job]; id == (intent.ID{}) || ok && now == (intent.ID{}) {
			continue // it was removed while it waited
		}
		t.put(t.job, job[:], id[:])
	}
	if x.moved == len(x.order) {
		x.emptied = true
		t.empty(1 - x.grows)
	}
}

// settle changes the memory as the transaction has changed the file.
func (x *indexing) settle() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for job, id := range x.changed {
		if id == (intent.ID{}) {
			delete(x.young, job)
			delete(x.old, job)
			continue
		}
		x.young[job] = id
	}
	x.order = x.order[x.moved:]
	if x.emptied {
		x.old, x.order = nil, nil
	}
	if x.old == nil && len(x.young) >= x.enough {
		x.putInOrder(x.young)
		x.young, x.grows = make(map[jobHash]intent.ID), 1-x.grows
	}
}

// empty makes a bucket of rows anew.
func (t *txn) empty(bucket int) {
	tx, name := t.job.Tx(), bucketRows[bucket]
	t.wrote = true
	if t.err == nil {
		t.err = tx.DeleteBucket(name)
	}
	if t.err == nil {
		t.rows[bucket], t.err = tx.CreateBucket(name)
	}
}

// byJob returns the latest intent of a job that a reader may see: the one whose entry
// waits, if it is one, or that in the bucket.
func (t *txn) byJob(job jobHash, waiting intent.ID) (intent.ID, error) {
	if waiting != (intent.ID{}) && t.shown(waiting) {
		return waiting, nil
	}
	if value := t.job.Get(job[:]); len(value) == len(intent.ID{}) && t.shown(intent.ID(value)) {
		return intent.ID(value), nil
	}
	return intent.ID{}, store.ErrNotFound
}

// shown reports whether there is such an intent and it is no reservation.
func (t *txn) shown(id intent.ID) bool {
	r, _, err := t.find(id)
	return err == nil && r.seq > 0
}
