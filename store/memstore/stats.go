package memstore

import (
	"context"

	"github.com/caddy-intents/caddy-intents/store"
)

// Stats counts what is kept.
func (s *Store) Stats(ctx context.Context) (store.Stats, error) {
	if err := s.lock(ctx); err != nil {
		return store.Stats{}, err
	}
	defer s.mu.Unlock()
	st := store.Stats{Messages: len(s.outbox)}
	for _, r := range s.records {
		if r.ended {
			st.Ended++
		} else {
			st.Running++
		}
	}
	return st, nil
}
