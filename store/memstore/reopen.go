package memstore

import (
	"maps"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Reopen closes s and returns a store with the same content that nobody holds:
// what a durable store is after its process was killed. Tests restart with it what
// works on a store, in virtual time.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	next := &Store{records: make(map[intent.ID]*record, len(s.records)), jobs: make(map[store.JobKey]intent.ID)}
	for id, r := range s.records {
		copied := *r
		copied.held = false
		next.records[id] = &copied
	}
	maps.Copy(next.jobs, s.jobs)
	return next
}
