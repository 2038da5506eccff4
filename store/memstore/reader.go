package memstore

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Get is the method of [store.Reader].
func (s *Store) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	if err := s.lock(ctx); err != nil {
		return intent.Intent{}, err
	}
	defer s.mu.Unlock()
	r, err := s.visible(id)
	if err != nil {
		return intent.Intent{}, err
	}
	return decode[intent.Intent](r.body)
}

// Events is the method of [store.Reader].
func (s *Store) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	if err := s.lock(ctx); err != nil {
		return intent.Intent{}, nil, err
	}
	defer s.mu.Unlock()
	r, err := s.visible(id)
	if err != nil {
		return intent.Intent{}, nil, err
	}
	in, err := decode[intent.Intent](r.body)
	if err != nil {
		return intent.Intent{}, nil, err
	}
	var events []intent.Event
	for _, body := range r.events[min(max(after, 0), r.seq()):] {
		event, err := decode[intent.Event](body)
		if err != nil {
			return intent.Intent{}, nil, err
		}
		events = append(events, event)
	}
	return in, events, nil
}

// visible returns what a reader may see.
func (s *Store) visible(id intent.ID) (*record, error) {
	r := s.records[id]
	if r == nil || r.seq() == 0 {
		return nil, store.ErrNotFound
	}
	return r, nil
}

// ByKey is the method of [store.Reader].
func (s *Store) ByKey(ctx context.Context, key string) (intent.Intent, store.Replay, error) {
	if err := s.lock(ctx); err != nil {
		return intent.Intent{}, store.Replay{}, err
	}
	defer s.mu.Unlock()
	id, ok := s.keys[key]
	if !ok {
		return intent.Intent{}, store.Replay{}, store.ErrNotFound
	}
	r := s.records[id]
	in, err := decode[intent.Intent](r.body)
	if err != nil || r.replay == nil {
		return in, store.Replay{}, err
	}
	replay, err := decode[store.Replay](r.replay)
	return in, replay, err
}

// ByJob is the method of [store.Reader].
func (s *Store) ByJob(ctx context.Context, key store.JobKey) (intent.ID, error) {
	if err := s.lock(ctx); err != nil {
		return intent.ID{}, err
	}
	defer s.mu.Unlock()
	id, ok := s.jobs[key]
	if !ok {
		return intent.ID{}, store.ErrNotFound
	}
	if _, err := s.visible(id); err != nil {
		return intent.ID{}, err
	}
	return id, nil
}

// List is the method of [store.Reader].
func (s *Store) List(ctx context.Context, f store.Filter) (store.Page, error) {
	if err := s.lock(ctx); err != nil {
		return store.Page{}, err
	}
	defer s.mu.Unlock()
	var page store.Page
	limit, looked, last, start := cmp.Or(f.Limit, 100), 0, intent.ID{}, f.Start()
	for _, id := range s.youngestFirst() {
		if start != (intent.ID{}) && bytes.Compare(id[:], start[:]) >= 0 {
			continue
		}
		r, err := s.visible(id)
		if err != nil {
			continue
		}
		in, err := decode[intent.Intent](r.body)
		if err != nil {
			return store.Page{}, err
		}
		if looked++; looked > store.MaxLooked {
			page.Next = last
			break
		}
		last = id
		if !f.Picks(&in) {
			continue
		}
		if len(page.Intents) == limit {
			page.Next = page.Intents[limit-1].ID
			break
		}
		page.Intents = append(page.Intents, in)
	}
	return page, nil
}

func (s *Store) youngestFirst() []intent.ID {
	return slices.SortedFunc(maps.Keys(s.records), func(a, b intent.ID) int { return bytes.Compare(b[:], a[:]) })
}
