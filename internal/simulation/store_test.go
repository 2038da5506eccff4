package simulation_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
	"github.com/caddy-intents/caddy-intents/store/memstore"
)

// A trouble is what a store has for a while.
type trouble int

const (
	sound trouble = iota
	full          // it takes nothing
	gone          // it cannot be reached
	slow          // it takes up to 15 seconds for everything
)

var errNoWord = errors.New("the store was cut off before it could answer")

// A faulty store is a memory store that has troubles.
type faulty struct {
	*memstore.Store
	plan  *plan
	begun time.Time
}

// trouble lets a call wait, or fail.
func (s *faulty) trouble(ctx context.Context, writes bool) error {
	at := time.Since(s.begun)
	switch during(s.plan.store, at) {
	case full:
		if writes {
			return store.ErrFull
		}
	case gone:
		return store.ErrUnavailable
	case slow:
		timer := time.NewTimer(at * 7919 % (15 * time.Second)) // as good as drawn
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// after is what the caller is told of a write that was made.
func (s *faulty) after(err error) error {
	at := time.Since(s.begun)
	if err == nil && s.plan.loses > 0 && at < s.plan.horizon && source(s.plan.seed, "unsteady "+at.String()).IntN(s.plan.loses) == 0 {
		return errNoWord
	}
	return err
}

func (s *faulty) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	if err := s.trouble(ctx, false); err != nil {
		return intent.Intent{}, err
	}
	return s.Store.Get(ctx, id)
}

func (s *faulty) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	if err := s.trouble(ctx, false); err != nil {
		return intent.Intent{}, nil, err
	}
	return s.Store.Events(ctx, id, after)
}

func (s *faulty) ByKey(ctx context.Context, key string) (intent.Intent, store.Replay, error) {
	if err := s.trouble(ctx, false); err != nil {
		return intent.Intent{}, store.Replay{}, err
	}
	return s.Store.ByKey(ctx, key)
}

func (s *faulty) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	if err := s.trouble(ctx, true); err != nil {
		return store.Held{}, err
	}
	held, err := s.Store.Reserve(ctx, in)
	return held, s.after(err)
}

func (s *faulty) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	if err := s.trouble(ctx, true); err != nil {
		return store.Held{}, err
	}
	held, err := s.Store.Create(ctx, in, events)
	return held, s.after(err)
}

func (s *faulty) Append(ctx context.Context, c store.Change) error {
	if err := s.trouble(ctx, true); err != nil {
		return err
	}
	return s.after(s.Store.Append(ctx, c))
}

func (s *faulty) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	if err := s.trouble(ctx, true); err != nil {
		return err
	}
	return s.after(s.Store.Drop(ctx, id, epoch))
}

// Claim gives intents in an order, which a map has not, and their shards, which are
// drawn from no seed, do not make.
func (s *faulty) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	if err := s.trouble(ctx, true); err != nil {
		return nil, err
	}
	held, err := s.Store.Claim(ctx, n, of...)
	slices.SortFunc(held, func(a, b store.Held) int {
		return cmp.Or(a.Intent.Created.Compare(b.Intent.Created), bytes.Compare(a.ID[5:], b.ID[5:]))
	})
	return held, err
}

func (s *faulty) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	if err := s.trouble(ctx, true); err != nil {
		return store.Held{}, err
	}
	held, err := s.Store.Take(ctx, id)
	return held, s.after(err)
}

func (s *faulty) Purge(ctx context.Context, now time.Time, n int) (int, error) {
	if err := s.trouble(ctx, true); err != nil {
		return 0, err
	}
	return s.Store.Purge(ctx, now, n)
}

func (s *faulty) Watch(ctx context.Context, id intent.ID, until time.Time) error {
	if err := s.trouble(ctx, false); err != nil {
		return err
	}
	return s.Store.Watch(ctx, id, until)
}
