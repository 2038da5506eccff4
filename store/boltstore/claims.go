package boltstore

import (
	"bytes"
	"context"
	"sync"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// claims knows who holds nothing. One process has the file, so a lease needs no
// clock and no write, and what is held needs no memory: after Open nobody holds
// anything, and Claim goes through the active bucket once, from left to right. What
// lies behind it is held, unless it was released; what lies ahead is not, unless it
// was granted since Open by a write, by which its record names this run.
type claims struct {
	// mu is held by the committer through each group, and taken before a
	// transaction is begun, never within one: the committer may have to wait for
	// the end of all transactions.
	mu       sync.Mutex
	passed   intent.ID // up to here the bucket has been gone through
	finished bool      // all of it has
	released map[intent.ID]struct{}
}

func newClaims() claims { return claims{released: make(map[intent.ID]struct{})} }

// scanLength bounds how many records one transaction of Claim goes past.
const scanLength = 4096

// held reports whether somebody holds an intent that has not ended.
func (s *Store) held(id intent.ID, r *record) bool {
	if _, released := s.claims.released[id]; released {
		return false
	}
	return s.claims.finished || r.granted == s.run || bytes.Compare(id[:], s.claims.passed[:]) <= 0
}

// Term is the method of [store.Holder]. Leases of this store never end.
func (s *Store) Term() time.Duration { return 0 }

// Unheld is the method of [store.Holder]. Who has the file has claimed all that is in it.
func (s *Store) Unheld(context.Context) (map[store.JobName]int, error) { return nil, nil }

// Claim is the method of [store.Holder]. Who has the file is the one to end what nobody
// else can, so it is granted whatever its job.
func (s *Store) Claim(ctx context.Context, n int, _ ...store.JobName) ([]store.Held, error) {
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	claimed, err := s.claimReleased(ctx, n)
	for err == nil && len(claimed) < n && !s.claims.finished {
		claimed, err = s.claimAhead(ctx, n, claimed)
	}
	if len(claimed) > 0 {
		return claimed, nil // an error will come again, at the next call
	}
	return nil, err
}

// claimReleased grants what was given back.
func (s *Store) claimReleased(ctx context.Context, n int) (claimed []store.Held, err error) {
	if len(s.claims.released) == 0 {
		return nil, s.view(ctx, func(*txn) error { return nil })
	}
	err = s.view(ctx, func(t *txn) error {
		for id := range s.claims.released {
			if len(claimed) >= n {
				break
			}
			delete(s.claims.released, id)
			if raw := t.active.Get(id[:]); raw != nil {
				claimed = s.grant(t, id, raw, claimed)
			}
		}
		return nil
	})
	return claimed, err
}

// claimAhead grants what has not been claimed since Open.
func (s *Store) claimAhead(ctx context.Context, n int, claimed []store.Held) ([]store.Held, error) {
	err := s.view(ctx, func(t *txn) error {
		c := t.active.Cursor()
		key, raw := c.Seek(s.claims.passed[:])
		if bytes.Equal(key, s.claims.passed[:]) {
			key, raw = c.Next()
		}
		for scanned := 0; key != nil && len(claimed) < n && scanned < scanLength; scanned++ {
			id := intent.ID(key)
			if r, err := parseRecord(raw); err != nil || !s.held(id, &r) {
				claimed = s.grant(t, id, raw, claimed)
			}
			s.claims.passed = id
			key, raw = c.Next()
		}
		s.claims.finished = key == nil
		return nil
	})
	return claimed, err
}

// grant adds an intent to claimed. One that cannot be read is left out, so that it
// keeps nobody from the others; it can be neither polled nor ended.
func (s *Store) grant(t *txn, id intent.ID, raw []byte, claimed []store.Held) []store.Held {
	r, err := parseRecord(raw)
	var in intent.Intent
	if err == nil {
		in, err = t.intent(id, &r)
	}
	if err != nil {
		s.log.Error("intent cannot be read", "intent", id, "err", err)
		return claimed
	}
	return append(claimed, store.Held{Lease: store.Lease{ID: id, Epoch: r.epoch}, Intent: in})
}

// Take is the method of [store.Holder].
func (s *Store) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	var taken store.Held
	err := s.committer.do(ctx, &op{
		size: headSize + 1024,
		apply: func(t *txn) error {
			r, ended, err := t.find(id)
			switch {
			case err != nil:
				return err
			case ended:
				return store.ErrEnded
			}
			r.epoch++
			r.granted = s.run
			taken.Lease = store.Lease{ID: id, Epoch: r.epoch}
			if taken.Intent, err = t.intent(id, &r); err != nil {
				return err
			}
			t.put(t.active, id[:], r.encode())
			return nil
		},
		settled: func() { delete(s.claims.released, id) },
	})
	if err != nil {
		return store.Held{}, err
	}
	return taken, nil
}

// Renew is the method of [store.Holder].
func (s *Store) Renew(ctx context.Context, leases []store.Lease) (lost []intent.ID, err error) {
	s.claims.mu.Lock()
	defer s.claims.mu.Unlock()
	err = s.view(ctx, func(t *txn) error {
		for _, l := range leases {
			if _, err := s.check(t, l); err != nil {
				lost = append(lost, l.ID)
			}
		}
		return nil
	})
	return lost, err
}

// Release is the method of [store.Holder]. It writes nothing, but keeps its place
// among the changes: one that is under way must not find its intent released.
func (s *Store) Release(ctx context.Context, l store.Lease) error {
	return s.committer.do(ctx, &op{
		apply: func(t *txn) error {
			_, err := s.check(t, l)
			return err
		},
		settled: func() { s.claims.released[l.ID] = struct{}{} },
	})
}

// check returns the record if the lease holds it. The claims are locked.
func (s *Store) check(t *txn, l store.Lease) (record, error) {
	r, ended, err := t.find(l.ID)
	switch {
	case err != nil:
		return record{}, err
	case r.epoch != l.Epoch:
		return record{}, store.ErrFenced
	case ended:
		return record{}, store.ErrEnded
	case !s.held(l.ID, &r):
		return record{}, store.ErrFenced
	}
	return r, nil
}
