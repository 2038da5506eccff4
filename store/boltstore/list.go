package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// listLength bounds how many records one transaction of List goes past. A filter
// that picks few intents of many must not keep a snapshot, and with it the pages
// that others free, for as long as it takes.
const listLength = 1000

// List is the method of [store.Reader].
func (s *Store) List(ctx context.Context, f store.Filter) (store.Page, error) {
	l := listing{filter: f, sift: newSift(&f), limit: cmp.Or(f.Limit, 100), before: f.Start()}
	for !l.finished {
		if err := s.view(ctx, l.fill); err != nil {
			return store.Page{}, err
		}
	}
	return l.page, nil
}

// A listing is a page in the making.
type listing struct {
	filter   store.Filter
	sift     sift
	limit    int
	before   intent.ID // what is older is to be looked at yet
	looked   int
	page     store.Page
	finished bool
}

// fill looks at the next records, from the youngest on.
func (l *listing) fill(t *txn) error {
	descents := l.descents(t)
	for range listLength {
		if len(descents) == 0 { // a filter that contradicts itself
			l.finished = true
			return nil
		}
		d := slices.MaxFunc(descents, func(a, b *descent) int { return bytes.Compare(a.id, b.id) })
		switch {
		case d.id == nil:
			l.finished = true
			return nil
		case l.looked == store.MaxLooked:
			l.page.Next, l.finished = l.before, true
			return nil
		}
		l.looked++
		if err := l.look(t, d); err != nil || l.finished {
			return err
		}
		d.next()
	}
	return nil
}

// descents start at the youngest records that were not looked at yet. Together
// they go past all that can be picked.
func (l *listing) descents(t *txn) []*descent {
	var all []*descent
	if len(l.filter.Owners) == 0 {
		if !l.filter.OnlyEnded() {
			all = append(all, newDescent(t.active, nil, l.before))
		}
		if !l.filter.OnlyRunning() {
			all = append(all, newDescent(t.done, nil, l.before))
		}
	}
	for _, owner := range l.filter.Owners {
		all = append(all, newDescent(t.owner, ownerPrefix(owner), l.before))
	}
	return all
}

// look adds the intent to the page if it belongs there. One more than the page
// holds tells that there is a next page.
func (l *listing) look(t *txn, d *descent) error {
	id := intent.ID(d.id)
	l.before = id
	r, err := d.record(t)
	switch {
	case errors.Is(err, store.ErrNotFound): // an index can lead nowhere
		return nil
	case err != nil || r.seq == 0 || !l.sift.passes(t, id, &r):
		return err
	}
	in, err := t.intent(id, &r)
	if err != nil || !l.filter.Picks(&in) {
		return err
	}
	if len(l.page.Intents) == l.limit {
		l.page.Next = l.page.Intents[l.limit-1].ID
		l.finished = true
		return nil
	}
	l.page.Intents = append(l.page.Intents, in)
	return nil
}

// A descent goes through a bucket of records, or the part of an index whose keys are
// a prefix and an id, from right to left; its id is nil at the end.
type descent struct {
	cursor *bbolt.Cursor
	prefix []byte
	id     []byte
	value  []byte
}

// newDescent starts left of before, or at the right end if that is zero. Without a
// prefix the bucket is one of records.
func newDescent(b *bbolt.Bucket, prefix []byte, before intent.ID) *descent {
	if before == (intent.ID{}) {
		before = intent.ID(bytes.Repeat([]byte{0xff}, len(before))) // no id: it would be of another version
	}
	d := &descent{cursor: b.Cursor(), prefix: prefix}
	if key, _ := d.cursor.Seek(slices.Concat(prefix, before[:])); key == nil {
		d.take(d.cursor.Last())
		return d
	}
	d.next()
	return d
}

func (d *descent) next() {
	d.take(d.cursor.Prev())
}

func (d *descent) take(key, value []byte) {
	d.id = nil
	if key != nil && bytes.HasPrefix(key, d.prefix) {
		d.id, d.value = key[len(d.prefix):], value
	}
}

// record returns the record of the intent that the descent is at.
func (d *descent) record(t *txn) (record, error) {
	if d.prefix == nil {
		return parseRecord(d.value)
	}
	r, _, err := t.find(intent.ID(d.id))
	return r, err
}
