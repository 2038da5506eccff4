package memstore

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Reserve is the method of [store.Writer].
func (s *Store) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	if !in.Reserved() {
		return store.Held{}, store.ErrConflict
	}
	return s.insert(ctx, in, nil, anyJob)
}

// Create is the method of [store.Writer].
func (s *Store) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	if !store.Begins(&in, events) {
		return store.Held{}, store.ErrConflict
	}
	return s.insert(ctx, in, events, anyJob)
}

// Adopt is the method of [store.Writer].
func (s *Store) Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (store.Held, error) {
	if !store.Begins(&in, events) {
		return store.Held{}, store.ErrConflict
	}
	return s.insert(ctx, in, events, func() bool {
		id := s.jobs[store.KeyOf(&in)]
		if r := s.records[id]; r == nil || r.seq() == 0 {
			id = intent.ID{}
		}
		return id == latest
	})
}

func anyJob() bool { return true }

// insert stores an intent if its id is free and its job is one that may be stored,
// which is asked while nothing can change.
func (s *Store) insert(ctx context.Context, in intent.Intent, events []intent.Event, mayBe func() bool) (store.Held, error) {
	body, encoded, err := encode(&in, events)
	if err != nil {
		return store.Held{}, err
	}
	held, err := s.add(ctx, &in, body, encoded, store.MessagesOf(&in, events), mayBe)
	if err == nil && len(events) > 0 {
		s.board.Post(store.Signal{ID: in.ID, Kind: store.Appended, News: store.NewsOf(&in, events, encoded)})
	}
	return held, err
}

func (s *Store) add(ctx context.Context, in *intent.Intent, body []byte, events [][]byte, mail []store.Message, mayBe func() bool) (store.Held, error) {
	if err := s.lock(ctx); err != nil {
		return store.Held{}, err
	}
	defer s.mu.Unlock()
	if _, taken := s.keys[in.Key]; taken || s.records[in.ID] != nil || !mayBe() {
		return store.Held{}, store.ErrExists
	}
	if err := s.post(mail); err != nil {
		return store.Held{}, err
	}
	r := &record{epoch: 1, held: true, key: in.Key}
	if in.Key != "" {
		s.keys[in.Key] = in.ID
	}
	s.records[in.ID] = r
	s.set(r, in, body, events)
	return s.grant(in.ID, r)
}

// Append is the method of [store.Writer].
func (s *Store) Append(ctx context.Context, c store.Change) error {
	if !c.Follows() {
		return store.ErrConflict
	}
	news, err := s.change(ctx, &c)
	if err != nil {
		return err
	}
	if news != nil {
		s.board.Post(store.Signal{ID: c.Intent.ID, Kind: store.Appended, News: news})
	}
	return nil
}

// change stores c and returns what is new; a repeat brings nothing new.
func (s *Store) change(ctx context.Context, c *store.Change) (*store.News, error) {
	if err := s.lock(ctx); err != nil {
		return nil, err
	}
	defer s.mu.Unlock()
	r := s.records[c.Intent.ID]
	if r == nil {
		return nil, store.ErrNotFound
	}
	before, err := decode[intent.Intent](r.body)
	if err != nil {
		return nil, err
	}
	origin := before.Origin
	if c.Intent.Captured && !origin.Captured {
		origin.Request, origin.Captured = c.Intent.Request, true
	}
	c.Intent.Origin = origin
	body, events, err := encode(&c.Intent, c.Events)
	if err != nil {
		return nil, err
	}
	if r.epoch == c.Epoch && r.stored(c.After, events) {
		return nil, nil
	}
	if r, err = s.held(store.Lease{ID: c.Intent.ID, Epoch: c.Epoch}); err != nil {
		return nil, err
	}
	if r.seq() != c.After {
		return nil, store.ErrConflict
	}
	if c.Replay != nil {
		if r.replay, err = json.Marshal(c.Replay); err != nil {
			return nil, fmt.Errorf("encoding the replay of %s: %w", c.Intent.ID, err)
		}
	}
	if err := s.post(store.MessagesOf(&c.Intent, c.Events)); err != nil {
		return nil, err
	}
	s.set(r, &c.Intent, body, events)
	return store.NewsOf(&c.Intent, c.Events, events), nil
}

// Drop is the method of [store.Writer].
func (s *Store) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	if err := s.lock(ctx); err != nil {
		return err
	}
	defer s.mu.Unlock()
	r, err := s.held(store.Lease{ID: id, Epoch: epoch})
	if err != nil {
		return err
	}
	if r.seq() > 0 {
		return store.ErrConflict
	}
	s.remove(id, r)
	return nil
}
