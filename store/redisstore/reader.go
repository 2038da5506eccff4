package redisstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/caddy-intents/caddy-intents/intent"
	"github.com/caddy-intents/caddy-intents/store"
)

// Get is the method of [store.Reader].
func (s *Store) Get(ctx context.Context, id intent.ID) (intent.Intent, error) {
	found, err := s.getAll(ctx, []intent.ID{id})
	switch {
	case err != nil:
		return intent.Intent{}, err
	case len(found) == 0:
		return intent.Intent{}, store.ErrNotFound
	}
	return s.mend(ctx, found[0])
}

// getAll returns those of some intents that are there, in their order.
func (s *Store) getAll(ctx context.Context, ids []intent.ID) ([]intent.Intent, error) {
	shards := make([]int, len(ids))
	for i, id := range ids {
		shards[i] = shardOf(id)
	}
	ctx, done, err := s.begin(ctx, shards...)
	if err != nil {
		return nil, err
	}
	defer done()
	pipe := s.client.Pipeline()
	commands := make([]*redis.SliceCmd, len(ids))
	for i, id := range ids {
		commands[i] = pipe.HMGet(ctx, s.shards[shards[i]]+"i:"+id.String(), "o", "r", "l", "g")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, s.failed(ctx, oneOf(shards), err)
	}
	var all []intent.Intent
	for i, id := range ids {
		in, found, err := decodeIntent(id, commands[i].Val())
		if err != nil {
			return nil, err
		}
		if found && !in.Reserved() {
			all = append(all, in)
		}
	}
	return all, nil
}

// Events is the method of [store.Reader].
func (s *Store) Events(ctx context.Context, id intent.ID, after int64) (intent.Intent, []intent.Event, error) {
	answer, err := s.run(ctx, call{scriptEvents, shardOf(id), []any{id.String(), max(after, 0)}})
	if err != nil {
		return intent.Intent{}, nil, err
	}
	parts := slice(answer)
	if len(parts) != 2 {
		return intent.Intent{}, nil, errDamaged
	}
	in, found, err := decodeIntent(id, slice(parts[0]))
	switch {
	case err != nil:
		return intent.Intent{}, nil, err
	case !found || in.Reserved():
		return intent.Intent{}, nil, store.ErrNotFound
	}
	events, err := decodeEvents(slice(parts[1]))
	return in, events, err
}

// ByKey is the method of [store.Reader].
func (s *Store) ByKey(ctx context.Context, key string) (intent.Intent, store.Replay, error) {
	answer, err := s.run(ctx, call{scriptKey, shardOfKey(key), []any{key}})
	if err != nil {
		return intent.Intent{}, store.Replay{}, err
	}
	parts := slice(answer)
	if len(parts) != 3 {
		return intent.Intent{}, store.Replay{}, store.ErrNotFound
	}
	text, _ := parts[0].(string)
	id, err := intent.ParseID(text)
	if err != nil {
		return intent.Intent{}, store.Replay{}, fmt.Errorf("reading what a key leads to: %w", err)
	}
	in, found, err := decodeIntent(id, slice(parts[1]))
	switch {
	case err != nil:
		return intent.Intent{}, store.Replay{}, err
	case !found:
		return intent.Intent{}, store.Replay{}, store.ErrNotFound
	}
	var replay store.Replay
	if kept, ok := parts[2].(string); ok {
		if err := json.Unmarshal([]byte(kept), &replay); err != nil {
			return in, store.Replay{}, fmt.Errorf("decoding the replay of %s: %w", id, err)
		}
	}
	return in, replay, nil
}

// ByJob is the method of [store.Reader]. The index may lead to an intent that is not
// there: it is written on its own.
func (s *Store) ByJob(ctx context.Context, key store.JobKey) (intent.ID, error) {
	entry, err := s.indexed(ctx, jobName(key))
	if err != nil {
		return intent.ID{}, err
	}
	text, _, _ := strings.Cut(entry, " ") // with a moment behind it while the intent is being made
	id, err := intent.ParseID(text)
	if err != nil {
		return intent.ID{}, fmt.Errorf("reading what a job leads to: %w", err)
	}
	_, err = s.Get(ctx, id)
	return id, err
}

func (s *Store) indexed(ctx context.Context, job string) (string, error) {
	shard := shardOfJob(job)
	ctx, done, err := s.begin(ctx, shard)
	if err != nil {
		return "", err
	}
	defer done()
	entry, err := s.client.Get(ctx, s.indexKey(job)).Result()
	if errors.Is(err, redis.Nil) {
		return "", store.ErrNotFound
	}
	return entry, s.failed(ctx, shard, err)
}
