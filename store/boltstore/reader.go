package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Get is the method of [store.Reader].
func (s *Store) Get(ctx context.Context, id intent.ID) (in intent.Intent, err error) {
	err = s.viewIntent(ctx, func(t *txn) error {
		in, err = t.visible(id)
		return err
	})
	return in, err
}

// Events is the method of [store.Reader].
func (s *Store) Events(ctx context.Context, id intent.ID, after int64) (in intent.Intent, events []intent.Event, err error) {
	err = s.viewIntent(ctx, func(t *txn) error {
		if in, err = t.visible(id); err != nil || in.Seq <= after {
			return err // most readers are up to date
		}
		events, err = t.eventsAfter(id, max(after, 0))
		return err
	})
	return in, events, err
}

// visible returns an intent that a reader may see.
func (t *txn) visible(id intent.ID) (intent.Intent, error) {
	r, _, err := t.find(id)
	switch {
	case err != nil:
		return intent.Intent{}, err
	case r.seq == 0:
		return intent.Intent{}, store.ErrNotFound
	}
	return t.intent(id, &r)
}

func (t *txn) eventsAfter(id intent.ID, after int64) (events []intent.Event, err error) {
	c := t.events.Cursor()
	for key, value := c.Seek(eventKey(id, after+1)); bytes.HasPrefix(key, id[:]); key, value = c.Next() {
		together, err := decodeEvents(value)
		if err != nil {
			return nil, fmt.Errorf("decoding events of intent %s: %w", id, err)
		}
		events = append(events, together...)
	}
	return slices.DeleteFunc(events, func(e intent.Event) bool { return e.Seq <= after }), nil
}

// ByJob is the method of [store.Reader].
func (s *Store) ByJob(ctx context.Context, key store.JobKey) (id intent.ID, err error) {
	job := hashOf(key)
	waiting := s.jobs.waiting(job)
	err = s.view(ctx, func(t *txn) error {
		id, err = t.byJob(job, waiting)
		return err
	})
	return id, err
}
