package memstore

import "maps"

// Reopen closes s and returns a store with the same content that nobody holds:
// what a durable store is after its process was killed. Tests restart with it what
// works on a store, in virtual time.
func (s *Store) Reopen() *Store {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	next := New()
	next.since = s.since
	for id, r := range s.records {
		copied := *r
		copied.held = false
		next.records[id] = &copied
	}
	maps.Copy(next.jobs, s.jobs)
	maps.Copy(next.keys, s.keys)
	maps.Copy(next.outbox, s.outbox)
	return next
}
