package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// A meteredStore counts what is done with a store, and tells of events once they are
// stored.
type meteredStore struct {
	store.Store
	metrics *metrics
	stored  func(in *intent.Intent, events []intent.Event)
}

// results are what a call of a store can come to, as labels.
var results = []struct {
	err  error
	word string
}{
	{store.ErrNotFound, "not_found"}, {store.ErrFenced, "fenced"}, {store.ErrConflict, "conflict"}, {store.ErrEnded, "ended"},
	{store.ErrExists, "exists"}, {store.ErrMissing, "missing"}, {store.ErrUnavailable, "unavailable"}, {store.ErrFull, "full"},
	{context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"},
}

// otherError is the result of a call that came to none of them.
const otherError = "error"

// troubles are the results that alerts ask for.
var troubles = []string{"unavailable", "full", "timeout", otherError}

// count notes what came of a call.
func (s meteredStore) count(operation string, err error) {
	if err == nil {
		s.metrics.done[operation].Inc()
		return
	}
	word := otherError
	for _, r := range results {
		if errors.Is(err, r.err) {
			word = r.word
			break
		}
	}
	s.metrics.operations.WithLabelValues(operation, word).Inc()
}

// operations are the calls that are counted.
var operations = []string{
	"get", "events", "by_key", "by_job", "list", "reserve", "create", "adopt", "append", "drop",
	"claim", "take", "renew", "release", "collect", "keep", "discard", "purge",
	"want", "void", "tell", "told",
}

// commit notes what came of a change that began at a moment.
func (s meteredStore) commit(operation string, begun time.Time, err error) {
	s.count(operation, err)
	if err == nil {
		s.metrics.commit.Observe(time.Since(begun).Seconds())
	}
}

func (s meteredStore) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	in, err := s.Store.Get(ctx, id)
	s.count("get", err)
	return in, err
}

func (s meteredStore) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	in, events, err := s.Store.Events(ctx, id, after)
	s.count("events", err)
	return in, events, err
}

func (s meteredStore) ByKey(ctx context.Context, key string) (intent.Intent, store.Replay, error) {
	in, replay, err := s.Store.ByKey(ctx, key)
	s.count("by_key", err)
	return in, replay, err
}

func (s meteredStore) ByJob(ctx context.Context, key store.JobKey) (intent.ID, error) {
	id, err := s.Store.ByJob(ctx, key)
	s.count("by_job", err)
	return id, err
}

func (s meteredStore) List(ctx context.Context, f store.Filter) (store.Page, error) {
	page, err := s.Store.List(ctx, f)
	s.count("list", err)
	return page, err
}

func (s meteredStore) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	begun := time.Now()
	held, err := s.Store.Reserve(ctx, in)
	s.commit("reserve", begun, err)
	return held, err
}

func (s meteredStore) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	begun := time.Now()
	held, err := s.Store.Create(ctx, in, events)
	if s.commit("create", begun, err); err == nil {
		s.stored(&in, events)
	}
	return held, err
}

func (s meteredStore) Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (store.Held, error) {
	begun := time.Now()
	held, err := s.Store.Adopt(ctx, in, events, latest)
	if s.commit("adopt", begun, err); err == nil {
		s.stored(&in, events)
	}
	return held, err
}

func (s meteredStore) Append(ctx context.Context, c store.Change) error {
	begun := time.Now()
	err := s.Store.Append(ctx, c)
	if s.commit("append", begun, err); err == nil && len(c.Events) > 0 {
		s.stored(&c.Intent, c.Events)
	}
	return err
}

func (s meteredStore) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	begun := time.Now()
	err := s.Store.Drop(ctx, id, epoch)
	s.commit("drop", begun, err)
	return err
}

func (s meteredStore) Claim(ctx context.Context, n int, of ...store.JobName) ([]store.Held, error) {
	held, err := s.Store.Claim(ctx, n, of...)
	s.count("claim", err)
	return held, err
}

func (s meteredStore) Take(ctx context.Context, id intent.ID) (store.Held, error) {
	held, err := s.Store.Take(ctx, id)
	s.count("take", err)
	return held, err
}

func (s meteredStore) Renew(ctx context.Context, held []store.Lease) ([]intent.ID, error) {
	lost, err := s.Store.Renew(ctx, held)
	s.count("renew", err)
	return lost, err
}

func (s meteredStore) Release(ctx context.Context, l store.Lease) error {
	err := s.Store.Release(ctx, l)
	s.count("release", err)
	return err
}

func (s meteredStore) Collect(ctx context.Context, now, until time.Time, n int) ([]store.Message, error) {
	messages, err := s.Store.Collect(ctx, now, until, n)
	s.count("collect", err)
	return messages, err
}

func (s meteredStore) Keep(ctx context.Context, m store.Message) error {
	err := s.Store.Keep(ctx, m)
	s.count("keep", err)
	return err
}

func (s meteredStore) Discard(ctx context.Context, id store.MessageID) error {
	err := s.Store.Discard(ctx, id)
	s.count("discard", err)
	return err
}

func (s meteredStore) Purge(ctx context.Context, now time.Time, n int) (int, error) {
	removed, err := s.Store.Purge(ctx, now, n)
	s.count("purge", err)
	return removed, err
}

// A meteredTeller counts what replicas tell each other.
type meteredTeller struct {
	store.Teller
	in meteredStore
}

func (t meteredTeller) Want(ctx context.Context, id intent.ID, until time.Time) error {
	err := t.Teller.Want(ctx, id, until)
	t.in.count("want", err)
	return err
}

func (t meteredTeller) Void(ctx context.Context, id intent.ID) error {
	err := t.Teller.Void(ctx, id)
	t.in.count("void", err)
	return err
}

func (t meteredTeller) Tell(ctx context.Context, l store.Lease, said store.Telling) error {
	err := t.Teller.Tell(ctx, l, said)
	t.in.count("tell", err)
	return err
}

func (t meteredTeller) Told(ctx context.Context, id intent.ID, known string) (store.Telling, error) {
	said, err := t.Teller.Told(ctx, id, known)
	t.in.count("told", err)
	return said, err
}

var _ store.Store = meteredStore{}
