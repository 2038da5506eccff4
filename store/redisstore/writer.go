package redisstore

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Reserve is the method of [store.Writer].
func (s *Store) Reserve(ctx context.Context, in intent.Intent) (store.Held, error) {
	if !in.Reserved() {
		return store.Held{}, store.ErrConflict
	}
	return s.insert(ctx, &in, nil)
}

// Create is the method of [store.Writer].
func (s *Store) Create(ctx context.Context, in intent.Intent, events []intent.Event) (store.Held, error) {
	if !store.Begins(&in, events) {
		return store.Held{}, store.ErrConflict
	}
	held, err := s.insert(ctx, &in, events)
	if err == nil && in.StatusURL != "" {
		s.index(ctx, jobName(store.KeyOf(&in)), in.ID)
	}
	return held, err
}

// adoptGrace is how long an entry of the job index may lead to an intent that is not
// there yet: its maker needs a moment, and may die in it.
const adoptGrace = 10 * time.Second

// Adopt is the method of [store.Writer]. The index comes first here: it decides who is
// the one, and is in another slot than the intent.
func (s *Store) Adopt(ctx context.Context, in intent.Intent, events []intent.Event, latest intent.ID) (store.Held, error) {
	if !store.Begins(&in, events) {
		return store.Held{}, store.ErrConflict
	}
	job := jobName(store.KeyOf(&in))
	instead := ""
	if latest != (intent.ID{}) {
		instead = latest.String()
	}
	answer, err := s.commit(ctx, call{scriptAdopt, shardOfJob(job), []any{job, instead, in.ID.String(), adoptGrace.Milliseconds()}})
	switch {
	case err != nil:
		return store.Held{}, err
	case answer != "ok":
		return store.Held{}, store.ErrExists
	}
	held, err := s.insert(ctx, &in, events)
	if err == nil {
		s.index(ctx, job, in.ID)
	}
	return held, err
}

// index points a job at an intent that is stored. Without it nothing is lost: the backend
// is asked for the status, until somebody claims the intent and mends the index.
func (s *Store) index(ctx context.Context, job string, id intent.ID) {
	shard := shardOfJob(job)
	ctx, done, err := s.begin(ctx, shard)
	if err == nil {
		defer done()
		err = s.failed(ctx, shard, s.client.Set(ctx, s.indexKey(job), id.String(), 0).Err())
	}
	if err != nil {
		s.log.Warn("writing the job index; status requests for the job go to the backend", "intent", id, "err", err)
	}
}

func (s *Store) indexKey(job string) string { return s.shards[shardOfJob(job)] + "j:" + job }

// insert stores an intent if its id and its key are free.
func (s *Store) insert(ctx context.Context, in *intent.Intent, events []intent.Event) (store.Held, error) {
	if in.Key != "" && shardOf(in.ID) != shardOfKey(in.Key) {
		return store.Held{}, store.ErrConflict
	}
	args, err := s.creation(in, events)
	if err != nil {
		return store.Held{}, err
	}
	asked := time.Now()
	answer, err := s.commit(ctx, call{scriptCreate, shardOf(in.ID), args})
	if err == nil {
		err = refused(answer)
	}
	if err != nil {
		return store.Held{}, err
	}
	if len(events) > 0 {
		s.board.Post(store.Signal{ID: in.ID, Kind: store.Appended})
	}
	held, err := s.granted(in, 1, asked)
	s.tails.grew(held.Lease, in)
	return held, err
}

// creation are the arguments of create.lua.
func (s *Store) creation(in *intent.Intent, events []intent.Event) ([]any, error) {
	origin, err := encodeOrigin(in)
	if err != nil {
		return nil, err
	}
	latest, err := encodeLatest(in)
	if err != nil {
		return nil, err
	}
	queue, err := json.Marshal([]string{in.Scope, in.Job})
	if err != nil {
		return nil, fmt.Errorf("encoding the name of a job: %w", err)
	}
	indexed := ""
	if in.StatusURL != "" {
		indexed = jobName(store.KeyOf(in))
	}
	args := []any{
		in.ID.String(), rand.Text()[:12], s.replica, s.term.Milliseconds(), queueName(in.Scope, in.Job), queue, in.Deadline.UnixMilli(),
		in.Key, origin, flag(in.Captured), in.Request, latest, expiry(in), indexed, in.Owner,
	}
	return s.addEvents(args, in, events)
}

// addEvents adds how to ring, the events and their messages.
func (s *Store) addEvents(args []any, in *intent.Intent, events []intent.Event) ([]any, error) {
	encoded, err := encodeEvents(events)
	if err != nil {
		return nil, err
	}
	args = append(args, s.publish, len(encoded))
	args = append(args, encoded...)
	mail := store.MessagesOf(in, events)
	args = append(args, len(mail))
	for i := range mail {
		letter, err := encodeLetter(&mail[i])
		if err != nil {
			return nil, err
		}
		args = append(args, letter.name, letter.body, letter.state, letter.due)
	}
	return args, nil
}

// expiry is when an intent is removed, "" if it has not ended.
func expiry(in *intent.Intent) string {
	if in.Status.Terminal() {
		return timeText(in.Expires)
	}
	return ""
}

// granted answers a holder with what was stored.
func (s *Store) granted(in *intent.Intent, epoch int64, asked time.Time) (store.Held, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return store.Held{}, fmt.Errorf("encoding intent %s: %w", in.ID, err)
	}
	held := store.Held{Lease: store.Lease{ID: in.ID, Epoch: epoch}, Until: asked.Add(s.term)}
	if err := json.Unmarshal(body, &held.Intent); err != nil {
		return store.Held{}, fmt.Errorf("decoding intent %s: %w", in.ID, err)
	}
	return held, nil
}

// Append is the method of [store.Writer].
func (s *Store) Append(ctx context.Context, c store.Change) error {
	if !c.Follows() {
		return store.ErrConflict
	}
	in := &c.Intent
	args, err := s.change(&c)
	if err != nil {
		return err
	}
	answer, err := s.commit(ctx, call{scriptAppend, shardOf(in.ID), args})
	if err == nil {
		err = refused(answer)
	}
	if err != nil {
		return err
	}
	s.tails.grew(store.Lease{ID: in.ID, Epoch: c.Epoch}, in)
	if len(c.Events) > 0 {
		s.board.Post(store.Signal{ID: in.ID, Kind: store.Appended})
	}
	if answer == "index" {
		s.index(ctx, jobName(store.KeyOf(in)), in.ID)
	}
	return nil
}

// change are the arguments of append.lua.
func (s *Store) change(c *store.Change) ([]any, error) {
	in := &c.Intent
	latest, err := encodeLatest(in)
	if err != nil {
		return nil, err
	}
	var replay []byte
	if c.Replay != nil {
		if replay, err = json.Marshal(c.Replay); err != nil {
			return nil, fmt.Errorf("encoding the replay of %s: %w", in.ID, err)
		}
	}
	indexed := ""
	if in.StatusURL != "" {
		indexed = jobName(store.KeyOf(in))
	}
	args := []any{
		in.ID.String(), c.Epoch, s.replica, c.After, latest, flag(in.Captured), in.Request, replay, indexed, expiry(in),
	}
	return s.addEvents(args, in, c.Events)
}

// Drop is the method of [store.Writer].
func (s *Store) Drop(ctx context.Context, id intent.ID, epoch int64) error {
	s.tails.forget(id)
	answer, err := s.run(ctx, call{scriptDrop, shardOf(id), []any{id.String(), epoch, s.replica}})
	if err != nil {
		return err
	}
	return refused(answer)
}
