package boltstore

import (
	"bytes"
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// purgeLength bounds the intents that one transaction removes: others wait for it.
const purgeLength = 250

// Purge is the method of [store.Store].
func (s *Store) Purge(ctx context.Context, now time.Time, n int) (int, error) {
	removed := 0
	for removed < n {
		want, got := min(n-removed, purgeLength), 0
		err := s.committer.do(ctx, &op{
			size: maxGroupBytes, // a group for itself and for what came before
			apply: func(t *txn) error {
				got = t.purge(now, want)
				return nil
			},
		})
		if err != nil {
			return removed, err
		}
		removed += got
		if got < want {
			break
		}
	}
	return removed, nil
}

// purge removes up to n expired intents and tells how many.
func (t *txn) purge(now time.Time, n int) int {
	expired := t.expired(now, n)
	for _, key := range expired {
		id := intent.ID(key[len(key)-len(intent.ID{}):])
		t.unindex(id)
		for _, seq := range t.eventKeys(id) {
			t.remove(t.events, seq)
		}
		t.remove(t.done, id[:])
		t.remove(t.origin, id[:])
		t.remove(t.request, id[:])
		t.remove(t.replay, id[:])
		t.remove(t.expiry, key)
	}
	return len(expired)
}

// expired returns the keys of what is to go. They are collected before anything is
// removed, since a removal moves the cursor.
func (t *txn) expired(now time.Time, n int) (keys [][]byte) {
	end := expiryKey(now, intent.ID{})
	end = end[:len(end)-len(intent.ID{})]
	c := t.expiry.Cursor()
	for key, _ := c.First(); key != nil && len(keys) < n; key, _ = c.Next() {
		if bytes.Compare(key[:len(end)], end) > 0 {
			break
		}
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

func (t *txn) eventKeys(id intent.ID) (keys [][]byte) {
	c := t.events.Cursor()
	for key, _ := c.Seek(id[:]); bytes.HasPrefix(key, id[:]); key, _ = c.Next() {
		keys = append(keys, bytes.Clone(key))
	}
	return keys
}

// unindex removes the entries that lead to this intent. An intent that cannot be
// read leaves entries that lead nowhere.
func (t *txn) unindex(id intent.ID) {
	r, _, err := t.find(id)
	if err != nil {
		return
	}
	in, err := t.intent(id, &r)
	if err != nil {
		return
	}
	if in.Owner != "" {
		t.remove(t.owner, ownerKey(in.Owner, id))
	}
	if in.Key != "" && bytes.Equal(t.key.Get([]byte(in.Key)), id[:]) {
		t.remove(t.key, []byte(in.Key))
	}
	if r.indexed {
		t.jobs.remove(t, hashOf(store.KeyOf(&in)), id)
	}
}
