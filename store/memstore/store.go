// Package memstore keeps intents in memory, for tests and demos: nothing survives
// the process. It is also the smallest correct [store.Store] and the one to read
// before writing another. One mutex guards everything, there is no goroutine, and no
// clock but for leases, so it works inside testing/synctest.
//
// Intents and events are kept as JSON, as a durable store would keep them. That
// is what makes every answer the caller's own, down to the last map and pointer,
// and it hides nothing from tests that a real store would lose.
package memstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Store is a [store.Store]. Make it with [New].
type Store struct {
	board store.Board
	term  time.Duration // of leases; 0 for ever
	since time.Time

	mu      sync.Mutex
	closed  bool
	records map[intent.ID]*record
	jobs    map[store.JobKey]intent.ID
	keys    map[string]intent.ID // by idempotency key
	outbox  map[store.MessageID]letter
}

var _ store.Store = (*Store)(nil)

// A record is one intent or reservation.
type record struct {
	body    []byte   // the intent.Intent
	events  [][]byte // of intent.Event; the one of seq n at n-1
	epoch   int64
	held    bool
	until   time.Time // when that ends; zero for never
	ended   bool
	expires time.Time
	job     store.JobKey // zero until delivered
	key     string       // idempotency key
	replay  []byte       // the store.Replay
	told    *telling     // nil for nothing
}

func (r *record) seq() int64 { return int64(len(r.events)) }

// New returns an empty store.
func New() *Store {
	return &Store{
		since:   time.Now(),
		records: make(map[intent.ID]*record),
		jobs:    make(map[store.JobKey]intent.ID),
		keys:    make(map[string]intent.ID),
		outbox:  make(map[store.MessageID]letter),
	}
}

// NewLeased returns an empty store whose leases end, as those of a store do that several
// processes share. In a test, engines in one process share it.
func NewLeased(term time.Duration) *Store {
	s := New()
	s.term = term
	return s
}

// Now is the method of [store.Store].
func (*Store) Now() time.Time { return time.Now() }

// Since is when the store was begun.
func (s *Store) Since() time.Time { return s.since }

// Close is the method of [store.Store].
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Purge is the method of [store.Store].
func (s *Store) Purge(ctx context.Context, now time.Time, n int) (int, error) {
	if err := s.lock(ctx); err != nil {
		return 0, err
	}
	defer s.mu.Unlock()
	removed := 0
	for id, r := range s.records {
		if removed == n {
			break
		}
		if r.ended && !r.expires.After(now) {
			s.remove(id, r)
			removed++
		}
	}
	return removed, nil
}

func (s *Store) remove(id intent.ID, r *record) {
	delete(s.records, id)
	if s.jobs[r.job] == id {
		delete(s.jobs, r.job)
	}
	if r.key != "" {
		delete(s.keys, r.key)
	}
}

// lock takes the mutex for a call that may go on.
func (s *Store) lock(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return store.ErrUnavailable
	}
	return nil
}

// held returns the record if the lease holds it.
func (s *Store) held(l store.Lease) (*record, error) {
	r := s.records[l.ID]
	switch {
	case r == nil:
		return nil, store.ErrNotFound
	case r.epoch != l.Epoch:
		return nil, store.ErrFenced
	case r.ended:
		return nil, store.ErrEnded
	case !r.held:
		return nil, store.ErrFenced
	}
	return r, nil
}

// set makes the record say what in and events say.
func (s *Store) set(r *record, in *intent.Intent, body []byte, events [][]byte) {
	r.body = body
	r.events = append(r.events, events...)
	if in.Status.Terminal() {
		r.ended, r.held, r.expires = true, false, in.Expires
	}
	if r.job == (store.JobKey{}) && in.StatusURL != "" {
		r.job = store.KeyOf(in)
		s.jobs[r.job] = in.ID
	}
}

// encode returns the JSON of an intent and of its events.
func encode(in *intent.Intent, events []intent.Event) (body []byte, encoded [][]byte, err error) {
	if body, err = json.Marshal(in); err != nil {
		return nil, nil, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	for i := range events {
		event, err := events[i].AppendJSON(nil)
		if err != nil {
			return nil, nil, fmt.Errorf("encoding event %d of %s: %w", events[i].Seq, in.ID, err)
		}
		encoded = append(encoded, event)
	}
	return body, encoded, nil
}

// decode reads what encode wrote.
func decode[T any](body []byte) (v T, err error) {
	err = json.Unmarshal(body, &v)
	return v, err
}

// stored reports whether events are what r has from the seq after on.
func (r *record) stored(after int64, events [][]byte) bool {
	end := after + int64(len(events))
	return len(events) > 0 && after >= 0 && end <= r.seq() &&
		slices.EqualFunc(r.events[after:end], events, bytes.Equal)
}
