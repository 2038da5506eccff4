package boltstore

import (
	"bytes"
	"cmp"
	"context"

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
	l := listing{filter: f, limit: cmp.Or(f.Limit, 100), before: f.Before}
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
	limit    int
	before   intent.ID // what is older is to be looked at yet
	page     store.Page
	finished bool
}

// fill looks at the next records, from the youngest on.
func (l *listing) fill(t *txn) error {
	active, done := newDescent(t.active, l.before), newDescent(t.done, l.before)
	for range listLength {
		d := active
		if bytes.Compare(done.key, active.key) > 0 {
			d = done
		}
		if d.key == nil {
			l.finished = true
			return nil
		}
		if err := l.look(t, intent.ID(d.key), d.value); err != nil || l.finished {
			return err
		}
		d.next()
	}
	return nil
}

// look adds the intent to the page if it belongs there. One more than the page
// holds tells that there is a next page.
func (l *listing) look(t *txn, id intent.ID, raw []byte) error {
	l.before = id
	r, err := parseRecord(raw)
	if err != nil || r.seq == 0 {
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

// A descent goes through a bucket from right to left; its key is nil at the end.
type descent struct {
	cursor     *bbolt.Cursor
	key, value []byte
}

// newDescent starts left of before, or at the right end if that is zero.
func newDescent(b *bbolt.Bucket, before intent.ID) *descent {
	d := &descent{cursor: b.Cursor()}
	if before == (intent.ID{}) {
		d.key, d.value = d.cursor.Last()
		return d
	}
	if key, _ := d.cursor.Seek(before[:]); key == nil {
		d.key, d.value = d.cursor.Last()
		return d
	}
	d.next()
	return d
}

func (d *descent) next() { d.key, d.value = d.cursor.Prev() }
