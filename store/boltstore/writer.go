package boltstore

import (
	"bytes"
	"context"
	"errors"

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
	job := hashOf(store.KeyOf(&in))
	return s.insert(ctx, in, events, func(t *txn) bool {
		id, err := t.byJob(job, t.jobs.waiting(job))
		if errors.Is(err, store.ErrNotFound) {
			return latest == intent.ID{}
		}
		return err == nil && id == latest
	})
}

func anyJob(*txn) bool { return true }

// insert stores an intent if its id is free and its job is one that may be stored,
// which is asked within the transaction.
func (s *Store) insert(ctx context.Context, in intent.Intent, events []intent.Event, mayBe func(*txn) bool) (store.Held, error) {
	e, err := encodeEntry(&in, 0, events)
	if err != nil {
		return store.Held{}, err
	}
	origin, err := encodeOrigin(&in)
	if err != nil {
		return store.Held{}, err
	}
	if in.StatusURL != "" {
		e.job = new(hashOf(store.KeyOf(&in)))
	}
	const firstEpoch = 1
	err = s.committer.do(ctx, &op{
		size:   len(origin) + len(in.Request) + e.size(),
		signal: e.signal(),
		apply: func(t *txn) error {
			if t.origin.Get(in.ID[:]) != nil || t.keyTaken(in.Key) || !mayBe(t) {
				return store.ErrExists
			}
			if in.Key != "" {
				t.put(t.key, []byte(in.Key), in.ID[:])
			}
			t.put(t.origin, in.ID[:], origin)
			if in.Captured {
				t.put(t.request, in.ID[:], bytes.Clone(in.Request))
			}
			if in.Owner != "" {
				t.put(t.owner, ownerKey(in.Owner, in.ID), nil)
			}
			e.put(t, record{granted: s.run, epoch: firstEpoch})
			return nil
		},
	})
	if err != nil {
		return store.Held{}, err
	}
	return store.Held{Lease: store.Lease{ID: in.ID, Epoch: firstEpoch}, Intent: in}, nil
}

// Append is the method of [store.Writer].
func (s *Store) Append(ctx context.Context, c store.Change) error {
	if !c.Follows() {
		return store.ErrConflict
	}
	e, err := encodeEntry(&c.Intent, c.After, c.Events)
	if err != nil {
		return err
	}
	if e.replay, err = encodeReplay(c.Replay); err != nil {
		return err
	}
	return s.committer.do(ctx, &op{
		size:   e.size(),
		signal: e.signal(),
		apply:  func(t *txn) error { return s.change(t, e, c.Epoch) },
	})
}

// change stores e if it follows what is stored. A repeat changes nothing.
func (s *Store) change(t *txn, e *entry, epoch int64) error {
	before, _, err := t.find(e.in.ID)
	if err != nil {
		return err
	}
	if before.epoch == epoch && e.stored(t) {
		return nil
	}
	if before, err = s.check(t, store.Lease{ID: e.in.ID, Epoch: epoch}); err != nil {
		return err
	}
	if before.seq != e.after {
		return store.ErrConflict
	}
	if !before.indexed && e.in.StatusURL != "" {
		scope, err := decodeScope(e.in.ID, t.origin.Get(e.in.ID[:]))
		if err != nil {
			return err
		}
		e.job = new(hashOf(store.JobKey{Scope: scope, StatusURL: e.in.StatusURL}))
	}
	e.put(t, before)
	if e.in.Captured && t.request.Get(e.in.ID[:]) == nil {
		t.put(t.request, e.in.ID[:], bytes.Clone(e.in.Request))
	}
	if e.replay != nil {
		t.put(t.replay, e.in.ID[:], e.replay)
	}
	return nil
}

// Drop is the method of [store.Writer].
func (s *Store) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	return s.committer.do(ctx, &op{
		apply: func(t *txn) error {
			r, err := s.check(t, store.Lease{ID: id, Epoch: epoch})
			switch {
			case err != nil:
				return err
			case r.seq > 0:
				return store.ErrConflict
			}
			t.unindex(id)
			t.remove(t.active, id[:])
			t.remove(t.origin, id[:])
			t.remove(t.request, id[:])
			return nil
		},
	})
}

// An entry is a state of an intent and the events that led there, encoded by the
// caller so that the committer does not have to.
type entry struct {
	in     *intent.Intent
	after  int64
	latest []byte
	events []byte      // nil for none
	news   *store.News // events, for those who listen
	job    *jobHash    // of the job that shall lead to the intent from now on; nil for no change
	replay []byte      // nil for no change
	mail   []letter
}

func encodeEntry(in *intent.Intent, after int64, events []intent.Event) (*entry, error) {
	latest, err := encodeLatest(in)
	if err != nil {
		return nil, err
	}
	encoded, each, err := encodeEvents(events)
	if err != nil {
		return nil, err
	}
	mail, err := encodeLetters(store.MessagesOf(in, events))
	if err != nil {
		return nil, err
	}
	return &entry{in: in, after: after, latest: latest, events: encoded, news: store.NewsOf(in, events, each), mail: mail}, nil
}

// put stores the entry in place of the record before. What is terminal moves to
// the ended intents, in whose order of removal it gets a place.
func (e *entry) put(t *txn, before record) {
	id := e.in.ID
	r := before
	r.seq, r.latest = e.in.Seq, e.latest
	if e.job != nil {
		r.indexed = true
		t.jobs.add(*e.job, id)
	}
	if e.events != nil {
		t.put(t.events, eventKey(id, e.in.Seq), e.events)
	}
	for _, l := range e.mail {
		t.post(l)
	}
	if !e.in.Status.Terminal() {
		t.put(t.active, id[:], r.encode())
		return
	}
	t.remove(t.active, id[:])
	t.put(t.done, id[:], r.encode())
	t.put(t.expiry, expiryKey(e.in.Expires, id), nil)
}

// stored reports whether the events of the entry are there already, unchanged.
func (e *entry) stored(t *txn) bool {
	return e.events != nil && bytes.Equal(e.events, t.events.Get(eventKey(e.in.ID, e.in.Seq)))
}

func (e *entry) size() int {
	size := headSize + len(e.latest) + len(e.events) + len(e.replay) + len(e.in.Request)
	for _, l := range e.mail {
		size += len(l.body)
	}
	return size
}

// signal is what the entry is worth; none without events.
func (e *entry) signal() store.Signal {
	if e.news == nil {
		return store.Signal{}
	}
	return store.Signal{ID: e.in.ID, Kind: store.Appended, News: e.news}
}
