package redisstore

import (
	"context"
	"encoding/json"

	"github.com/caddy-intents/caddy-intents/store"
)

// Stats counts what is kept, by all who share the server. It looks at no intent.
func (s *Store) Stats(ctx context.Context) (store.Stats, error) {
	here := s.here()
	if len(here) < len(s.shards) {
		return store.Stats{}, store.ErrUnavailable
	}
	total, err := s.count(ctx, here)
	return total.Stats, err
}

// Unheld is the method of [store.Holder]. What is on nodes that do not answer nobody can
// claim.
func (s *Store) Unheld(ctx context.Context) (map[store.JobName]int, error) {
	total, err := s.count(ctx, s.here())
	return total.unheld, err
}

// A total is what count.lua answers, of all shards.
type total struct {
	store.Stats
	unheld map[store.JobName]int
}

func (s *Store) count(ctx context.Context, shards []int) (total, error) {
	sum := total{unheld: make(map[store.JobName]int)}
	var calls []call
	for _, shard := range shards {
		calls = append(calls, call{scriptCount, shard, nil})
	}
	answers, err := s.runAll(ctx, calls)
	if err != nil {
		return total{}, err
	}
	for _, answer := range answers {
		if err := sum.add(slice(answer)); err != nil {
			return total{}, err
		}
	}
	return sum, nil
}

// add reads the answer of one shard.
func (t *total) add(parts []any) error {
	if len(parts) != 4 {
		return errDamaged
	}
	for i, to := range []*int{&t.Running, &t.Ended, &t.Messages} {
		n, _ := parts[i].(int64)
		*to += int(n)
	}
	for _, one := range slice(parts[3]) {
		pair := slice(one)
		if len(pair) != 2 {
			return errDamaged
		}
		name, _ := pair[0].(string)
		n, _ := pair[1].(int64)
		var job [2]string
		if json.Unmarshal([]byte(name), &job) != nil {
			return errDamaged
		}
		t.unheld[store.JobName{Scope: job[0], Name: job[1]}] += int(n)
	}
	return nil
}
