package memstore

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/caddy-intents/caddy-intents/store"
)

// A letter is a message as it is kept.
type letter struct {
	body []byte // the store.Message
	due  time.Time
	dead bool
}

func encodeLetter(m *store.Message) (letter, error) {
	body, err := json.Marshal(m)
	if err != nil {
		return letter{}, fmt.Errorf("encoding a message about %s: %w", m.Intent, err)
	}
	return letter{body: body, due: m.Due, dead: m.Dead}, nil
}

// post puts the messages of a change into the outbox. The caller holds the mutex.
func (s *Store) post(messages []store.Message) error {
	for i := range messages {
		l, err := encodeLetter(&messages[i])
		if err != nil {
			return err
		}
		s.outbox[messages[i].MessageID] = l
	}
	return nil
}

// Collect is the method of [store.Outbox].
func (s *Store) Collect(ctx context.Context, now, until time.Time, n int) ([]store.Message, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var due []store.MessageID
	for id, l := range s.outbox {
		if !l.dead && !l.due.After(now) {
			due = append(due, id)
		}
	}
	slices.SortFunc(due, func(a, b store.MessageID) int {
		return cmp.Or(s.outbox[a].due.Compare(s.outbox[b].due), compareIDs(a, b))
	})
	var collected []store.Message
	for _, id := range due[:min(n, len(due))] {
		m, err := decode[store.Message](s.outbox[id].body)
		if err != nil {
			return collected, err
		}
		m.Due = until
		if err := s.post([]store.Message{m}); err != nil {
			return collected, err
		}
		collected = append(collected, m)
	}
	return collected, nil
}

// Keep is the method of [store.Outbox].
func (s *Store) Keep(ctx context.Context, m store.Message) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	l, ok := s.outbox[m.MessageID]
	if !ok {
		return store.ErrNotFound
	}
	kept, err := decode[store.Message](l.body)
	if err != nil {
		return err
	}
	kept.Due, kept.Attempts, kept.Failure, kept.Dead = m.Due, m.Attempts, m.Failure, m.Dead
	return s.post([]store.Message{kept})
}

// Discard is the method of [store.Outbox].
func (s *Store) Discard(ctx context.Context, id store.MessageID) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	delete(s.outbox, id)
	return nil
}

// Messages is the method of [store.Outbox].
func (s *Store) Messages(ctx context.Context, after store.MessageID, n int) ([]store.Message, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var ids []store.MessageID
	for id := range s.outbox {
		if compareIDs(id, after) > 0 {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareIDs)
	var messages []store.Message
	for _, id := range ids[:min(n, len(ids))] {
		m, err := decode[store.Message](s.outbox[id].body)
		if err != nil {
			return nil, err
		}
		messages = append(messages, m)
	}
	return messages, nil
}

func compareIDs(a, b store.MessageID) int {
	return cmp.Or(slices.Compare(a.Intent[:], b.Intent[:]), cmp.Compare(a.Seq, b.Seq), strings.Compare(a.To, b.To))
}
