package memstore

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Term is the method of [store.Holder].
func (s *Store) Term() time.Duration { return s.term }

// Claim is the method of [store.Holder].
func (s *Store) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var claimed []store.Held
	for id, r := range s.records {
		if len(claimed) >= n {
			break
		}
		if !s.free(r) {
			continue
		}
		in, err := decode[intent.Intent](r.body)
		if err != nil {
			return claimed, err
		}
		if s.term > 0 && len(of) > 0 && time.Now().Before(in.Deadline) && !slices.Contains(of, store.JobName{Scope: in.Scope, Name: in.Job}) {
			continue
		}
		if r.held { // its lease is over, and who had it is to find that out
			r.epoch++
		}
		r.held = true
		granted, err := s.grant(id, r)
		if err != nil {
			return claimed, err
		}
		claimed = append(claimed, granted)
	}
	return claimed, nil
}

// Take is the method of [store.Holder].
func (s *Store) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	if err := s.lock(ctx); err != nil {
		return store.Held{}, err
	}
	defer s.mu.Unlock()
	r := s.records[id]
	switch {
	case r == nil:
		return store.Held{}, store.ErrNotFound
	case r.ended:
		return store.Held{}, store.ErrEnded
	}
	r.held = true
	r.epoch++
	return s.grant(id, r)
}

// Unheld is the method of [store.Holder].
func (s *Store) Unheld(ctx context.Context) (map[store.JobName]int, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	free := make(map[store.JobName]int)
	for _, r := range s.records {
		if !s.free(r) {
			continue
		}
		in, err := decode[intent.Intent](r.body)
		if err != nil {
			return nil, err
		}
		free[store.JobName{Scope: in.Scope, Name: in.Job}]++
	}
	return free, nil
}

// free reports whether anybody may claim it.
func (s *Store) free(r *record) bool {
	return !r.ended && (!r.held || s.term > 0 && !time.Now().Before(r.until))
}

// grant answers the holder and begins a term.
func (s *Store) grant(id intent.ID, r *record) (store.Held, error) {
	in, err := decode[intent.Intent](r.body)
	if err != nil {
		return store.Held{}, fmt.Errorf("decoding intent %s: %w", id, err)
	}
	if s.term > 0 {
		r.until = time.Now().Add(s.term)
	}
	return store.Held{Lease: store.Lease{ID: id, Epoch: r.epoch}, Until: r.until, Intent: in}, nil
}

// Renew is the method of [store.Holder].
func (s *Store) Renew(ctx context.Context, leases []store.Lease) (lost []intent.ID, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, l := range leases {
		r, err := s.held(l)
		if err != nil {
			lost = append(lost, l.ID)
			continue
		}
		r.until = time.Now().Add(s.term)
	}
	return lost, nil
}

// Release is the method of [store.Holder].
func (s *Store) Release(ctx context.Context, l store.Lease) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r, err := s.held(l)
	if err != nil {
		return err
	}
	r.held = false
	return nil
}
