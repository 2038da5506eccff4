package boltstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// messageKey orders messages by intent, seq and recipient. A recipient is as long as
// a URL at most, which fits: bbolt's keys end at 32 KiB.
func messageKey(id store.MessageID) []byte {
	return append(eventKey(id.Intent, id.Seq), id.To...)
}

// dueKey orders messages by when they are due.
func dueKey(due time.Time, message []byte) []byte {
	return append(timeKey(due), message...)
}

// A letter is a message, encoded.
type letter struct {
	key  []byte
	due  []byte // its place among those that are due; nil if it is dead
	body []byte
}

func encodeLetters(messages []store.Message) ([]letter, error) {
	var letters []letter
	for i := range messages {
		m := &messages[i]
		body, err := json.Marshal(m)
		if err != nil {
			return nil, fmt.Errorf("encoding a message about intent %s: %w", m.Intent, err)
		}
		l := letter{key: messageKey(m.MessageID), body: body}
		if !m.Dead {
			l.due = dueKey(m.Due, l.key)
		}
		letters = append(letters, l)
	}
	return letters, nil
}

// post stores a letter. The one that it takes the place of was taken out before.
func (t *txn) post(l letter) {
	t.put(t.outbox, l.key, l.body)
	if l.due != nil {
		t.put(t.due, l.due, nil)
	}
}

// message returns the message by this key.
func (t *txn) message(key []byte) (m store.Message, err error) {
	body := t.outbox.Get(key)
	if body == nil {
		return m, store.ErrNotFound
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return m, fmt.Errorf("decoding a message: %w", err)
	}
	return m, nil
}

// unpost takes a message out.
func (t *txn) unpost(key []byte, m *store.Message) {
	t.remove(t.outbox, key)
	t.remove(t.due, dueKey(m.Due, key))
}

// Collect is the method of [store.Outbox].
func (s *Store) Collect(ctx context.Context, now, until time.Time, n int) (collected []store.Message, err error) {
	err = s.view(ctx, func(t *txn) error { // most looks find nothing, and cost no write
		if len(t.dueAt(now, 1)) == 0 {
			return store.ErrNotFound
		}
		return nil
	})
	if err != nil {
		if err == store.ErrNotFound {
			err = nil
		}
		return nil, err
	}
	err = s.committer.do(ctx, &op{apply: func(t *txn) error {
		collected = nil
		for _, place := range t.dueAt(now, n) {
			key := place[timeSize:]
			m, err := t.message(key)
			if err != nil { // it leads nowhere, or to what nobody can read
				t.remove(t.due, place)
				continue
			}
			t.unpost(key, &m)
			m.Due = until
			letters, err := encodeLetters([]store.Message{m})
			if err != nil {
				return err
			}
			t.post(letters[0])
			collected = append(collected, m)
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return collected, nil
}

// dueAt returns the places of up to n messages that are due.
func (t *txn) dueAt(now time.Time, n int) (places [][]byte) {
	end := timeKey(now)
	c := t.due.Cursor()
	for place, _ := c.First(); place != nil && len(places) < n; place, _ = c.Next() {
		if len(place) < timeSize || bytes.Compare(place[:timeSize], end) > 0 {
			break
		}
		places = append(places, bytes.Clone(place))
	}
	return places
}

// Keep is the method of [store.Outbox].
func (s *Store) Keep(ctx context.Context, m store.Message) error {
	key := messageKey(m.MessageID)
	return s.committer.do(ctx, &op{apply: func(t *txn) error {
		kept, err := t.message(key)
		if err != nil {
			return err
		}
		t.unpost(key, &kept)
		kept.Due, kept.Attempts, kept.Failure, kept.Dead = m.Due, m.Attempts, m.Failure, m.Dead
		letters, err := encodeLetters([]store.Message{kept})
		if err != nil {
			return err
		}
		t.post(letters[0])
		return nil
	}})
}

// Discard is the method of [store.Outbox].
func (s *Store) Discard(ctx context.Context, id store.MessageID) error {
	key := messageKey(id)
	return s.committer.do(ctx, &op{apply: func(t *txn) error {
		if m, err := t.message(key); err == nil {
			t.unpost(key, &m)
		}
		return nil
	}})
}

// Messages is the method of [store.Outbox].
func (s *Store) Messages(ctx context.Context, after store.MessageID, n int) (messages []store.Message, err error) {
	err = s.view(ctx, func(t *txn) error {
		c := t.outbox.Cursor()
		from := messageKey(after)
		key, body := c.Seek(from)
		if after != (store.MessageID{}) && bytes.Equal(key, from) {
			key, body = c.Next()
		}
		for ; key != nil && len(messages) < n; key, body = c.Next() {
			var m store.Message
			if err := json.Unmarshal(body, &m); err != nil {
				return fmt.Errorf("decoding a message about intent %s: %w", intent.ID(key[:len(intent.ID{})]), err)
			}
			messages = append(messages, m)
		}
		return nil
	})
	return messages, err
}
