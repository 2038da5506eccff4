package memstore

import (
	"context"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Term is the method of [store.Holder]. Leases of this store never end.
func (s *Store) Term() time.Duration { return 0 }

// Claim is the method of [store.Holder].
func (s *Store) Claim(ctx context.Context, n int, _ ...store.JobName) ([]store.Held, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	var claimed []store.Held
	for id, r := range s.records {
		if len(claimed) >= n {
			break
		}
		if r.held || r.ended {
			continue
		}
		granted, err := r.grant(id)
		if err != nil {
			return claimed, err
		}
		r.held = true
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
	return r.grant(id)
}

// grant answers the holder. Leases of this store never end.
func (r *record) grant(id intent.ID) (store.Held, error) {
	in, err := decode[intent.Intent](r.body)
	if err != nil {
		return store.Held{}, fmt.Errorf("decoding intent %s: %w", id, err)
	}
	return store.Held{Lease: store.Lease{ID: id, Epoch: r.epoch}, Intent: in}, nil
}

// Renew is the method of [store.Holder].
func (s *Store) Renew(ctx context.Context, leases []store.Lease) (lost []intent.ID, err error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	for _, l := range leases {
		if _, err := s.held(l); err != nil {
			lost = append(lost, l.ID)
		}
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
