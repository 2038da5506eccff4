package memstore

import (
	"bytes"
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A telling is kept with the intent that it is about.
type telling struct {
	store.Telling
	until time.Time
}

// Want is the method of [store.Teller].
func (s *Store) Want(ctx context.Context, id intent.ID, until time.Time) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Wanted, Until: until})
}

// Void is the method of [store.Teller].
func (s *Store) Void(ctx context.Context, id intent.ID) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Voided})
}

// Tell is the method of [store.Teller].
func (s *Store) Tell(ctx context.Context, l store.Lease, t store.Telling) error {
	if err := s.keepTelling(ctx, l, t); err != nil {
		return err
	}
	s.board.Post(store.Signal{ID: l.ID, Kind: store.Told})
	return nil
}

func (s *Store) keepTelling(ctx context.Context, l store.Lease, t store.Telling) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r := s.records[l.ID]
	switch {
	case r == nil:
		return store.ErrNotFound
	case r.epoch != l.Epoch || !r.held && !r.ended:
		return store.ErrFenced
	}
	t.Words, t.Body = bytes.Clone(t.Words), bytes.Clone(t.Body)
	if t.Body == nil && t.Mark != "" {
		if r.told == nil || r.told.Mark != t.Mark || !time.Now().Before(r.told.until) {
			return store.ErrMissing
		}
		t.Body = r.told.Body
	}
	r.told = &telling{t, time.Now().Add(store.TellingKept)}
	return nil
}

// Told is the method of [store.Teller].
func (s *Store) Told(ctx context.Context, id intent.ID, known string) (store.Telling, error) {
	if err := s.lock(ctx); err != nil {
		return store.Telling{}, err
	}
	defer s.mu.Unlock()
	r := s.records[id]
	if r == nil || r.told == nil || !time.Now().Before(r.told.until) {
		return store.Telling{}, store.ErrNotFound
	}
	t := r.told.Telling
	t.Words, t.Body = bytes.Clone(t.Words), bytes.Clone(t.Body)
	if t.Mark == known {
		t.Body = nil
	}
	return t, nil
}

var _ store.Teller = (*Store)(nil)
