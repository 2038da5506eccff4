package memstore

import (
	"context"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Watch is the method of [store.Signaler]. Whoever holds the intent is in this
// process and listening, so there is nothing to keep.
func (s *Store) Watch(ctx context.Context, id intent.ID, until time.Time) error {
	return s.signal(ctx, store.Signal{ID: id, Kind: store.Watched, Until: until})
}

// signal reaches every process that shares the store: there is one.
func (s *Store) signal(ctx context.Context, signal store.Signal) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	s.mu.Unlock()
	s.board.Post(signal)
	return nil
}

// Listen is the method of [store.Signaler].
func (s *Store) Listen(f func(store.Signal)) (stop func()) { return s.board.Listen(f) }
