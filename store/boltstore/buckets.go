package boltstore

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// The buckets of schema 2. Ids are made in the order of time, so what is keyed by
// them grows at its right edge.
var (
	bucketOrigin  = []byte("imm")    // id -> what never changes: intent.Origin without Request
	bucketRequest = []byte("req")    // id -> Request, apart since it is large: neighbours of large values are slow to insert
	bucketActive  = []byte("active") // id -> record of a reservation or a running intent
	bucketDone    = []byte("done")   // id -> record of an ended intent
	bucketEvents  = []byte("ev")     // id, seq of the last one -> events that were stored together
	bucketJob     = []byte("job")    // jobHash -> id; see jobindex.go
	bucketExpiry  = []byte("exp")    // time, id -> nothing: ended intents in the order of their removal
	bucketOwner   = []byte("owner")  // hash of an owner, id -> nothing
	bucketKey     = []byte("idem")   // idempotency key -> id
	bucketReplay  = []byte("replay") // id -> store.Replay
	bucketOutbox  = []byte("outbox") // id, seq, recipient -> store.Message
	bucketDue     = []byte("due")    // time, id, seq, recipient -> nothing: messages in the order in which they are due
	bucketMeta    = []byte("meta")   // see file.go
)

// bucketRows are the two that entries of the job index wait in: number -> jobHash and id, of each.
var bucketRows = [2][]byte{[]byte("row0"), []byte("row1")}

var dataBuckets = [][]byte{
	bucketOrigin, bucketRequest, bucketActive, bucketDone, bucketEvents, bucketJob, bucketExpiry, bucketOwner, bucketKey, bucketReplay, bucketOutbox, bucketDue,
	bucketRows[0], bucketRows[1],
}

// fillPercent packs pages that are hardly ever inserted into after they were split.
const fillPercent = 0.9

// A txn is a transaction with its buckets open. Its reads work in both kinds of
// transaction; put and remove remember the first failure instead of returning it,
// because after one the whole transaction is lost, whoever's turn it was.
type txn struct {
	origin, request, active, done, events, job, expiry, owner, key, replay, outbox, due *bbolt.Bucket

	rows [2]*bbolt.Bucket
	jobs *indexing // nil in one that only reads

	decodings *decodings // nil where many are read that are not read again

	wrote bool
	err   error
}

func bucketsOf(tx *bbolt.Tx) *txn {
	t := &txn{
		origin:  tx.Bucket(bucketOrigin),
		request: tx.Bucket(bucketRequest),
		active:  tx.Bucket(bucketActive),
		done:    tx.Bucket(bucketDone),
		events:  tx.Bucket(bucketEvents),
		job:     tx.Bucket(bucketJob),
		expiry:  tx.Bucket(bucketExpiry),
		owner:   tx.Bucket(bucketOwner),
		key:     tx.Bucket(bucketKey),
		replay:  tx.Bucket(bucketReplay),
		outbox:  tx.Bucket(bucketOutbox),
		due:     tx.Bucket(bucketDue),
		rows:    [2]*bbolt.Bucket{tx.Bucket(bucketRows[0]), tx.Bucket(bucketRows[1])},
	}
	for _, b := range []*bbolt.Bucket{t.origin, t.request, t.active, t.done, t.events, t.expiry, t.rows[0], t.rows[1]} {
		b.FillPercent = fillPercent
	}
	return t
}

// intentBucketsOf opens only what one intent is read from: to open all of them takes longer
// than to find it.
func (s *Store) intentBucketsOf(tx *bbolt.Tx) *txn {
	return &txn{
		decodings: &s.decodings,

		origin:  tx.Bucket(bucketOrigin),
		request: tx.Bucket(bucketRequest),
		active:  tx.Bucket(bucketActive),
		done:    tx.Bucket(bucketDone),
		events:  tx.Bucket(bucketEvents),
	}
}

func (t *txn) put(b *bbolt.Bucket, key, value []byte) {
	t.wrote = true
	if t.err == nil {
		t.err = b.Put(key, value)
	}
}

func (t *txn) remove(b *bbolt.Bucket, key []byte) {
	t.wrote = true
	if t.err == nil {
		t.err = b.Delete(key)
	}
}

// find returns the record of an intent or a reservation and whether it has ended.
func (t *txn) find(id intent.ID) (r record, ended bool, err error) {
	raw := t.active.Get(id[:])
	if raw == nil {
		raw, ended = t.done.Get(id[:]), true
	}
	if raw == nil {
		return record{}, false, store.ErrNotFound
	}
	r, err = parseRecord(raw)
	return r, ended, err
}

// intent puts together the parts of the intent that r is the record of.
func (t *txn) intent(id intent.ID, r *record) (intent.Intent, error) {
	decode := decodeIntent
	if t.decodings != nil {
		decode = t.decodings.decode
	}
	return decode(id, t.origin.Get(id[:]), t.request.Get(id[:]), r.latest)
}

// eventKey orders the events of one intent by seq, and finds those that were stored
// together by any seq that is not after them.
func eventKey(id intent.ID, seq int64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, len(id)+8), id[:]...), uint64(seq))
}

// ownerKey orders the intents of an owner by age.
func ownerKey(owner string, id intent.ID) []byte {
	return append(ownerPrefix(owner), id[:]...)
}

func ownerPrefix(owner string) []byte {
	hash := sha256.Sum256([]byte(owner))
	return hash[:16]
}

// expiryKey orders by time.
func expiryKey(at time.Time, id intent.ID) []byte { return append(timeKey(at), id[:]...) }

// timeKey orders by time, to the nanosecond. Times before 1970, the zero time among
// them, come first.
func timeKey(at time.Time) []byte {
	key := make([]byte, 0, timeSize+len(intent.ID{}))
	key = binary.BigEndian.AppendUint64(key, uint64(max(at.Unix(), 0)))
	return binary.BigEndian.AppendUint32(key, uint32(at.Nanosecond()))
}

const timeSize = 8 + 4 // bytes
